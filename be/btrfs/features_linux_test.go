package btrfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFeatureNames(t *testing.T) {
	// What mkfs.btrfs 6.2 sets, with zstd in use and RAID1C3.
	if got, want := featureNames(0x1|0x10|0x40|0x100|0x200|0x800), []string{"mixed_backref", "compress_zstd", "extended_iref", "skinny_metadata", "no_holes", "raid1c34"}; !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
	// What has no name is not passed over.
	if got, want := featureNames(1<<12|1<<15|1<<40), []string{"zoned", "incompat_bit_15", "incompat_bit_40"}; !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
}

// TestLinkThatLeadsNowhere: of a file system on several disks one was pulled
// out. What the others are made of counts; of none, nothing is known.
func TestLinkThatLeadsNowhere(t *testing.T) {
	top := t.TempDir()
	dir, dm := filepath.Join(top, "devices"), filepath.Join(top, "dm-0/dm")
	for _, d := range []string{dir, dm} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dm, "uuid"), []byte("CRYPT-LUKS2-0123-root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		device, leads string
		want          []string
	}{
		{"", "", []string{"unknown_devices"}},
		{"sda", "../sda", []string{"unknown_devices"}},
		{"dm-0", "../dm-0", []string{"dm-crypt"}},
	} {
		if c.device != "" {
			if err := os.Symlink(c.leads, filepath.Join(dir, c.device)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := layersOf(dir); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("with %s: %q %v, want %q", c.device, got, err, c.want)
		}
	}
	if got, err := layersOf(dir + ".none"); err != nil || !slices.Equal(got, []string{"unknown_devices"}) {
		t.Errorf("without sysfs: %q %v", got, err)
	}
}
