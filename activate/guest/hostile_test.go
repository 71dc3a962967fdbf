package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

func TestCheckRoot(t *testing.T) {
	root := t.TempDir()
	if err := CheckRoot(root); err != nil {
		t.Errorf("an empty root: %v", err)
	}
	for _, name := range []string{"dev", "proc", "run"} {
		at := filepath.Join(root, name)
		for _, to := range []string{"/tmp", "../..", "tmp", "nowhere"} {
			if err := os.Symlink(to, at); err != nil {
				t.Fatal(err)
			}
			if err := CheckRoot(root); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "/"+name) {
				t.Errorf("/%s -> %s: %v", name, to, err)
			}
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckRoot(root); err != nil {
		t.Errorf("a plain root: %v", err)
	}
}
