package activate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/be"
)

// ours begins the names of snapshots that beadm makes and destroys by itself.
const ours = "beadm-"

// Snapshot makes a snapshot of a boot environment, running or not, with all its
// subordinates, named snap or, if that is empty, by the time. It is kept until it
// is destroyed by hand, or the boot environment is. It returns its name.
func (t *Target) Snapshot(ctx context.Context, name, snap string, dryRun bool) (string, error) {
	if snap != "" {
		if err := be.CheckSnapshotName(snap); err != nil {
			return "", err
		}
		if strings.HasPrefix(snap, ours) {
			return "", be.E(be.Usage, "the snapshot name %s is not valid: names that begin with %s are for what beadm makes by itself", snap, ours)
		}
	}
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return "", err
	}
	if err := Allow(s.State, "snapshot", b.UUID); err != nil {
		return "", err
	}
	if b.Incomplete {
		return "", be.E(be.InUse, "cannot snapshot %s: it is incomplete; beadm recover or beadm destroy ends that", name)
	}
	all, err := s.snapshotsOf(ctx, name)
	if err != nil {
		return "", err
	}
	has := func(snap string) bool {
		return slices.ContainsFunc(all, func(sn be.Snapshot) bool { return sn.Name == snap })
	}
	if snap == "" {
		now := time.Now().Format("2006-01-02-15:04:05")
		for n := 0; snap == "" || has(snap); n++ {
			if snap = now; n > 0 {
				snap = fmt.Sprintf("%s-%d", now, n)
			}
		}
	} else if has(snap) {
		return "", be.E(be.InUse, "the snapshot %s@%s exists already: choose another name, or destroy it", name, snap)
	}
	if err := s.roomFor(ctx, "snapshot "+name); err != nil {
		return "", err
	}
	if dryRun {
		s.Report.Would("make the snapshot " + name + "@" + snap)
		return snap, nil
	}
	if _, err := s.Store.Snapshot(ctx, name, snap); err != nil {
		return "", err
	}
	s.record("snapshot", name, "@"+snap)
	return snap, nil
}

// DestroySnapshot destroys one snapshot of a boot environment. One that others
// were cloned from stays: by it is told what they lack.
func (t *Target) DestroySnapshot(ctx context.Context, name, snap string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "destroy", b.UUID); err != nil {
		return err
	}
	if err := s.findSnapshot(ctx, name, snap); err != nil {
		return err
	}
	bes, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	var clones []string
	for _, o := range bes {
		if o.Origin == name+"@"+snap {
			clones = append(clones, o.Name)
		}
	}
	if len(clones) > 0 {
		return be.E(be.InUse, "cannot destroy %s@%s: it is what %s was cloned from; destroy that first", name, snap, strings.Join(clones, ", "))
	}
	if dryRun {
		return nil
	}
	if err := s.Store.DestroySnapshot(ctx, name, snap); err != nil {
		return err
	}
	s.record("destroy", name, "@"+snap)
	return nil
}

func (s *Session) snapshotsOf(ctx context.Context, name string) ([]be.Snapshot, error) {
	if !s.Store.Caps().Snapshots {
		return nil, be.E(be.NoStore, "%s has no snapshots", s.Store.Location())
	}
	return s.Store.Snapshots(ctx, name)
}

// findSnapshot finds also what beadm would not have called so: any name that the
// store has.
func (s *Session) findSnapshot(ctx context.Context, name, snap string) error {
	if snap == "" || strings.ContainsAny(snap, "@/") {
		return be.E(be.Usage, "%q is no name of a snapshot of %s", snap, name)
	}
	all, err := s.snapshotsOf(ctx, name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(sn be.Snapshot) bool { return sn.Name == snap }) {
		return be.E(be.NotFound, "there is no snapshot %s@%s: beadm list -s shows those there are", name, snap)
	}
	return nil
}
