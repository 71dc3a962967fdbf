//go:build !solaris

package activate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func lockFile(f *os.File, kind lockKind) error {
	how := map[lockKind]int{unlocked: unix.LOCK_UN, sharedNow: unix.LOCK_SH | unix.LOCK_NB, exclusiveNow: unix.LOCK_EX | unix.LOCK_NB}[kind]
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func lockedByAnother(err error) bool { return errors.Is(err, unix.EWOULDBLOCK) }
