package blockdev

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree makes directories and files as the kernel shows them in /sys/block
// (Documentation/ABI/testing/sysfs-block, sysfs-block-dm).
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, text := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(filepath.Dir(path)) == "slaves" {
			if err := os.Symlink(filepath.Join(top, text), path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestLayers(t *testing.T) {
	top := tree(t, map[string]string{
		"sda/sda2/partition":  "2\n",
		"sda/sda3/partition":  "3\n",
		"dm-0/dm/uuid":        "CRYPT-LUKS2-0123-root\n",
		"dm-0/slaves/sda2":    "sda/sda2",
		"dm-1/dm/uuid":        "LVM-abc\n",
		"dm-1/slaves/dm-0":    "dm-0",
		"dm-2/dm/uuid":        "mpath-3600\n",
		"dm-2/slaves/sda":     "sda",
		"md0/md/level":        "raid1\n",
		"md0/slaves/sda3":     "sda/sda3",
		"md0/md0p1/partition": "1\n",
		"md1/md/level":        "raid1\n",
		"md1/slaves/sda3":     "sda/sda3",
		"md1/slaves/sdz3":     "sdz/sdz3", // pulled out: it leads nowhere
		"dm-3/dm/uuid":        "LVM-loop\n",
		"dm-3/slaves/dm-3":    "dm-3",
	})
	for name, want := range map[string][]string{
		"sda": nil, "sda/sda2": nil, "dm-0": {"dm-crypt"}, "dm-1": {"dm-crypt", "lvm"}, "dm-2": {"device-mapper"},
		"md0": {"md"}, "md1": {"md"}, "md0/md0p1": {"md"},
	} {
		if got, err := Layers(filepath.Join(top, name)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
	if _, err := Layers(filepath.Join(top, "dm-3")); err == nil {
		t.Error("a circle has an end")
	}
}
