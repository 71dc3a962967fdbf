package activate

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
	"beadm/share"
)

// ShareRemoveOptions are those of beadm share remove and share undo.
type ShareRemoveOptions struct {
	Paths   []string // empty: all that is shared
	Stop    []string
	StopAll bool
	DryRun  bool
}

// ShareRemove puts shared directories back into every boot environment, each
// with a copy of what is in them now: first those at rest, from a snapshot if the
// store has any, since services write meanwhile; then the running one, live. What
// was shared is kept, hidden, until CommitShare.
func (t *Target) ShareRemove(ctx context.Context, opts ShareRemoveOptions) (share.Result, error) {
	var res share.Result
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return res, err
	}
	defer s.Close()
	if err := Allow(s.State, "share remove"); err != nil {
		return res, err
	}
	units := shareUnits(t.Root)
	if !opts.DryRun {
		if err := s.recoverShare(ctx, units); err != nil {
			return res, err
		}
	}
	args := shareRemoveArgs{}
	for i, p := range opts.Paths {
		opts.Paths[i] = path.Clean(p)
	}
	if args.Names, err = s.sharedNames(ctx, opts.Paths); err != nil {
		return res, err
	}
	if len(args.Names) == 0 {
		s.Report.Note("nothing is shared")
		return res, nil
	}
	live := s.openLive()
	if live == nil {
		return res, be.E(be.InUse, "cannot put anything back: the shared data is not mounted at %s", s.liveShare())
	}
	defer live.Close()
	all, err := s.Store.List(ctx)
	if err != nil {
		return res, err
	}
	var running be.BE
	for _, b := range all {
		switch {
		case b.Running:
			args.UUID, running = b.UUID, b
		case b.Incomplete:
		case b.Mountpoint != "":
			return res, be.E(be.InUse, "cannot put directories back into %s: it is mounted at %s; unmount it first", b.Name, b.Mountpoint)
		case b.ReadOnly && !s.opens():
			return res, be.E(be.InUse, "cannot put directories back into %s: it is read-only", b.Name)
		default:
			args.Others = append(args.Others, b.Name)
		}
	}
	need, err := share.Weigh(ctx, openPath(live), args.Names)
	if err != nil {
		return res, err
	}
	if s.Store.Caps().Kind != "btrfs" { // whose copies share their blocks
		need *= int64(1 + len(args.Others))
	}
	free, err := s.Store.Free(ctx)
	if err != nil {
		return res, err
	}
	if free < need+room {
		return res, be.E(be.Undone, "cannot put directories back: their copies take %d MiB and %s has %d free; make room first; nothing was changed", (need+room)>>20, s.Store.Location(), free>>20)
	}
	if len(args.Others) > 0 && s.Store.Caps().Snapshots {
		args.Snapshot = "beadm-undo-" + be.NewToken()
	}
	if opts.DryRun {
		s.printPlan(s.shareRemovePlan(args, nil))
		return res, nil
	}
	seal, err := s.unseal(ctx, running)
	defer seal()
	if err != nil {
		return res, err
	}
	err = s.run(ctx, s.shareRemovePlan(args, func(context.Context) error {
		res, err = share.Undo(ctx, share.Options{
			Root: t.Root, BE: args.UUID, Paths: args.paths(), Stop: opts.Stop, StopAll: opts.StopAll, Units: units,
			Record: func(_ string, data []byte) error { return state.WriteFile(s.Dir.Path(shareRecord), data) },
			Note:   func(text string) { t.Report.Note("%s", text) },
		})
		if err == nil {
			return s.forgetShareRecord()
		}
		return errors.Join(err, s.recoverShare(context.WithoutCancel(ctx), units))
	}))
	if err != nil {
		return res, err
	}
	s.record("share remove", "", strings.Join(res.Moved, " "))
	return res, nil
}

