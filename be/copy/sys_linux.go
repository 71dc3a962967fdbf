package copier

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

func syncfs(f *os.File) error {
	err := unix.Syncfs(int(f.Fd()))
	if err == unix.EROFS {
		return nil
	}
	return err
}

func fsType(f *os.File) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return 0
	}
	return uint64(st.Type)
}

// openFile leaves the access time of the source as it is where it may.
func openFile(dirfd int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dirfd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Openat(dirfd, name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// isMount tells a mount point, also one of a bind mount, from a btrfs
// subvolume, which is but a directory here.
func isMount(fd int) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err
}

func clone(in, out *os.File) bool {
	return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil
}

func copyRange(in, out *os.File, at int64, n int) (int, error) {
	from, to := at, at
	return unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, n, 0)
}

func mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dirfd, name, mode, int(dev))
}

// renameNoReplace within one directory. ZFS before 2.2 knows no flags; what
// is looked at first there cannot be replaced by rename(2) unless it is an
// empty directory.
func renameNoReplace(dirfd int, from, to string) error {
	err := unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return renameLooking(dirfd, from, to)
	}
	return err
}
