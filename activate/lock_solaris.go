package activate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is fcntl's lock, which is the process's: one process has one
// session at a time.
func lockFile(f *os.File, kind lockKind) error {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	switch kind {
	case unlocked:
		l.Type = unix.F_UNLCK
	case sharedNow:
		l.Type = unix.F_RDLCK
	}
	for {
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &l); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fcntl(2): which of the two it is differs.
func lockedByAnother(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES)
}
