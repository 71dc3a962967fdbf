package zfs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gozfs "github.com/mistifyio/go-zfs/v4"

	"beadm/be"
)

// volume is the dataset of a volume. The state file system is the pool's; the
// shared one stands beside the boot environments.
func (s *Store) volume(v be.Volume) (string, error) {
	switch v {
	case be.StateVolume:
		return s.pool + "/beadm", nil
	case be.ShareVolume:
		return parent(s.root) + "/VARSHARE", nil
	}
	if ds, ok := strings.CutPrefix(string(v), elsewherePrefix); ok {
		return ds, nil
	}
	return "", be.E(be.Usage, "there is no volume %q", v)
}

// elsewherePrefix begins the name of a volume that is not the store's.
const elsewherePrefix = "dataset "

// VolumeAt names the dataset that is mounted at dir, of whatever pool.
func (s *Store) VolumeAt(ctx context.Context, dir string) (be.Volume, bool, error) {
	ds, err := datasetAt(dir)
	if err != nil {
		return "", false, be.E(be.NotFound, "cannot look at %s: %w", dir, err)
	}
	if ds == "" || strings.Contains(ds, "@") {
		return "", false, nil
	}
	part, err := s.isPart(ctx, ds)
	return be.Volume(elsewherePrefix + ds), part, err
}

// isPart asks nothing of what is not in the root's pool or mounted on /boot.
func (s *Store) isPart(ctx context.Context, ds string) (bool, error) {
	if within(ds, s.root) {
		return true, nil
	}
	boot, err := s.onBoot()
	if err != nil || boot == "" || !within(ds, boot) {
		return false, err
	}
	t, err := s.scan(ctx)
	return err == nil && t.bootOf(boot) == s.now, err
}

// VolumeExists tells "not there" from "cannot be read".
func (s *Store) VolumeExists(ctx context.Context, v be.Volume) (bool, error) {
	ds, err := s.volume(v)
	if err != nil {
		return false, err
	}
	there, err := s.exists(ctx, ds)
	return there, problem(err, "cannot look for volume %s", ds)
}

func (s *Store) readVolume(ctx context.Context, ds string) (*tree, error) {
	s.readTogether(ctx)
	return s.memory.tree(ds, func() (*tree, error) {
		return s.read(ctx, "filesystem,volume", 0, ds, mountProperties...)
	})
}

func (s *Store) exists(ctx context.Context, ds string) (bool, error) {
	t, err := s.readVolume(ctx, ds)
	switch {
	case be.KindOf(err) == be.NotFound:
		return false, nil
	case err != nil:
		return false, err
	case t.by[ds] == nil || t.by[ds].value("type") != "filesystem":
		return false, be.E(be.InUse, "%s is there and is not a file system", ds)
	}
	return true, nil
}

const shareMountpoint = "/var/share"

// CreateVolume makes the dataset, with all its properties in one transaction,
// if it is not there. What the roots have of ACLs and attributes it has too:
// the files that move in must not lose theirs.
func (s *Store) CreateVolume(ctx context.Context, v be.Volume) error {
	ds, err := s.volume(v)
	if err != nil {
		return err
	}
	return problem(s.createVolume(ctx, v, ds), "cannot create volume %s", ds)
}

func (s *Store) createVolume(ctx context.Context, v be.Volume, ds string) error {
	there, err := s.exists(ctx, ds)
	if err != nil || there {
		return err
	}
	defer s.memory.forget(ds)
	props := map[string]string{"mountpoint": "legacy", "canmount": "noauto"}
	if v == be.ShareVolume {
		props["mountpoint"] = shareMountpoint
	}
	// The state has account files in it.
	if err := s.keepsSecret(ctx, ds, props["mountpoint"]); err != nil {
		return err
	}
	if v == be.ShareVolume {
		like, err := s.read(ctx, "filesystem", 1, s.root, "acltype", "xattr")
		if err != nil {
			return err
		}
		for _, name := range like.names {
			d := like.by[name]
			if name == s.root || s.now != "" && name != s.now {
				continue
			}
			for _, p := range []string{"acltype", "xattr"} {
				if value := d.value(p); value != "" && value != "-" {
					props[p] = value
				}
			}
		}
	}
	return s.library(ctx, fmt.Sprintf("zfs create %v %s", props, ds), func() error {
		_, err := gozfs.CreateFilesystem(ds, props)
		return err
	})
}

