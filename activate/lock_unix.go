//go:build !solaris

package activate

import (
	"os"

	"golang.org/x/sys/unix"
)

func lockFile(f *os.File, kind lockKind) error {
	return unix.Flock(int(f.Fd()), map[lockKind]int{
		unlocked: unix.LOCK_UN, shared: unix.LOCK_SH, exclusive: unix.LOCK_EX, exclusiveNow: unix.LOCK_EX | unix.LOCK_NB,
	}[kind])
}
