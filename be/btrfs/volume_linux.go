package btrfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// volumeName is the subvolume of a volume, and the permissions of its root.
func volumeName(v be.Volume) (name string, perm uint32, err error) {
	switch v {
	case be.StateVolume:
		return stateVolume, 0o700, nil
	case be.ShareVolume:
		return shareVolume, 0o755, nil
	}
	return "", 0, be.E(be.Usage, "there is no volume %q", v)
}

// VolumeExists looks for the name in the BE root.
func (s *Store) VolumeExists(ctx context.Context, v be.Volume) (bool, error) {
	name, _, err := volumeName(v)
	if err != nil {
		return false, err
	}
	sv, err := s.volume(name)
	return sv != nil, err
}

func (s *Store) volume(name string) (*subvolume, error) {
	woods, err := s.scan()
	if err != nil {
		return nil, err
	}
	for _, sv := range woods.held(s.dirID, s.dirIno) {
		if sv.name == name {
			return sv, nil
		}
	}
	return nil, nil
}

// CreateVolume makes the subvolume if it is not there.
func (s *Store) CreateVolume(ctx context.Context, v be.Volume) error {
	name, perm, err := volumeName(v)
	if err != nil {
		return err
	}
	return problem(s.createVolume(name, perm), "cannot create volume %s", name)
}

func (s *Store) createVolume(name string, perm uint32) error {
	sv, err := s.volume(name)
	if err != nil || sv != nil {
		return err
	}
	// Under a name of no meaning until its permissions are right: nobody may
	// enter the state volume for a moment.
	dir, temp := int(s.dir.Fd()), "@beadm-volume-"+name[1:]
	err = s.deleteTree(dir, temp)
	if err == nil {
		err = s.do(func() error { return subvolCreate(dir, temp) }, "create subvolume %s", temp)
	}
	if err == nil {
		err = s.do(func() error { return setPerm(dir, temp, perm) }, "set the mode of %s to %#o", temp, perm)
	}
	if err == nil {
		err = s.do(func() error {
			return unix.Renameat2(dir, temp, dir, name, unix.RENAME_NOREPLACE)
		}, "rename %s to %s", temp, name)
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		return errors.Join(err, undoRename(dir, name, temp), s.deleteTree(dir, temp))
	}
	return nil
}

func setPerm(dir int, name string, perm uint32) error {
	fd, err := beneath(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, perm)
}

// MountVolume mounts it, unless it is what is mounted at dir.
func (s *Store) MountVolume(ctx context.Context, v be.Volume, dir string) error {
	name, _, err := volumeName(v)
	if err != nil {
		return err
	}
	return problem(s.mountVolume(name, dir), "cannot mount volume %s", name)
}

func (s *Store) mountVolume(name, dir string) error {
	sv, err := s.volume(name)
	if err != nil {
		return err
	}
	if sv == nil {
		return be.E(be.NotFound, "it does not exist; run beadm setup")
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	id, err := subvolumeID(fd)
	fsid, fsErr := fsUUID(fd)
	unix.Close(fd)
	if err == nil && fsErr == nil && fsid == s.fsid && id == sv.id {
		return nil
	}
	return s.mount(sv, dir, false)
}

// DestroyVolume deletes the volume, what is nested in it and its snapshots.
func (s *Store) DestroyVolume(ctx context.Context, v be.Volume) error {
	name, _, err := volumeName(v)
	if err != nil {
		return err
	}
	return problem(s.destroyVolume(name), "cannot destroy volume %s", name)
}

func (s *Store) destroyVolume(name string) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	if err := s.notMounted(table, name); err != nil {
		return err
	}
	list := s.heldBy(woods, volumeOwner(name))
	for _, sv := range list {
		if err := s.notMounted(table, s.snapshotPath(volumeOwner(name), sv.name)); err != nil {
			return err
		}
	}
	for _, sv := range list {
		if err := s.destroySnapshotOf(volumeOwner(name), sv.name); err != nil {
			return err
		}
	}
	if err := s.dropSnapshotDir(volumeOwner(name)); err != nil {
		return err
	}
	if err := s.deleteTree(int(s.dir.Fd()), name); err != nil {
		return err
	}
	return s.sync()
}

// volumeOwner is the directory of a volume's snapshots. No UUID looks like it.
func volumeOwner(name string) string { return "volume-" + name[1:] }

// SnapshotVolume snapshots the volume and all nested in it.
func (s *Store) SnapshotVolume(ctx context.Context, v be.Volume, snap string) (be.Snapshot, error) {
	name, _, err := volumeName(v)
	if err != nil {
		return be.Snapshot{}, err
	}
	sn, err := s.snapshotVolume(ctx, name, snap)
	return sn, problem(err, "cannot make snapshot %s@%s", name, snap)
}

func (s *Store) snapshotVolume(ctx context.Context, name, snap string) (be.Snapshot, error) {
	sv, err := s.volume(name)
	if err != nil {
		return be.Snapshot{}, err
	}
	if sv == nil {
		return be.Snapshot{}, be.E(be.NotFound, "the volume does not exist; run beadm setup")
	}
	fd, err := s.openEntry(name)
	if err != nil {
		return be.Snapshot{}, err
	}
	defer unix.Close(fd)
	all := func(string) bool { return true }
	if err := s.snapshotTree(ctx, fd, volumeOwner(name), snap, false, all); err != nil {
		return be.Snapshot{}, err
	}
	list, err := s.wholeOnes(volumeOwner(name), "")
	if err != nil {
		return be.Snapshot{}, err
	}
	for _, sn := range list {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return be.Snapshot{}, fmt.Errorf("it is gone")
}

// VolumeSnapshots lists the whole ones, oldest first.
func (s *Store) VolumeSnapshots(ctx context.Context, v be.Volume) ([]be.Snapshot, error) {
	name, _, err := volumeName(v)
	if err != nil {
		return nil, err
	}
	list, err := s.wholeOnes(volumeOwner(name), "")
	return list, problem(err, "cannot list the snapshots of volume %s", name)
}

// DestroyVolumeSnapshot deletes one.
func (s *Store) DestroyVolumeSnapshot(ctx context.Context, v be.Volume, snap string) error {
	name, _, err := volumeName(v)
	if err != nil {
		return err
	}
	if err = s.existing(volumeOwner(name), name, snap); err == nil {
		err = s.destroySnapshotOf(volumeOwner(name), snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", name, snap)
}

// MountVolumeSnapshot mounts one read-only.
func (s *Store) MountVolumeSnapshot(ctx context.Context, v be.Volume, snap, dir string) error {
	name, _, err := volumeName(v)
	if err != nil {
		return err
	}
	return problem(s.mountSnapshot(volumeOwner(name), name, snap, dir), "cannot mount snapshot %s@%s", name, snap)
}
