package illumos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/bootenv/simpool"
	"beadm/activate/boot/loadertest"
)

// sample is that of menu.lst(5), illumos, March 30, 2023.
const sample = `title Disk1:
chain disk1:
title Disk2_UFS
bootfs disk2s1a:
title openindiana-2023:01:03
bootfs rpool/ROOT/openindiana-2023:01:03
`

func TestMenuText(t *testing.T) {
	const ds = "rpool/ROOT/new"
	added := with(sample, ds, "new")
	if added != sample+"title new\nbootfs rpool/ROOT/new\n" {
		t.Errorf("added: %q", added)
	}
	if again := with(added, ds, "another title"); again != added {
		t.Errorf("added twice: %q", again)
	}
	if back := without(added, ds); back != sample {
		t.Errorf("taken away: %q", back)
	}
	if same := without(sample, ds); same != sample {
		t.Errorf("nothing to take away: %q", same)
	}
	if got := without(sample, "rpool/ROOT/openindiana-2023:01:03"); strings.Contains(got, "openindiana") || !strings.Contains(got, "bootfs disk2s1a:") {
		t.Errorf("the last one: %q", got)
	}
	if got := with("title a\nbootfs b", ds, "x"); got != "title a\nbootfs b\ntitle x\nbootfs rpool/ROOT/new\n" {
		t.Errorf("without a newline at its end: %q", got)
	}
}

// TestNoTitleIsMoreThanATitle: each adds two lines, of which the loader takes
// the second for the dataset.
func TestNoTitleIsMoreThanATitle(t *testing.T) {
	for _, title := range append([]string{"x\nchain disk1:", "x\rbootfs y"}, loadertest.HostileTitles...) {
		lines := strings.Split(strings.TrimPrefix(with(sample, "rpool/ROOT/new", title), sample), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "title ") || strings.TrimSpace(lines[0]) == "title" || lines[1] != "bootfs rpool/ROOT/new" || lines[2] != "" {
			t.Errorf("%q: %q", title, lines)
		}
	}
}

func TestTheMenuFollows(t *testing.T) {
	pool := t.TempDir()
	path := filepath.Join(pool, "boot", "menu.lst")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	m := machine()
	m.Answers["zfs get -Hp -o value mounted,mountpoint tank"] = simpool.Answer{Out: "yes\n" + pool + "\n"}
	l := suiteLoader{loader(m, nil), m}
	for _, letter := range []string{"a", "b"} {
		put := l.Put
		if letter == "a" {
			put = l.Install
		}
		if err := put(t.Context(), loadertest.Entry(letter, "BE "+letter)); err != nil {
			t.Fatal(err)
		}
	}
	b := "title BE b\nbootfs tank/ROOT/" + loadertest.ID("b") + "\n"
	if text, _ := os.ReadFile(path); !strings.HasPrefix(string(text), sample) || !strings.HasSuffix(string(text), b) {
		t.Errorf("after Put: %q", text)
	}
	if err := l.Remove(t.Context(), loadertest.ID("b")); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if strings.Contains(string(text), b) || !strings.HasPrefix(string(text), sample) {
		t.Errorf("after Remove: %q", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("its mode is %v %v", info.Mode(), err)
	}
	// A pool whose own file system is not mounted has no menu to keep.
	m.Answers["zfs get -Hp -o value mounted,mountpoint tank"] = simpool.Answer{Out: "no\n" + pool + "\n"}
	if err := l.Put(t.Context(), loadertest.Entry("b", "BE b")); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(text) {
		t.Errorf("written: %q", after)
	}
}
