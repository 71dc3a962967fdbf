//go:build linux || freebsd

package share

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is what can still be written to the file system of a directory.
func freeBytes(d *os.File) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
