package dir

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// volume is a directory in the BE root that is in no boot environment.
type volume struct {
	name string
	perm uint32
}

func volumeOf(v be.Volume) (volume, error) {
	switch v {
	case be.StateVolume:
		return volume{stateVolume, 0o700}, nil
	case be.ShareVolume:
		return volume{shareVolume, 0o755}, nil
	}
	return volume{}, be.E(be.Usage, "there is no volume %q", v)
}

// owner is the directory of a volume's snapshots. No UUID looks like it.
func (v volume) owner() string { return "volume-" + strings.TrimPrefix(v.name, ".") }

func (s *Store) there(v volume) (bool, error) {
	fd, err := beneath(s.fd(), v.name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, problem(err, "cannot look at volume %s", v.name)
	}
	return true, unix.Close(fd)
}

// VolumeExists looks for the directory.
func (s *Store) VolumeExists(ctx context.Context, v be.Volume) (bool, error) {
	vol, err := volumeOf(v)
	if err != nil {
		return false, err
	}
	return s.there(vol)
}

// CreateVolume makes the directory if it is not there.
func (s *Store) CreateVolume(ctx context.Context, v be.Volume) error {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.createVolume(vol)
	}
	return problem(err, "cannot create volume %s", vol.name)
}

func (s *Store) createVolume(vol volume) error {
	if there, err := s.there(vol); there || err != nil {
		return err
	}
	// Under a name of no meaning until its permissions are right: nobody may
	// enter the state volume for a moment.
	temp := volumePrefix + strings.TrimPrefix(vol.name, ".")
	err := s.removeTree(temp)
	if err == nil {
		err = s.mkdir(temp, vol.perm)
	}
	if err == nil {
		err = s.move(temp, vol.name)
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		return errors.Join(err, s.undoMove(vol.name, temp), s.removeTree(temp))
	}
	return nil
}

// MountVolume mounts it, unless it is what is at dir.
func (s *Store) MountVolume(ctx context.Context, v be.Volume, dir string) error {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.mountVolume(vol, dir)
	}
	return problem(err, "cannot mount volume %s", vol.name)
}

func (s *Store) mountVolume(vol volume, dir string) error {
	var its, at unix.Stat_t
	err := unix.Fstatat(s.fd(), vol.name, &its, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return be.E(be.NotFound, "it does not exist; run beadm setup")
	}
	if err != nil {
		return err
	}
	if err := unix.Stat(dir, &at); err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	if inodeOf(&its) == inodeOf(&at) {
		return nil
	}
	return s.bind(vol.name, dir, false)
}

// DestroyVolume deletes the volume and its snapshots.
func (s *Store) DestroyVolume(ctx context.Context, v be.Volume) error {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.destroyVolume(vol)
	}
	return problem(err, "cannot destroy volume %s", vol.name)
}

func (s *Store) destroyVolume(vol volume) error {
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if err := s.free(table, vol.name); err != nil {
		return err
	}
	list, err := s.snapshotsOf(vol.owner())
	if err != nil {
		return err
	}
	for _, sn := range list {
		if err := s.free(table, sn.path()); err != nil {
			return err
		}
	}
	for _, sn := range list {
		if err := s.destroySnapshot(sn.owner, sn.name); err != nil {
			return err
		}
	}
	if err := s.dropOwner(vol.owner()); err != nil {
		return err
	}
	there, err := s.there(vol)
	if err != nil || !there {
		return err
	}
	// Out of its name first: half of it is no volume.
	temp := volumePrefix + strings.TrimPrefix(vol.name, ".")
	if err := s.removeTree(temp); err != nil {
		return err
	}
	if err := s.move(vol.name, temp); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return errors.Join(err, s.undoMove(temp, vol.name))
	}
	if err := s.removeTree(temp); err != nil {
		return err
	}
	return s.sync()
}

// SnapshotVolume makes a copy.
func (s *Store) SnapshotVolume(ctx context.Context, v be.Volume, snap string) (be.Snapshot, error) {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.snapshotVolume(ctx, vol, snap)
	}
	if err != nil {
		return be.Snapshot{}, problem(err, "cannot make snapshot %s@%s", vol.name, snap)
	}
	return s.oneOf(vol.owner(), "", snap)
}

func (s *Store) snapshotVolume(ctx context.Context, vol volume, snap string) error {
	src, err := s.openEntry(vol.name)
	if errors.Is(err, unix.ENOENT) {
		return be.E(be.NotFound, "the volume does not exist; run beadm setup")
	}
	if err != nil {
		return err
	}
	defer src.Close()
	return s.makeSnapshot(ctx, src, vol.owner(), vol.name, snap, true, false)
}

// VolumeSnapshots lists the whole ones, oldest first.
func (s *Store) VolumeSnapshots(ctx context.Context, v be.Volume) ([]be.Snapshot, error) {
	vol, err := volumeOf(v)
	if err != nil {
		return nil, err
	}
	return s.wholeOnes(vol.owner(), "")
}

// DestroyVolumeSnapshot deletes one.
func (s *Store) DestroyVolumeSnapshot(ctx context.Context, v be.Volume, snap string) error {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.dropSnapshot(vol.owner(), vol.name, snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", vol.name, snap)
}

// MountVolumeSnapshot mounts one read-only.
func (s *Store) MountVolumeSnapshot(ctx context.Context, v be.Volume, snap, dir string) error {
	vol, err := volumeOf(v)
	if err == nil {
		err = s.mountSnapshot(vol.owner(), vol.name, snap, dir)
	}
	return problem(err, "cannot mount snapshot %s@%s", vol.name, snap)
}
