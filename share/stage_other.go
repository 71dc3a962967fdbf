//go:build !linux

package share

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

var errLater = errors.New("this is not done on this operating system yet")

// Stage puts the staging directory over /var/share of a boot environment that
// does not run.
func Stage(_ context.Context, root, _ string) error {
	return be.E(be.Other, "cannot put the staging directory over %s%s: %w", root, MountPoint, errLater)
}

// Unstage takes away what Stage mounted.
func Unstage(_ context.Context, root string) error {
	return be.E(be.Other, "cannot unmount %s%s: %w", root, MountPoint, errLater)
}

// Skeleton stands in for a shared dataset that cannot be mounted.
func Skeleton(_ context.Context, root string) error {
	return be.E(be.Other, "cannot make a stand-in for the shared dataset at %s%s: %w", root, MountPoint, errLater)
}

func shareMounted(r *rooted.Root) (bool, error) {
	at, err := r.Stat(MountPoint)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	up, err := r.Stat("/var")
	return err == nil && at.Dev != up.Dev, err
}

func isImmutable(*os.File) (bool, error) { return false, nil }

func protect(*os.File, bool) error { return nil }
