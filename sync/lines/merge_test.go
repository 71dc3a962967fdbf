package lines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func textOf(s string) []byte { return []byte(strings.ReplaceAll(s, " ", "\n")) }

func TestSet(t *testing.T) {
	got := Set(textOf("a b c "), textOf("a c d"), textOf("x b c a "))
	if string(got) != "x\nc\na\nd\n" {
		t.Errorf("got %q", got)
	}
	if got := Removed(textOf("a b c "), textOf("c d ")); string(got) != "c\n" {
		t.Errorf("removed: %q", got)
	}
}

func TestMergeProperties(t *testing.T) {
	file := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 8),
		func(l []string) []byte {
			if len(l) == 0 {
				return nil
			}
			return []byte(strings.Join(l, "\n") + "\n")
		})
	rapid.Check(t, func(t *rapid.T) {
		o, n, c := file.Draw(t, "old"), file.Draw(t, "new"), file.Draw(t, "cur")
		for _, x := range []struct{ o, n, c, want []byte }{{o, n, o, n}, {o, o, c, c}, {o, n, n, n}} {
			if got, ok := Merge(x.o, x.n, x.c); !ok || string(got) != string(x.want) {
				t.Fatalf("Merge(%q, %q, %q) = %q, %v; want %q", x.o, x.n, x.c, got, ok, x.want)
			}
		}
		a, ok1 := Merge(o, n, c)
		b, ok2 := Merge(o, c, n)
		if ok1 != ok2 || string(a) != string(b) {
			t.Fatalf("not the same from both sides: %q %v, %q %v", a, ok1, b, ok2)
		}
		if again := Set(o, n, Set(o, n, c)); string(again) != string(Set(o, n, c)) {
			t.Fatalf("Set twice: %q", again)
		}
	})
}

// Where the distant changes are clear, diff3's answer is ours.
func TestAsDiff3(t *testing.T) {
	if _, err := exec.LookPath("diff3"); err != nil {
		t.Fatal("diff3 is missing: install diffutils")
	}
	dir := t.TempDir()
	old := textOf("1 2 3 4 5 6 7 8 9 ")
	new := textOf("1 2x 3 4 5 6 7 8 9 10 ")
	cur := textOf("0 1 2 3 4 5 7 8 9 ")
	for name, data := range map[string][]byte{"old": old, "new": new, "cur": cur} {
		os.WriteFile(filepath.Join(dir, name), data, 0o600)
	}
	cmd := exec.Command("diff3", "-m", "cur", "old", "new")
	cmd.Dir = dir
	want, err := cmd.Output()
	got, ok := Merge(old, new, cur)
	if err == nil && (!ok || string(got) != string(want)) {
		t.Errorf("got %q %v, diff3 says %q", got, ok, want)
	}
	if _, ok := Merge(old, textOf("1 2x 3 4 5 6 7 8 9 "), textOf("1 2y 3 4 5 6 7 8 9 ")); ok {
		t.Error("the same line changed on both sides is merged")
	}
}

// patch(1) makes new of old by what Unified shows.
func TestUnifiedByPatch(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Fatal("patch is missing: install patch")
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"a", "b", "c", "", "-x", "+y", "@@ -1 +1 @@", "--- z"})
		file := rapid.Custom(func(t *rapid.T) []byte {
			l := rapid.SliceOfN(line, 0, 30).Draw(t, "lines")
			s := strings.Join(l, "\n")
			if len(l) > 0 && rapid.Bool().Draw(t, "ended") {
				s += "\n"
			}
			return []byte(s)
		})
		old, new := file.Draw(t, "old"), file.Draw(t, "new")
		text, err := Unified(old, new, "old", "new")
		if err != nil {
			t.Fatal(err)
		}
		if (text == "") != (string(old) == string(new)) {
			t.Fatalf("of %q and %q: %q", old, new, text)
		}
		if text == "" {
			return
		}
		path := filepath.Join(dir, "old")
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("patch", "--quiet", "--fuzz=0", "-o", filepath.Join(dir, "out"), path)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("patch: %v: %s\n%s", err, out, text)
		}
		got, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil && len(new) > 0 {
			t.Fatal(err)
		}
		if string(got) != string(new) {
			t.Fatalf("patch made %q, not %q, by\n%s", got, new, text)
		}
	})
}