// MountVolume mounts it, unless it is what is mounted at dir.
func (s *Store) MountVolume(ctx context.Context, v be.Volume, dir string) error {
	ds, err := s.volume(v)
	if err != nil {
		return err
	}
	return problem(s.mountVolume(ctx, v, ds, dir), "cannot mount volume %s", ds)
}

func (s *Store) mountVolume(ctx context.Context, v be.Volume, ds, dir string) error {
	now, err := datasetAt(dir)
	if err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	if now == ds {
		return nil
	}
	t, err := s.readVolume(ctx, ds)
	if be.KindOf(err) == be.NotFound {
		return be.E(be.NotFound, "it does not exist; run beadm setup")
	}
	if err != nil {
		return err
	}
	if t.by[ds] == nil || t.by[ds].value("type") != "filesystem" {
		return be.E(be.InUse, "%s is not a file system", ds)
	}
	if err := s.mountHere(ctx, t.by[ds], dir, false); err != nil {
		return err
	}
	if v == be.StateVolume {
		// The root directory of a new dataset is everybody's to read.
		if err := makePrivate(dir); err != nil {
			return errors.Join(err, s.unmount(ctx, dir, false))
		}
	}
	return nil
}

// DestroyVolume destroys the dataset, what is below it and its snapshots.
func (s *Store) DestroyVolume(ctx context.Context, v be.Volume) error {
	ds, err := s.volume(v)
	if err != nil {
		return err
	}
	return problem(s.destroyVolume(ctx, ds), "cannot destroy volume %s", ds)
}

func (s *Store) destroyVolume(ctx context.Context, ds string) error {
	there, err := s.exists(ctx, ds)
	if err != nil || !there {
		return err
	}
	mounted, err := readMounts()
	if err != nil {
		return err
	}
	if m := mounted.within(ds, true); len(m) > 0 {
		return be.E(be.InUse, "it is mounted at %s; unmount it first", m[0].dir)
	}
	defer s.memory.forget(ds)
	return s.destroyRecursively(ctx, ds)
}

// SnapshotVolume is one instant for the volume and all below it.
func (s *Store) SnapshotVolume(ctx context.Context, v be.Volume, snap string) (be.Snapshot, error) {
	ds, err := s.volume(v)
	if err != nil {
		return be.Snapshot{}, err
	}
	if err = be.CheckSnapshotName(snap); err == nil {
		var sn be.Snapshot
		if sn, err = s.take(ctx, ds, snap, ""); err == nil {
			return sn, nil
		}
	}
	return be.Snapshot{}, problem(err, "cannot make snapshot %s@%s", ds, snap)
}

// VolumeSnapshots lists them, oldest first.
func (s *Store) VolumeSnapshots(ctx context.Context, v be.Volume) ([]be.Snapshot, error) {
	ds, err := s.volume(v)
	if err != nil {
		return nil, err
	}
	list, err := s.taken(ctx, ds, "")
	return list, problem(err, "cannot list the snapshots of %s", ds)
}

// DestroyVolumeSnapshot destroys one, below the volume too.
func (s *Store) DestroyVolumeSnapshot(ctx context.Context, v be.Volume, snap string) error {
	ds, err := s.volume(v)
	if err != nil {
		return err
	}
	if err = be.CheckSnapshotName(snap); err == nil {
		err = s.destroyRecursively(ctx, ds+"@"+snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", ds, snap)
}

// MountVolumeSnapshot mounts one read-only, what is below the volume too.
func (s *Store) MountVolumeSnapshot(ctx context.Context, v be.Volume, snap, dir string) error {
	ds, err := s.volume(v)
	if err != nil {
		return err
	}
	if err = be.CheckSnapshotName(snap); err == nil {
		err = s.mountTree(ctx, ds, snap, dir, true)
	}
	return problem(err, "cannot mount snapshot %s@%s", ds, snap)
}
