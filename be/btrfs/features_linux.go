package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"beadm/be/blockdev"
)

// incompat are the names of the bits of incompat_flags (linux/btrfs.h,
// BTRFS_FEATURE_INCOMPAT_*), as /sys/fs/btrfs/features has them. 15 is none.
var incompat = []string{
	"mixed_backref", "default_subvol", "mixed_groups", "compress_lzo", "compress_zstd", "big_metadata",
	"extended_iref", "raid56", "skinny_metadata", "no_holes", "metadata_uuid", "raid1c34", "zoned",
	"extent_tree_v2", "raid_stripe_tree", "", "simple_quota",
}

// features are the incompatible ones, and what is below the file system. What
// is only incompatible for writing a reader may be ignorant of.
func (s *Store) features() ([]string, error) {
	var flags [3]uint64 // struct btrfs_ioctl_feature_flags: compat, compat_ro, incompat
	if err := ioctl(s.fd(), iocGetFeatures, unsafe.Pointer(&flags)); err != nil {
		return nil, err
	}
	below, err := s.layers()
	return append(featureNames(flags[2]), below...), err
}

// layers are what the devices of the file system are made of.
func (s *Store) layers() (names []string, err error) {
	return layersOf(filepath.Join("/sys/fs/btrfs", s.fsid, "devices"))
}

// layersOf reads a directory with a link to each device. One that leads nowhere
// is of a disk that was pulled out: the others are read without it.
func layersOf(dir string) (names []string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no sysfs here
		return nil, err
	}
	seen := false
	for _, dev := range list {
		sys, err := filepath.EvalSymlinks(filepath.Join(dir, dev.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen = true
		below, err := blockdev.Layers(sys)
		if err != nil {
			return nil, err
		}
		names = append(names, below...)
	}
	if !seen {
		return []string{blockdev.Unknown}, nil
	}
	slices.Sort(names)
	return slices.Compact(names), nil
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
