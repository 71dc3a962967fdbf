package lvm

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A read-only boot environment is on a volume without permission to write: its
// device refuses that to whoever mounts it, and the initramfs starts it so. It is
// open while its volume can be written and carries the tag for that, which one
// command of LVM's sets or takes in the same write of the metadata: a cut leaves
// it open or closed.

// Unseal makes the volume writable, and what runs of it is mounted read-write.
func (s *Store) Unseal(ctx context.Context, name string) error {
	_, v, err := s.find(ctx, name)
	if err == nil {
		err = s.unseal(ctx, v)
	}
	return problem(err, "cannot make boot environment %s writable", name)
}

// Seal writes out what is mounted of it. It is refused where a file is open for
// writing.
func (s *Store) Seal(ctx context.Context, name string) error {
	_, v, err := s.find(ctx, name)
	if err == nil {
		err = s.reseal(ctx, v)
	}
	return problem(err, "cannot make boot environment %s read-only again", name)
}

func (s *Store) unseal(ctx context.Context, v *volume) error {
	if v.readOnly {
		if err := s.change(ctx, "lvchange", "-y", "-prw", "--addtag", tagOpen, "--", v.path()); err != nil {
			return err
		}
		v.readOnly, v.tags = false, append(v.tags, tagOpen)
	}
	if !v.isOpen() || !s.isNow(v) {
		return nil
	}
	err := s.remount(s.cfg.Root, false)
	if err != nil {
		undoing, cancel := settled(ctx)
		defer cancel()
		err = errors.Join(err, s.reseal(undoing, v))
	}
	return err
}

// reseal takes the permission only from a file system that needs nothing
// written: one whose journal is not empty could not be mounted then.
func (s *Store) reseal(ctx context.Context, v *volume) error {
	if !v.isOpen() {
		return nil
	}
	list, err := mountsOf(v)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		at := list[0].Mountpoint
		if s.isNow(v) {
			at = s.cfg.Root
		}
		err = s.remount(at, true)
	} else {
		err = s.replayed(ctx, v)
	}
	if err != nil {
		return err
	}
	if v.readOnly { // somebody else's lvchange
		return s.retag(ctx, v, []string{tagOpen}, nil)
	}
	return s.change(ctx, "lvchange", "-y", "-pr", "--deltag", tagOpen, "--", v.path())
}

// replayed mounts a volume for a moment: a power cut may have left something in
// its journal.
func (s *Store) replayed(ctx context.Context, v *volume) error {
	if v.readOnly {
		return nil
	}
	dir, err := s.opened(ctx, v)
	if err != nil {
		return err
	}
	return dir.Close()
}

// opening calls f while the volume can be written.
func (s *Store) opening(ctx context.Context, v *volume, f func() error) error {
	if !v.readOnly {
		return f()
	}
	if err := s.unseal(ctx, v); err != nil {
		return err
	}
	err := f()
	done, cancel := settled(ctx)
	defer cancel()
	return errors.Join(err, s.reseal(done, v))
}

// remount changes what a mount, and its file system, may be used for.
func (s *Store) remount(dir string, readOnly bool) error {
	flags, how := uintptr(unix.MS_REMOUNT), "read-write"
	if readOnly {
		flags, how = flags|unix.MS_RDONLY, "read-only"
	}
	what := fmt.Sprintf("remount %s %s", dir, how)
	s.debugf("%s", what)
	return s.do(what, func() error {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		// What is not said again is off, but for the times of access.
		flags |= uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_SYNCHRONOUS)
		if err := unix.Mount("", dir, "", flags, ""); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}
