package activate

import (
	"context"
	"errors"

	"beadm/be"
	"beadm/share"
)

// CommitShare deletes the directories as they were before they were shared,
// which every boot environment keeps: they can then no longer be put back. It
// returns the boot environments that had some.
func (t *Target) CommitShare(ctx context.Context, dryRun bool) ([]string, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := Allow(s.State, "share commit"); err != nil {
		return nil, err
	}
	if exists, err := s.hasShare(ctx); err != nil {
		return nil, err
	} else if !exists {
		return nil, be.E(be.NoStore, "there is no shared data: beadm share init moves it into one place")
	}
	live := s.openLive()
	if live == nil {
		return nil, be.E(be.InUse, "cannot commit: the shared data is not mounted at %s", s.liveShare())
	}
	defer live.Close()
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	had := []string{}
	for _, b := range all {
		if b.Incomplete || b.ReadOnly && !b.Running && !s.opens() {
			continue
		}
		var old bool
		if err := s.lookInto(ctx, b, func(dir string) error {
			old, err = share.HasOld(dir)
			return err
		}); err != nil {
			return had, err
		}
		switch {
		case !old && !b.Running: // what was undone there is in the shared data
			continue
		case old && b.Mountpoint != "" && !b.Running:
			return had, be.E(be.InUse, "cannot commit in %s: it is mounted at %s; unmount it first", b.Name, b.Mountpoint)
		case dryRun && old:
			s.Report.Would("delete " + share.OldDir + " of " + b.Name)
		case dryRun:
			continue
		case b.Running:
			var seal func()
			if seal, err = s.unseal(ctx, b); err == nil {
				err = share.Commit(ctx, s.Root, openPath(live))
			}
			seal()
		default:
			s.Report.Step("delete " + share.OldDir + " of " + b.Name)
			err = s.writeInto(ctx, b.Name, func(dir string) error { return share.Commit(ctx, dir, "") })
		}
		if err != nil {
			return had, err
		}
		if old {
			had = append(had, b.Name)
		}
	}
	if !dryRun && len(had) > 0 {
		s.record("share commit", "", "")
	}
	return had, nil
}

// writeInto calls f with where the boot environment name, at rest, is mounted.
func (s *Session) writeInto(ctx context.Context, name string, f func(dir string) error) error {
	dir := s.path("look")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.Store.Mount(ctx, name, dir, false); err != nil {
		return err
	}
	return errors.Join(f(dir), s.Store.Unmount(context.WithoutCancel(ctx), name, true))
}
