package guest

import (
	"golang.org/x/sys/unix"

	"beadm/be"
)

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// firstInode is that of a subvolume's root directory (btrfs-progs,
// BTRFS_FIRST_FREE_OBJECTID).
const firstInode = 256

// isSubvolume says, as an error, why the directory is none.
func isSubvolume(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return be.E(be.NotFound, "cannot adopt %s: %w", dir, err)
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return be.E(be.NoStore, "cannot adopt %s: it is neither on btrfs nor on ZFS", dir)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return be.E(be.NotFound, "cannot adopt %s: %w", dir, err)
	}
	if st.Ino != firstInode {
		return be.E(be.NoStore, "cannot adopt %s: it is a directory on btrfs and not a subvolume; make it one while the guest is stopped", dir)
	}
	return nil
}
