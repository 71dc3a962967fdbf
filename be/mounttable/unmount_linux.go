package mounttable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
)

// CheckEmpty makes sure that mounting at dir hides nothing.
func CheckEmpty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if len(names) > 0 {
		return be.E(be.InUse, "cannot mount at %s: the directory is not empty", dir)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return be.E(be.Usage, "cannot mount at %s: %w", dir, err)
	}
	return nil
}

// Clear has unmount take away everything mounted at and below dir, last first. It
// is no error if there is no such directory.
func Clear(dir string, unmount func(*mountinfo.Info) error) error {
	given := dir
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", given, err)
	}
	if dir == "/" {
		return be.E(be.InUse, "cannot unmount /: it is the root directory")
	}
	for {
		table, err := Read()
		if err != nil {
			return err
		}
		left := table.Below(dir)
		if len(left) == 0 {
			return nil
		}
		if err := unmount(left[len(left)-1]); err != nil {
			return err
		}
	}
}

// Unmount takes the topmost mount off dir. What is in use a moment only (a
// scanner, udev) is waited for. A lazy unmount leaves the file system alive for
// those who use it, so it is only the last resort of force.
func Unmount(dir string, force bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	var err error
	for i := range 5 {
		if i > 0 {
			time.Sleep(40 * time.Millisecond)
		}
		if err = unix.Unmount(dir, flags); !errors.Is(err, unix.EBUSY) {
			return err
		}
		if force && i == 2 {
			flags |= unix.MNT_FORCE
		}
	}
	if force {
		return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	return be.E(be.InUse, "cannot unmount %s: it is in use; stop what uses it (fuser -vm %s), or force it (%w)", dir, dir, err)
}
