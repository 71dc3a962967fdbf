//go:build !linux

package copier

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncfs is Linux's; sync(2) does more than is asked.
func syncfs(*os.File) error { return unix.Sync() }

func openFile(dirfd int, name string) (*os.File, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// isMount compares with the parent: neither system has bind mounts of the
// same file system below the directories that are copied.
func isMount(fd int) (bool, error) {
	var st, up unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	err := unix.Fstatat(fd, "..", &up, 0)
	return st.Dev != up.Dev, err
}

func clone(_, _ *os.File) bool { return false }

func copyRange(_, _ *os.File, _ int64, _ int) (int, error) { return 0, errors.ErrUnsupported }

func renameNoReplace(dirfd int, from, to string) error { return renameLooking(dirfd, from, to) }
