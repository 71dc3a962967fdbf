package activate

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is fcntl's lock, which is the process's: one process has one
// session at a time.
func lockFile(f *os.File, kind lockKind) error {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	command := unix.F_SETLKW
	switch kind {
	case unlocked:
		l.Type = unix.F_UNLCK
	case shared:
		l.Type = unix.F_RDLCK
	case exclusiveNow:
		command = unix.F_SETLK
	}
	return unix.FcntlFlock(f.Fd(), command, &l)
}
