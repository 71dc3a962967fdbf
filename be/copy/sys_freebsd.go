package copier

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	seekData = 3
	seekHole = 4
)

func mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dirfd, name, mode, dev)
}

func fsType(f *os.File) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) == nil && unix.ByteSliceToString(st.Fstypename[:]) == "zfs" {
		return zfsMagic
	}
	return 0
}
