package activate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The units mount /boot after its pool is imported and before what is below it,
// and no pool's name writes a line of its own.
func TestBootPoolUnits(t *testing.T) {
	for pool, wants := range map[string]bool{"bpool": true, "b pool": false, "b\n[Service]": false} {
		dir := t.TempDir()
		if err := putBootPoolUnits(dir, pool); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, bootPoolUnit+".d/pool.conf"))
		if wants && string(text) != "[Unit]\nAfter=zfs-import-bpool.service\n" || !wants && !os.IsNotExist(err) {
			t.Errorf("%q: %q, %v", pool, text, err)
		}
		for file, want := range map[string][]string{
			bootPoolUnit: {"After=zfs-import.target", "Before=boot.mount", "ExecStart=" + initPath + " complete-mounts\n"},
			"boot.mount": {"Where=/boot\n", "After=" + bootPoolUnit, "ConditionPathExists=!/\n"},
		} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range want {
				if !strings.Contains(string(text), w) {
					t.Errorf("%s does not say %q:\n%s", file, w, text)
				}
			}
		}
		if to, err := os.Readlink(filepath.Join(dir, "local-fs.target.wants", bootPoolUnit)); err != nil || to != "../"+bootPoolUnit {
			t.Errorf("%q, %v", to, err)
		}
	}
}
