package activate

import (
	"os"
	"path/filepath"
	"testing"
)

// What inhibits jumps past the loader is written once, with whatever a cut
// left of it, and taken away whole; what others put beside it stays.
func TestGuards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "system")
	count := func(want int) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "*.d/*"))
		if err != nil || len(found) != want {
			t.Errorf("wanted %d files: %q %v", want, found, err)
		}
	}
	for _, c := range []struct {
		do   func(string) (bool, error)
		did  bool
		left int
	}{
		{dropGuards, false, 0}, {putGuards, true, 4}, {putGuards, false, 4}, {dropGuards, true, 0}, {dropGuards, false, 0}, {putGuards, true, 4},
	} {
		did, err := c.do(dir)
		if err != nil || did != c.did {
			t.Errorf("did something: %v, wanted %v; %v", did, c.did, err)
		}
		count(c.left)
	}
	if err := os.WriteFile(filepath.Join(dir, guardFile("kexec.target")), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if did, err := putGuards(dir); err != nil || !did {
		t.Errorf("one that a cut left empty is taken for whole: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kexec.target.d/other.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := dropGuards(dir); err != nil {
		t.Fatal(err)
	}
	count(1)
	if dirs, _ := filepath.Glob(filepath.Join(dir, "*")); len(dirs) != 1 {
		t.Errorf("left: %q", dirs)
	}
}