// sharedNames are the names in the shared dataset of paths, or of all that the
// running boot environment has links for.
func (s *Session) sharedNames(ctx context.Context, paths []string) ([]string, error) {
	list, err := share.Status(ctx, s.Root, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range list {
		if p.State == share.Linked && (len(paths) == 0 || slices.Contains(paths, p.Path)) {
			names = append(names, p.Name)
		}
	}
	for _, p := range paths {
		if !slices.ContainsFunc(list, func(one share.Path) bool { return one.Path == p && one.State == share.Linked }) {
			return nil, be.E(be.NotFound, "%q is not shared: beadm share status shows what is", p)
		}
	}
	return names, nil
}

type shareRemoveArgs struct {
	UUID   be.UUID  `json:"uuid"` // of the running boot environment
	Names  []string `json:"names"`
	Others []string `json:"others"` // boot environments at rest
	// Snapshot of the shared data is what those get theirs from.
	Snapshot string `json:"snapshot,omitempty"`
}

func (a shareRemoveArgs) paths() []string {
	var paths []string
	for _, name := range a.Names {
		p, _ := share.PathOf(name)
		paths = append(paths, p)
	}
	return paths
}

// shareRemovePlan has the relocation of the running boot environment for its
// commit, as shareInitPlan has.
func (s *Session) shareRemovePlan(a shareRemoveArgs, move func(context.Context) error) journal.Plan {
	what := strings.Join(a.paths(), ", ")
	if move == nil {
		move = func(ctx context.Context) error { return s.recoverShare(ctx, shareUnits(s.Root)) }
	}
	drop := func(ctx context.Context) error {
		return notFoundIsFine(s.Store.DestroyVolumeSnapshot(ctx, be.ShareVolume, a.Snapshot))
	}
	// into has a boot environment at rest and the shared data at hand, or a
	// snapshot of it, which nobody writes to.
	into := func(ctx context.Context, name string, f func(dir, from string) error) error {
		with := func(from string) error {
			return s.writeInto(ctx, name, func(dir string) error { return f(dir, from) })
		}
		if a.Snapshot != "" {
			return s.withSnapshotOf(ctx, sharedData, a.Snapshot, with)
		}
		live := s.openLive()
		if live == nil {
			return errors.New("the shared data is not mounted")
		}
		defer live.Close()
		return with(openPath(live))
	}
	plan := journal.Plan{Op: "share remove", Args: a, Committed: func(ctx context.Context) (bool, error) {
		if data, err := s.openRelocation(); err != nil || data != nil {
			return true, err
		}
		// By name: what is in no profile is not listed any more once it is put back.
		list, err := share.Status(ctx, s.Root, a.paths())
		for _, p := range list {
			if slices.Contains(a.Names, p.Name) && p.State == share.Real {
				return true, err
			}
		}
		return false, err
	}}
	if a.Snapshot != "" {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "snapshot the shared data",
			Do: func(ctx context.Context) error {
				_, err := s.Store.SnapshotVolume(ctx, be.ShareVolume, a.Snapshot)
				return err
			},
			Undo: drop,
		})
	}
	for _, name := range a.Others {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "put " + what + " back into " + name,
			Do: func(ctx context.Context) error {
				return into(ctx, name, func(dir, from string) error {
					_, err := share.PutBack(ctx, dir, from, a.Names)
					return err
				})
			},
			Undo: func(ctx context.Context) error {
				return s.writeInto(ctx, name, func(dir string) error { return share.TakeBack(ctx, dir, a.Names) })
			},
		})
	}
	plan.Commit = len(plan.Steps)
	plan.Steps = append(plan.Steps, journal.Step{Name: "put " + what + " back into what runs", Do: move}, journal.Step{
		Name: "tell what goes by path that they are back",
		Do:   func(ctx context.Context) error { return s.followShare(ctx, nil) },
	})
	if a.Snapshot != "" {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "destroy the snapshot of the shared data",
			Do: func(ctx context.Context) error {
				if err := drop(ctx); err != nil {
					return err
				}
				// Nobody looks for it once the journal is closed.
				return s.Store.Flush(ctx)
			},
		})
	}
	return plan
}
