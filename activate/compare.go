package activate

import (
	"context"
	"errors"
	"os"

	"beadm/activate/diff"
	"beadm/be"
)

// Diff says how the boot environment, or BE@SNAP, new differs from old; old empty is
// what runs. What is not mounted is mounted read-only meanwhile. It changes nothing.
func (t *Target) Diff(ctx context.Context, old, new string, what diff.What) (r diff.Report, err error) {
	s, err := t.Look(ctx)
	if err != nil {
		return r, err
	}
	defer s.Close()
	if old == "" {
		running, err := s.running(ctx)
		if err != nil {
			return r, err
		}
		old = running.Name
	}
	if old == new {
		return r, be.E(be.Usage, "%s does not differ from itself: name another one", new)
	}
	err = s.side(ctx, "diff-old", old, func(a diff.Side) error {
		return s.side(ctx, "diff-new", new, func(b diff.Side) error {
			r, err = diff.Compare(ctx, a, b, what)
			return err
		})
	})
	return r, err
}

// side calls f with where a boot environment, or a snapshot of one, is mounted.
func (s *Session) side(ctx context.Context, at, name string, f func(diff.Side) error) (err error) {
	of, snap, isSnap := be.SplitSnapshot(name)
	if err := be.CheckName(of); err != nil {
		return err
	}
	if isSnap {
		if err := be.CheckSnapshotName(snap); err != nil {
			return err
		}
	}
	b, err := s.find(ctx, of)
	if err != nil {
		return err
	}
	if b.Incomplete {
		return be.E(be.InUse, "cannot compare %s: it is incomplete: an operation on it did not finish; destroy it", of)
	}
	if b.Mountpoint != "" && !isSnap {
		return f(diff.Side{Name: name, Dir: b.Mountpoint, Own: b.Location})
	}
	dir := s.path(at)
	if err := s.private(dir); err != nil {
		return err
	}
	if isSnap {
		err = s.Store.MountSnapshot(ctx, of, snap, dir)
	} else {
		err = s.Store.Mount(ctx, of, dir, true)
	}
	if err != nil {
		os.Remove(dir)
		return err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		undo := s.Store.UnmountDir
		if !isSnap {
			undo = func(ctx context.Context, _ string) error { return s.Store.Unmount(ctx, of, true) }
		}
		err = errors.Join(err, undo(ctx, dir))
		os.Remove(dir)
	}()
	return f(diff.Side{Name: name, Dir: dir, Own: b.Location})
}
