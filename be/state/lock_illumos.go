//go:build solaris || illumos

package state

import (
	"os"

	"golang.org/x/sys/unix"
)

// illumos has no flock before 2017's; its fcntl lock has the same life here,
// since the file is opened once in a process.
func tryLock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}
