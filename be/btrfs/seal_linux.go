package btrfs

import (
	"context"

	"golang.org/x/sys/unix"
)

// Unseal makes a read-only boot environment writable until Seal.
func (s *Store) Unseal(ctx context.Context, name string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.unseal(e)
	}
	return problem(err, "cannot make boot environment %s writable", name)
}

// Seal makes one read-only again that Unseal, or Mount, made writable.
func (s *Store) Seal(ctx context.Context, name string) error {
	return problem(s.reseal(name), "cannot make boot environment %s read-only again", name)
}

// unseal sets the mark that it is to be sealed again after the flag is off: no
// attribute can be set before. A power cut in between leaves a boot environment
// that can be written, nothing worse.
func (s *Store) unseal(e entry) error {
	if !e.readOnly {
		return nil
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.do(func() error { return setReadOnly(fd, false) }, "make %s writable", e.name); err != nil {
		return err
	}
	return s.setAttr(fd, openAttr, e.subvolume.uuid)
}

func (s *Store) reseal(name string) error {
	e, err := s.find(name)
	if err != nil || !e.open {
		return err
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.setAttr(fd, openAttr, ""); err != nil {
		return err
	}
	return s.do(func() error { return setReadOnly(fd, true) }, "make %s read-only again", e.name)
}
