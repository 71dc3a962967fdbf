//go:build !linux

package activate

import (
	"os"
	"path/filepath"
	"syscall"
)

// isMountPoint compares the devices of dir and its parent, which is exact for
// the file systems we mount.
func isMountPoint(dir string) bool {
	a, errA := os.Stat(dir)
	b, errB := os.Stat(filepath.Dir(dir))
	if errA != nil || errB != nil {
		return false
	}
	sa, okA := a.Sys().(*syscall.Stat_t)
	sb, okB := b.Sys().(*syscall.Stat_t)
	return okA && okB && sa.Dev != sb.Dev
}

// isTmpfs: there is no stand-in here.
func isTmpfs(string) bool { return false }
