package grub

import (
	"slices"
	"strings"

	"beadm/be"
)

// Where kernels are read from: Config.Kernels.
const (
	KernelsAuto   = "auto"   // from the root if every GRUB since 2.06 can, else from GRUB's partition
	KernelsRoot   = "root"   // from the root, which the installed GRUB is said to read
	KernelsLoader = "loader" // from GRUB's partition
)

// What GRUB reads, by be.RootRef.FS, of be.RootRef.Needs. Which GRUB starts the
// machine is not known: the package that is installed is not what was written
// to the disk. So the oldest is reckoned with, unless somebody says otherwise.
//
// ZFS: spa_feature_names in grub-core/fs/zfs/zfs.c, the same in 2.06 and 2.12,
// but that 2.06 does not find a pool whose top dataset has a ZAP object. btrfs:
// GRUB looks at no feature; these change nothing that it reads, or something
// that it knows since 2.04 (raid56, raid1c34, zstd).
var (
	readsSince206 = map[string][]string{
		"zfs": {"lz4_compress", "hole_birth", "embedded_data", "extensible_dataset", "large_blocks"},
		"btrfs": {"mixed_backref", "default_subvol", "mixed_groups", "compress_lzo", "compress_zstd", "big_metadata",
			"extended_iref", "raid56", "skinny_metadata", "no_holes", "metadata_uuid", "raid1c34", "simple_quota"},
	}
	readsSince214 = map[string][]string{
		"zfs": {"zap_of_top_dataset", "zstd_compress", "head_errlog", "vdev_zaps_v2"},
	}
)

// unread are those of needs that GRUB 2.06, or with newest 2.14, does not know.
func unread(fs string, needs []string, newest bool) []string {
	var out []string
	for _, n := range needs {
		if !slices.Contains(readsSince206[fs], n) && !(newest && slices.Contains(readsSince214[fs], n)) {
			out = append(out, n)
		}
	}
	return out
}

// cannotRead says why the kernel in a root must be brought elsewhere, or nil.
func (l *Loader) cannotRead(root be.RootRef) error {
	if _, ok := modules[root.FS]; !ok {
		return be.E(be.Unbootable, "GRUB cannot read %s", root.FS)
	}
	newest := l.cfg.Kernels == KernelsRoot
	if bad := unread(root.FS, root.Needs, newest); len(bad) > 0 {
		which := "every GRUB"
		if newest {
			which = "any GRUB up to 2.14"
		}
		return be.E(be.Unbootable, "the %s of the root uses what not %s can read: %s", root.FS, which, strings.Join(bad, ", "))
	}
	return nil
}

// place decides where the kernel is read from. must is why it cannot be from
// the root.
func (l *Loader) place(root be.RootRef) (copied bool, must error) {
	if l.cfg.Kernels == KernelsLoader {
		return true, be.E(be.Unbootable, "kernels are to be read from GRUB's own partition")
	}
	must = l.cannotRead(root)
	if l.cfg.Kernels == KernelsRoot {
		return false, must
	}
	// What may come into use at any moment, with nobody to copy kernels then.
	return must != nil || len(unread(root.FS, root.MayNeed, false)) > 0, must
}
