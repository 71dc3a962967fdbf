package lvm

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// stateSize is that of a new state volume, of which what is not used costs
// nothing.
const stateSize = 1 << 30

// volumeName is the name of the volume of a volume.
func volumeName(v be.Volume) (string, error) {
	switch v {
	case be.StateVolume:
		return stateVolume, nil
	case be.ShareVolume:
		return shareVolume, nil
	}
	return "", be.E(be.Usage, "there is no volume %q", v)
}

// volumeIn is the volume, nil if it is not there or not finished. The state is
// the group's, the shared one has to be in the pool.
func (s *Store) volumeIn(t *tree, v be.Volume) (*volume, string, error) {
	name, err := volumeName(v)
	if err != nil {
		return nil, "", err
	}
	vol := t.named(name)
	if vol == nil || vol.tag(tagIncomplete) != "" {
		return nil, name, nil
	}
	if vol.pool == "" || v == be.ShareVolume && vol.pool != s.pool {
		return nil, name, be.E(be.InUse, "%s is there and is not a thin volume of %s", vol.path(), s.Location())
	}
	return vol, name, nil
}

// withVolume calls f with the volume, which has to be there.
func (s *Store) withVolume(ctx context.Context, v be.Volume, f func(t *tree, vol *volume) error) error {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	vol, _, err := s.volumeIn(t, v)
	if err != nil {
		return err
	}
	if vol == nil {
		return be.E(be.NotFound, "it does not exist; run beadm setup")
	}
	return f(t, vol)
}

// VolumeExists tells "not there" from "cannot be read".
func (s *Store) VolumeExists(ctx context.Context, v be.Volume) (bool, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return false, problem(err, "cannot look for volume %s", v)
	}
	vol, _, err := s.volumeIn(t, v)
	return vol != nil, problem(err, "cannot look for volume %s", v)
}

// CreateVolume makes the volume and its file system if it is not there. The
// shared one is as large as the root, of the same kind: what moves there was in
// it.
func (s *Store) CreateVolume(ctx context.Context, v be.Volume) error {
	return problem(s.createVolume(ctx, v), "cannot create volume %s", v)
}

func (s *Store) createVolume(ctx context.Context, v be.Volume) (err error) {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	vol, name, err := s.volumeIn(t, v)
	if err != nil || vol != nil {
		return err
	}
	if err := s.hasRoom(t); err != nil {
		return err
	}
	if err := s.removeUnfinished(ctx, name); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		undoing, cancel := settled(ctx)
		defer cancel()
		err = errors.Join(err, s.removeUnfinished(undoing, name))
	}()
	size, kind, perm := int64(stateSize), "ext4", uint32(0o700)
	if v == be.ShareVolume {
		size, kind, perm = s.usualSize(t), s.usualKind(ctx, t), 0o755
	}
	if err := s.format(ctx, name, size, kind, []string{tagIncomplete + "create"}, perm); err != nil {
		return err
	}
	return s.change(ctx, "lvchange", "-y", "--deltag", tagIncomplete+"create", "--", s.vg+"/"+name)
}

// removeUnfinished removes what a CreateVolume that was cut left.
func (s *Store) removeUnfinished(ctx context.Context, name string) error {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	if vol := t.named(name); vol != nil && vol.tag(tagIncomplete) == "create" {
		return s.remove(ctx, vol)
	}
	return nil
}

// MountVolume mounts it, unless it is what is mounted at dir.
func (s *Store) MountVolume(ctx context.Context, v be.Volume, dir string) error {
	err := s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		now, err := deviceAt(dir)
		if err != nil {
			return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
		}
		if now.id == vol.id() {
			return nil
		}
		if err := s.mount(ctx, vol, dir, false); err != nil {
			return err
		}
		if v != be.StateVolume {
			return nil
		}
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm() != 0o700 {
			err = unix.Chmod(dir, 0o700)
		}
		if err != nil {
			return errors.Join(err, s.unmount(dir, false))
		}
		return nil
	})
	return problem(err, "cannot mount volume %s", v)
}

// DestroyVolume removes the volume and its snapshots.
func (s *Store) DestroyVolume(ctx context.Context, v be.Volume) error {
	err := s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		if err := notMounted(vol, "it"); err != nil {
			return err
		}
		list := t.snapshots(vol.name)
		for _, sn := range list {
			if err := notMounted(sn, "its snapshot "+sn.tag(tagSnap)); err != nil {
				return err
			}
		}
		for _, r := range append(list, vol) {
			if err := s.remove(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if name, e := volumeName(v); e == nil && be.KindOf(err) == be.NotFound {
		err = s.removeUnfinished(ctx, name)
	}
	return problem(err, "cannot destroy volume %s", v)
}

// SnapshotVolume snapshots it.
func (s *Store) SnapshotVolume(ctx context.Context, v be.Volume, snap string) (sn be.Snapshot, err error) {
	err = s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		if err := s.hasRoom(t); err != nil {
			return err
		}
		sn, err = s.taken(ctx, t, vol, vol.name, "", snap)
		return err
	})
	return sn, problem(err, "cannot make snapshot %s@%s", v, snap)
}

// VolumeSnapshots lists them, oldest first.
func (s *Store) VolumeSnapshots(ctx context.Context, v be.Volume) (list []be.Snapshot, err error) {
	err = s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		list = snapshotsOf(t, vol.name, "")
		if vol.pool != s.pool || len(list) == 0 {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, sharingTime)
		defer cancel()
		shares := s.sharing(limited, t)
		for i := range list {
			list[i].Space = s.alone(shares, t.find(func(v *volume) bool { return v.uuid == list[i].GUID }))
		}
		return nil
	})
	return list, problem(err, "cannot list the snapshots of volume %s", v)
}

// DestroyVolumeSnapshot destroys one.
func (s *Store) DestroyVolumeSnapshot(ctx context.Context, v be.Volume, snap string) error {
	err := s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		return s.destroySnapshot(ctx, t, vol.name, string(v), snap)
	})
	return problem(err, "cannot destroy snapshot %s@%s", v, snap)
}

// MountVolumeSnapshot mounts one read-only.
func (s *Store) MountVolumeSnapshot(ctx context.Context, v be.Volume, snap, dir string) error {
	err := s.withVolume(ctx, v, func(t *tree, vol *volume) error {
		return s.mountSnapshot(ctx, t, vol.name, string(v), snap, dir)
	})
	return problem(err, "cannot mount snapshot %s@%s", v, snap)
}
