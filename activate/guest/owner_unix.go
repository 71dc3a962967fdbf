//go:build unix

package guest

import (
	"io/fs"
	"syscall"
)

func groupOf(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return int(st.Gid)
}
