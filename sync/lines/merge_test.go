package lines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func text(s string) []byte { return []byte(strings.ReplaceAll(s, " ", "\n")) }

func TestSet(t *testing.T) {
	got := Set(text("a b c "), text("a c d"), text("x b c a "))
	if string(got) != "x\nc\na\nd\n" {
		t.Errorf("got %q", got)
	}
	if got := Removed(text("a b c "), text("c d ")); string(got) != "c\n" {
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
		t.Skip("no diff3 here")
	}
	dir := t.TempDir()
	old := text("1 2 3 4 5 6 7 8 9 ")
	new := text("1 2x 3 4 5 6 7 8 9 10 ")
	cur := text("0 1 2 3 4 5 7 8 9 ")
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
	if _, ok := Merge(old, text("1 2x 3 4 5 6 7 8 9 "), text("1 2y 3 4 5 6 7 8 9 ")); ok {
		t.Error("the same line changed on both sides is merged")
	}
}
