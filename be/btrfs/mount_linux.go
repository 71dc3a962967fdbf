package btrfs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// Mount mounts the subvolume; what is nested in it is in its place already.
func (s *Store) Mount(ctx context.Context, name, dir string, readOnly bool) error {
	return problem(s.mountBE(name, dir, readOnly), "cannot mount boot environment %s", name)
}

func (s *Store) mountBE(name, dir string, readOnly bool) error {
	e, err := s.find(name)
	if err != nil {
		return err
	}
	if e.id == s.nowID {
		return be.E(be.InUse, "it is running: it is mounted at %s", s.cfg.Root)
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if m := s.mountsOf(table, s.beroot.join(e.name)); len(m) > 0 {
		return be.E(be.InUse, "it is mounted at %s already", m[0].Mountpoint)
	}
	if err := mounttable.CheckEmpty(dir); err != nil {
		return err
	}
	if !readOnly {
		if err := s.unseal(e); err != nil {
			return err
		}
	}
	if err := s.mount(e.subvolume, dir, readOnly); err != nil {
		return errors.Join(err, s.UnmountDir(context.Background(), dir), s.reseal(name))
	}
	return nil
}

// Unmount takes away every mount of the boot environment that is not the
// running root; with force also what others have mounted below it.
func (s *Store) Unmount(ctx context.Context, name string, force bool) error {
	return problem(s.unmountBE(name, force), "cannot unmount boot environment %s", name)
}

func (s *Store) unmountBE(name string, force bool) error {
	e, err := s.find(name)
	if err != nil {
		return err
	}
	if e.id == s.nowID {
		return be.E(be.InUse, "it is running")
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	list := s.mountsOf(table, s.beroot.join(e.name))
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
	return s.reseal(name)
}

// CompleteMounts has nothing to do but to see that the boot environment is
// there: nested subvolumes come with its root.
func (s *Store) CompleteMounts(ctx context.Context, name, dir string) error {
	_, err := s.find(name)
	return problem(err, "cannot complete the mounts of boot environment %s", name)
}

// MountSnapshot mounts a snapshot read-only.
func (s *Store) MountSnapshot(ctx context.Context, name, snap, dir string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.mountSnapshot(s.beroot, string(e.uuid), name, snap, dir)
	}
	return problem(err, "cannot mount snapshot %s@%s", name, snap)
}

func (s *Store) mountSnapshot(in base, owner, name, snap, dir string) error {
	if owner == "" {
		return snapshotProblem(unix.ENOENT, name, snap)
	}
	fd, err := openSnapshot(in, owner, snap)
	if err != nil {
		return snapshotProblem(err, name, snap)
	}
	defer unix.Close(fd)
	id, err := subvolumeID(fd)
	if err != nil {
		return err
	}
	woods, err := s.scan()
	if err != nil {
		return err
	}
	whole, _, err := snapshotMark(fd, woods.byID[id])
	if err != nil {
		return err
	}
	if !whole {
		return snapshotProblem(unix.ENOENT, name, snap)
	}
	if err := mounttable.CheckEmpty(dir); err != nil {
		return err
	}
	return s.mount(woods.byID[id], dir, true)
}

// UnmountDir takes away whatever is mounted at and below dir.
func (s *Store) UnmountDir(ctx context.Context, dir string) error {
	return s.unmountTree(dir, false)
}
