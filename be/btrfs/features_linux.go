package btrfs

import (
	"fmt"
	"unsafe"
)

// incompat are the names of the bits of incompat_flags (linux/btrfs.h,
// BTRFS_FEATURE_INCOMPAT_*), as /sys/fs/btrfs/features has them. 15 is none.
var incompat = []string{
	"mixed_backref", "default_subvol", "mixed_groups", "compress_lzo", "compress_zstd", "big_metadata",
	"extended_iref", "raid56", "skinny_metadata", "no_holes", "metadata_uuid", "raid1c34", "zoned",
	"extent_tree_v2", "raid_stripe_tree", "", "simple_quota",
}

// features are the incompatible ones: what is only incompatible for writing a
// reader may be ignorant of.
func (s *Store) features() ([]string, error) {
	var flags [3]uint64 // struct btrfs_ioctl_feature_flags: compat, compat_ro, incompat
	if err := ioctl(s.fd(), iocGetFeatures, unsafe.Pointer(&flags)); err != nil {
		return nil, err
	}
	return featureNames(flags[2]), nil
}

func featureNames(bits uint64) (names []string) {
	for i := range 64 {
		if bits&(1<<i) == 0 {
			continue
		}
		name := fmt.Sprintf("incompat_bit_%d", i)
		if i < len(incompat) && incompat[i] != "" {
			name = incompat[i]
		}
		names = append(names, name)
	}
	return names
}
