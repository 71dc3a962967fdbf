package zfs

import (
	"context"
	"errors"
	"slices"
	"strings"

	gozfs "github.com/mistifyio/go-zfs/v4"

	"beadm/be"
)

// Snapshot is one instant for the boot environment and all below it.
func (s *Store) Snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	sn, err := s.snapshot(ctx, name, snap)
	return sn, problem(err, "cannot make snapshot %s@%s", name, snap)
}

func (s *Store) snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return be.Snapshot{}, err
	}
	t, err := s.find(ctx, name)
	if err != nil {
		return be.Snapshot{}, err
	}
	if t.by[s.dataset(name)+"@"+snap] != nil {
		return be.Snapshot{}, be.E(be.InUse, "it exists already; choose another name")
	}
	if boot := t.boots[s.dataset(name)]; boot != "" {
		if err := s.snapshotBoot(ctx, t, boot, snap); err != nil {
			return be.Snapshot{}, err
		}
		sn, err := s.take(ctx, s.dataset(name), snap, name)
		if err != nil {
			undoing, cancel := settled(ctx)
			defer cancel()
			// The command may have failed after it was done.
			if _, there := s.read(undoing, "snapshot", 0, s.dataset(name)+"@"+snap, "type"); be.KindOf(there) == be.NotFound {
				err = errors.Join(err, s.destroyRecursively(undoing, boot+"@"+snap))
			}
		}
		return sn, err
	}
	var marks []string
	if t.by[s.dataset(name)].local(propBoot) != "" {
		marks = []string{"-o", propBoot + "=" + noBoot}
	}
	return s.take(ctx, s.dataset(name), snap, name, marks...)
}

// snapshotBoot snapshots a /boot in another pool, before its root is. One of that
// name that is marked as half of a root's, which is not there, is what a cut left.
func (s *Store) snapshotBoot(ctx context.Context, t *tree, boot, snap string) error {
	if old := t.by[boot+"@"+snap]; old != nil && old.local(propOf) != "" {
		if err := s.destroyRecursively(ctx, old.name); err != nil {
			return err
		}
	}
	return s.change(ctx, "zfs", "snapshot", "-r", "-o", propOf+"="+t.by[boot].value(propOf), boot+"@"+snap)
}

