package btrfs

import (
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
