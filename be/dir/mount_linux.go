package dir

import (
	"context"
	"errors"

	"beadm/be"
	"beadm/be/mounttable"
)

// Mount is a bind mount of the directory.
func (s *Store) Mount(ctx context.Context, name, dir string, readOnly bool) error {
	return problem(s.mountBE(name, dir, readOnly), "cannot mount boot environment %s", name)
}

func (s *Store) mountBE(name, dir string, readOnly bool) error {
	e, err := s.find(name)
	if err != nil {
		return err
	}
	if e.inode == s.now {
		return be.E(be.InUse, "it is running: it is at %s", s.cfg.Root)
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if m := s.in.mountsOf(table, e.name); len(m) > 0 {
		return be.E(be.InUse, "it is mounted at %s already", m[0].Mountpoint)
	}
	if err := mounttable.CheckEmpty(dir); err != nil {
		return err
	}
	if err := s.bind(e.name, dir, readOnly); err != nil {
		return errors.Join(err, s.UnmountDir(context.Background(), dir))
	}
	return nil
}

// Unmount takes away every mount of the boot environment; with force also what
// others have mounted below it.
func (s *Store) Unmount(ctx context.Context, name string, force bool) error {
	return problem(s.unmountBE(name, force), "cannot unmount boot environment %s", name)
}

func (s *Store) unmountBE(name string, force bool) error {
	e, err := s.find(name)
	if err != nil {
		return err
	}
	if e.inode == s.now {
		return be.E(be.InUse, "it is running")
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	list := s.in.mountsOf(table, e.name)
	for i := len(list) - 1; i >= 0; i-- {
		if force {
			err = s.unmountTree(list[i].Mountpoint, true)
		} else {
			err = s.unmount(list[i].Mountpoint, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CompleteMounts has nothing to do but to see that the boot environment is
// there: a directory is all of it.
func (s *Store) CompleteMounts(ctx context.Context, name, dir string) error {
	_, err := s.find(name)
	return problem(err, "cannot complete the mounts of boot environment %s", name)
}

// MountSnapshot mounts a snapshot read-only.
func (s *Store) MountSnapshot(ctx context.Context, name, snap, dir string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.mountSnapshot(string(e.uuid), name, snap, dir)
	}
	return problem(err, "cannot mount snapshot %s@%s", name, snap)
}

func (s *Store) mountSnapshot(owner, name, snap, dir string) error {
	f, _, err := s.openSnapshot(owner, name, snap)
	if err != nil {
		return err
	}
	f.Close()
	if err := mounttable.CheckEmpty(dir); err != nil {
		return err
	}
	return s.bind(snapshotPath(owner, snap), dir, true)
}
