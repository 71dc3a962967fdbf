package activate

import (
	"context"
	"fmt"
	"slices"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// Destroy removes a boot environment, its menu entry and its records. With
// dryRun it only says what would come back.
func (t *Target) Destroy(ctx context.Context, name string, force, dryRun bool) (be.DestroyReport, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return be.DestroyReport{}, err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return be.DestroyReport{}, err
	}
	if err := s.mayDestroy(ctx, b, force); err != nil {
		return be.DestroyReport{}, err
	}
	if dryRun {
		s.mentionGuests(b)
		return s.wouldDestroy(ctx, b)
	}
	return s.destroy(ctx, b, force)
}

// destroy destroys one that mayDestroy lets go.
func (s *Session) destroy(ctx context.Context, b be.BE, force bool) (be.DestroyReport, error) {
	args := destroyArgs{Name: b.Name, UUID: b.UUID, Force: force}
	if b.UUID != "" {
		entries, err := s.Loader.Entries(ctx)
		if err != nil {
			return be.DestroyReport{}, err
		}
		args.HadEntry = slices.Contains(entries, b.ID())
	}
	var report be.DestroyReport
	plan := s.destroyPlan(args, &report)
	if err := s.run(ctx, plan); err != nil {
		return report, err
	}
	s.record("destroy", b.Name, "")
	return report, nil
}

func (s *Session) mayDestroy(ctx context.Context, b be.BE, force bool) error {
	st := s.State
	if err := Allow(st, "destroy", b.UUID); err != nil {
		return err
	}
	switch {
	case b.Running:
		return be.E(be.InUse, "cannot destroy %s: it is running", b.Name)
	case b.UUID != "" && b.UUID == st.Default:
		return be.E(be.InUse, "cannot destroy %s: it is the default; activate another first", b.Name)
	case b.Mountpoint != "" && !force && !s.swept(b.Mountpoint):
		return be.E(be.InUse, "cannot destroy %s: it is mounted at %s; unmount it, or give -f", b.Name, b.Mountpoint)
	}
	back, err := s.isWayBack(ctx, b)
	if err != nil {
		return err
	}
	if back {
		return be.E(be.InUse, "cannot destroy %s: it is the way back while %s is not confirmed; run beadm confirm in that once it is known to be good", b.Name, s.nameOf(ctx, st.Default))
	}
	takes, err := s.takenAlong(ctx)
	if err != nil {
		return fmt.Errorf("cannot destroy %s: %w", b.Name, err)
	}
	if with := takes[b.UUID]; with != "" && b.UUID != "" {
		return be.E(be.InUse, "cannot destroy %s: it belongs to the host's boot environment %s, which takes it along; destroy that first", b.Name, with)
	}
	return nil
}

// isWayBack says that the default was never confirmed, and that without b there
// is no rollback, or no boot environment that ever was confirmed.
func (s *Session) isWayBack(ctx context.Context, b be.BE) (bool, error) {
	good := func(u be.UUID) bool { return s.State.BEs[u] != nil && s.State.BEs[u].Good }
	if b.UUID == "" || s.State.Default == "" || good(s.State.Default) {
		return false, nil
	}
	if b.UUID == s.State.Previous {
		return true, nil
	}
	if !good(b.UUID) {
		return false, nil
	}
	all, err := s.Store.List(ctx)
	return !slices.ContainsFunc(all, func(o be.BE) bool { return o.UUID != b.UUID && !o.Incomplete && good(o.UUID) }), err
}

type destroyArgs struct {
	Name     string  `json:"name"`
	UUID     be.UUID `json:"uuid"`
	Force    bool    `json:"force,omitempty"`
	HadEntry bool    `json:"had_entry,omitempty"`
}

// destroyPlan commits with the store's own first effect: a boot environment
// that is incomplete is finished off, not brought back. The menu entry goes
// before, so that no entry ever names a root that is not there.
func (s *Session) destroyPlan(args destroyArgs, report *be.DestroyReport) journal.Plan {
	return journal.Plan{Op: "destroy", Args: args, Commit: 1, Repeatable: true,
		Committed: func(ctx context.Context) (bool, error) {
			all, err := s.Store.List(ctx)
			i := slices.IndexFunc(all, func(b be.BE) bool { return b.Name == args.Name })
			return err == nil && (i < 0 || all[i].Incomplete), err
		},
		Steps: []journal.Step{
			{
				Name: "take it out of the boot menu",
				Do: func(ctx context.Context) error {
					if args.UUID == "" {
						return nil
					}
					return s.Loader.Remove(ctx, args.UUID.ID())
				},
				Undo: func(ctx context.Context) error {
					if !args.HadEntry {
						return nil
					}
					entries, err := s.Loader.Entries(ctx)
					if err != nil || slices.Contains(entries, args.UUID.ID()) {
						return nil // nothing was taken away
					}
					s.entryBack(ctx, args.UUID, args.Name)
					return nil
				},
			},
			{Name: "destroy " + args.Name, Do: func(ctx context.Context) error {
				if args.Force {
					if err := s.Store.Unmount(ctx, args.Name, true); err != nil && be.KindOf(err) != be.NotFound {
						return err
					}
				}
				r, err := s.Store.Destroy(ctx, args.Name, false)
				if report != nil {
					*report = r
				}
				if be.KindOf(err) == be.NotFound {
					return nil
				}
				return err
			}},
			{Name: "forget its records", Do: func(ctx context.Context) error {
				if args.UUID == "" {
					return nil
				}
				err := s.forget(args.UUID)
				if state.NoSpace(err) {
					// Its own space may be on the way back. Records of what is
					// gone do no harm.
					if _, err := s.Store.Free(ctx); err != nil {
						return err
					}
					if err = s.forget(args.UUID); state.NoSpace(err) {
						s.Report.Warn("%s is destroyed, but its records stay for want of space", args.Name)
						return nil
					}
				}
				if err != nil {
					return err
				}
				delete(s.State.BEs, args.UUID)
				if s.State.Previous == args.UUID {
					s.State.Previous = ""
				}
				for i := range s.State.Failures {
					if s.State.Failures[i].BE == args.UUID {
						s.State.Failures[i].Acknowledged = true
					}
				}
				return s.save()
			}},
		}}
}