// take makes a recursive snapshot, with these options of zfs snapshot, and
// describes it.
func (s *Store) take(ctx context.Context, ds, snap, name string, opts ...string) (be.Snapshot, error) {
	argv := append([]string{"zfs", "snapshot", "-r"}, opts...)
	if err := s.change(ctx, append(argv, ds+"@"+snap)...); err != nil {
		return be.Snapshot{}, err
	}
	list, err := s.taken(ctx, ds, name)
	if err != nil {
		return be.Snapshot{}, err
	}
	for _, sn := range list {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return be.Snapshot{}, be.E(be.NotFound, "it is gone")
}

// taken lists the snapshots of a dataset with what they hold below it too.
func (s *Store) taken(ctx context.Context, ds, name string) ([]be.Snapshot, error) {
	var t *tree
	var err error
	if s.memory != nil && within(ds, s.root) {
		t, err = s.scan(ctx)
	} else {
		t, err = s.read(ctx, "filesystem,snapshot", -1, ds, "guid", "creation", "createtxg", "used")
	}
	if err != nil {
		return nil, err
	}
	return t.describe(ds, name), nil
}

func (t *tree) describe(ds, name string) []be.Snapshot {
	var list []be.Snapshot
	for _, d := range t.snapshots(ds) {
		_, snap := d.split()
		sn := be.Snapshot{BE: name, Name: snap, GUID: d.value("guid"), Created: d.created()}
		for _, full := range t.names {
			if strings.HasSuffix(full, "@"+snap) && t.holds(ds, strings.TrimSuffix(full, "@"+snap)) {
				sn.Space += t.by[full].number("used")
			}
		}
		list = append(list, sn)
	}
	return list
}

// Snapshots lists them, oldest first.
func (s *Store) Snapshots(ctx context.Context, name string) ([]be.Snapshot, error) {
	t, err := s.find(ctx, name)
	if err != nil {
		return nil, problem(err, "cannot list the snapshots of boot environment %s", name)
	}
	return t.describe(s.dataset(name), name), nil
}

// DestroySnapshot is refused, with kind InUse, while a boot environment that
// was cloned from it is there.
func (s *Store) DestroySnapshot(ctx context.Context, name, snap string) error {
	return problem(s.destroySnapshot(ctx, name, snap), "cannot destroy snapshot %s@%s", name, snap)
}

func (s *Store) destroySnapshot(ctx context.Context, name, snap string) error {
	if err := be.CheckSnapshotName(snap); err != nil {
		return err
	}
	t, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	top := s.dataset(name)
	half := t.by[t.boots[top]+"@"+snap] // of which the root's may have gone while this was away
	if t.by[top+"@"+snap] == nil && (half == nil || !t.isHalf(half)) {
		return be.E(be.NotFound, "there is no such snapshot; see beadm list -s")
	}
	for _, full := range t.names {
		if ds, isSnap := strings.CutSuffix(full, "@"+snap); isSnap && t.holds(top, ds) {
			if clones := cloneNames(t.by[full]); len(clones) > 0 {
				return be.E(be.InUse, "%s was cloned from it; destroy that first", clones[0])
			}
		}
	}
	for _, ds := range slices.Backward(t.tops(top)) {
		if t.by[ds+"@"+snap] == nil {
			continue // older than that it belongs to it, or already gone
		}
		if err := s.destroyRecursively(ctx, ds+"@"+snap); err != nil {
			return err
		}
	}
	return nil
}

// destroyRecursively destroys a dataset or snapshot and those below it.
func (s *Store) destroyRecursively(ctx context.Context, ds string) error {
	return s.library(ctx, "zfs destroy -r "+ds, func() error {
		return (&gozfs.Dataset{Name: ds}).Destroy(gozfs.DestroyRecursive)
	})
}

// cloneNames are the datasets cloned from a snapshot.
func cloneNames(d *dataset) []string {
	v := d.value("clones")
	if v == "" || v == "-" {
		return nil
	}
	return strings.Split(v, ",")
}

// isSpare reports whether a snapshot, with its fellows below, is an automatic
// one that nothing needs any more.
func isSpare(t *tree, d *dataset) bool { return d.local(propAuto) != "" && isUnused(t, d) }

// isUnused reports whether nothing was cloned from a snapshot and its fellows
// below, and nobody holds them.
func isUnused(t *tree, d *dataset) bool {
	ds, snap := d.split()
	for _, full := range t.names {
		owner, is := strings.CutSuffix(full, "@"+snap)
		if is && within(owner, ds) && (len(cloneNames(t.by[full])) > 0 || t.by[full].number("userrefs") > 0) {
			return false
		}
	}
	return true
}

// sweepAuto destroys the automatic snapshots that nothing needs: those of a
// Create that was cut off, and those whose last clone is gone; but not
// those called keep. So go the halves of snapshots whose other half is gone.
func (s *Store) sweepAuto(ctx context.Context, t *tree, keep string) error {
	for _, name := range t.names {
		d := t.by[name]
		ds, snap := d.split()
		if snap == "" || snap == keep || parent(ds) != s.root && t.bootOf(ds) == "" || !isSpare(t, d) && !(t.isHalf(d) && isUnused(t, d)) {
			continue
		}
		if err := s.destroyRecursively(ctx, name); err != nil {
			return err
		}
		for _, full := range t.names {
			if owner, is := strings.CutSuffix(full, "@"+snap); is && within(owner, ds) {
				delete(t.by, full)
			}
		}
		t.prune()
	}
	return nil
}

// prune forgets the names of what was deleted.
func (t *tree) prune() {
	var names []string
	for _, n := range t.names {
		if t.by[n] != nil {
			names = append(names, n)
		}
	}
	t.names = names
}
