package rooted

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked is what LockExisting says of a file that another process locked.
var ErrLocked = errors.New("locked by another process")

// LockExisting locks the regular file at path, which is not followed, as
// lckpwdf(3) does: by fcntl(2), for writing, all of it. It does not wait. The
// process holds the lock until any descriptor of the file is closed.
func (r *Root) LockExisting(path string) (f *os.File, err error) {
	err = r.at("lock", path, false, func(dirfd int, name string) error {
		if f, err = openRegular(dirfd, name, unix.O_WRONLY); err != nil {
			return err
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
		if err != nil {
			f.Close()
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return ErrLocked
		}
		return err
	})
	return f, err
}
