package reconcile

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

// pwdLock is what lckpwdf(3) locks, and with it passwd(1), usermod(8) and their
// like from before they read an account file until they replaced it.
const pwdLock = "/etc/.pwd.lock"

// pwdWait is how long lckpwdf(3) waits.
const pwdWait = 15 * time.Second

// lockAccounts keeps those from changing account files. Where nothing made the
// lock's file, or it cannot be locked, there is nobody to wait for.
func lockAccounts(ctx context.Context, root *rooted.Root) (unlock func(), err error) {
	for end := time.Now().Add(pwdWait); ; {
		f, err := root.LockExisting(pwdLock)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, rooted.ErrNotRegular), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
			return func() {}, nil
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, rooted.ErrLocked):
			return nil, err
		case time.Now().After(end):
			return nil, be.E(be.InUse, "somebody changes the account files, %s is locked: give the command again", pwdLock)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
