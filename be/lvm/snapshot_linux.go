package lvm

import (
	"context"

	"beadm/be"
)

// snapshotIn is the snapshot of that name of an owner.
func snapshotIn(t *tree, owner, name, snap string) (*volume, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return nil, err
	}
	for _, v := range t.snapshots(owner) {
		if v.tag(tagSnap) == snap {
			return v, nil
		}
	}
	return nil, be.E(be.NotFound, "there is no snapshot %s@%s; see beadm list -s", name, snap)
}

// Snapshot makes a snapshot of the volume; what is mounted is written out and
// held still for it by the kernel.
func (s *Store) Snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	sn, err := s.snapshot(ctx, name, snap)
	return sn, problem(err, "cannot make snapshot %s@%s", name, snap)
}

func (s *Store) snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return be.Snapshot{}, err
	}
	t, v, err := s.find(ctx, name)
	if err != nil {
		return be.Snapshot{}, err
	}
	if err := s.hasRoom(t); err != nil {
		return be.Snapshot{}, err
	}
	if t, v, err = s.adopted(ctx, t, v); err != nil {
		return be.Snapshot{}, err
	}
	return s.taken(ctx, t, v, v.tag(tagUUID), name, snap)
}

// taken makes a snapshot and describes it.
func (s *Store) taken(ctx context.Context, t *tree, v *volume, owner, name, snap string) (be.Snapshot, error) {
	made, err := s.take(ctx, t, v, owner, snap)
	if err != nil {
		return be.Snapshot{}, err
	}
	if t, err = s.scan(ctx); err != nil {
		return be.Snapshot{}, err
	}
	if v = t.named(made); v == nil {
		return be.Snapshot{}, be.E(be.NotFound, "it is gone")
	}
	return describeSnapshot(v, name), nil
}

// take makes a snapshot with one command and returns the name of its volume.
func (s *Store) take(ctx context.Context, t *tree, of *volume, owner, snap string, tags ...string) (string, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return "", err
	}
	volume := snapshotVolume(owner, snap)
	if t.named(volume) != nil {
		return "", be.E(be.InUse, "snapshot %s exists already; choose another name", snap)
	}
	argv := []string{"lvcreate", "-y", "-q", "-s", "-ky", "-n", volume}
	for _, tag := range append([]string{tagOf + owner, tagSnap + snap}, tags...) {
		argv = append(argv, "--addtag", tag)
	}
	return volume, s.change(ctx, append(argv, "--", of.path())...)
}

func describeSnapshot(v *volume, name string) be.Snapshot {
	return be.Snapshot{BE: name, Name: v.tag(tagSnap), GUID: v.uuid, Created: v.created, Space: be.SpaceUnknown}
}

// Snapshots lists them, oldest first.
func (s *Store) Snapshots(ctx context.Context, name string) ([]be.Snapshot, error) {
	t, v, err := s.find(ctx, name)
	if err != nil {
		return nil, problem(err, "cannot list the snapshots of boot environment %s", name)
	}
	return snapshotsOf(t, v.tag(tagUUID), name), nil
}

func snapshotsOf(t *tree, owner, name string) []be.Snapshot {
	var list []be.Snapshot
	for _, v := range t.snapshots(owner) {
		list = append(list, describeSnapshot(v, name))
	}
	return list
}

// DestroySnapshot removes its volume. Clones of it do not need it.
func (s *Store) DestroySnapshot(ctx context.Context, name, snap string) error {
	t, v, err := s.find(ctx, name)
	if err == nil {
		err = s.destroySnapshot(ctx, t, v.tag(tagUUID), name, snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", name, snap)
}

func (s *Store) destroySnapshot(ctx context.Context, t *tree, owner, name, snap string) error {
	v, err := snapshotIn(t, owner, name, snap)
	if err != nil {
		return err
	}
	if err := notMounted(v, "it"); err != nil {
		return err
	}
	return s.remove(ctx, v)
}

// sweepAuto removes automatic snapshots that no clone came of: those of a Create
// or a Destroy that was cut off. It returns what is left.
func (s *Store) sweepAuto(ctx context.Context, t *tree) (*tree, error) {
	gone := false
	for _, v := range t.list {
		if v.pool == s.pool && v.isAuto() && !t.hasClones(v, nil) && notMounted(v, "it") == nil {
			if err := s.remove(ctx, v); err != nil {
				return nil, err
			}
			gone = true
		}
	}
	if !gone {
		return t, nil
	}
	return s.scan(ctx)
}
