package activate

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"beadm/be"
	"beadm/be/journal"
	reconcile "beadm/sync"
)

// SyncOptions are those of beadm sync run.
type SyncOptions struct {
	From   string // empty: the running boot environment
	Aside  bool   // also what a failed trial's run changed
	DryRun bool
	Strict bool
}

// Sync carries the synclist's files between two boot environments now, or
// says what it would carry. To is not running, or is what runs and From is
// not.
func (t *Target) Sync(ctx context.Context, to string, opts SyncOptions) (reconcile.Report, error) {
	var report reconcile.Report
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return report, err
	}
	defer s.Close()
	running, err := s.running(ctx)
	if err != nil {
		return report, err
	}
	from := running
	if opts.From != "" {
		if from, err = s.find(ctx, opts.From); err != nil {
			return report, err
		}
	}
	in := running
	if to != "" {
		if in, err = s.find(ctx, to); err != nil {
			return report, err
		}
	}
	if in.Mountpoint != "" && !in.Running {
		return report, be.E(be.InUse, "cannot carry anything into %s: it is mounted at %s; unmount it first", in.Name, in.Mountpoint)
	}
	if from.UUID == in.UUID {
		return report, be.E(be.Usage, "nothing can be carried from %s to itself: give another boot environment", in.Name)
	}
	if err := Allow(s.State, "sync run", in.UUID); err != nil {
		return report, err
	}
	args := syncArgs{
		From: from.Name, FromUUID: from.UUID, To: in.Name, ToUUID: in.UUID, Strict: opts.Strict,
		Aside: opts.Aside || from.UUID != running.UUID, ToRuns: in.Running,
	}
	if from.Running {
		args.Snapshot = "beadm-sync-" + be.NewToken()
	}
	plan := s.syncPlan(args, opts.DryRun, &report)
	if opts.DryRun {
		return report, rehearse(ctx, plan)
	}
	if err := s.run(ctx, plan); err != nil {
		return report, err
	}
	s.record("sync", in.Name, "from "+from.Name)
	return report, nil
}

type syncArgs struct {
	From     string  `json:"from"`
	FromUUID be.UUID `json:"from_uuid"`
	To       string  `json:"to"`
	ToUUID   be.UUID `json:"to_uuid"`
	Snapshot string  `json:"snapshot,omitempty"` // of From, which runs
	ToRuns   bool    `json:"to_runs,omitempty"`
	Aside    bool    `json:"aside,omitempty"`
	Strict   bool    `json:"strict,omitempty"`
}

// syncPlan commits when it has cleared up behind itself. What was carried by
// then is carried, and the records say so; what was not is by the next one.
func (s *Session) syncPlan(a syncArgs, dry bool, report *reconcile.Report) journal.Plan {
	snapDir, toDir := s.path("snap"), s.path("new")
	sw := reconcile.Switch{From: a.FromUUID, To: a.ToUUID, ToRoot: s.Root, DryRun: dry, Strict: a.Strict, Upto: reconcile.EndOfRun}
	if a.Aside {
		sw.Mode = reconcile.Aside
	}
	plan := journal.Plan{Op: "sync run", Args: a, Commit: -1}
	releaseFrom := func(ctx context.Context) error {
		return errors.Join(s.Store.UnmountDir(ctx, snapDir), notFoundIsFine(s.Store.DestroySnapshot(ctx, a.From, a.Snapshot)))
	}
	releaseTo := func(ctx context.Context) error {
		if _, err := os.Lstat(toDir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return s.unmountStaged(ctx, a.To, toDir, true)
	}
	if a.Snapshot != "" {
		sw.Upto, sw.FromRoot = reconcile.Mark, snapDir
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "snapshot " + a.From + " as it runs",
			Do: func(ctx context.Context) error {
				return s.mountAsItRuns(ctx, a.From, a.Snapshot, snapDir)
			},
			Undo: releaseFrom,
		})
	}
	if !a.ToRuns {
		sw.ToRoot = toDir
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "mount " + a.To,
			Do: func(ctx context.Context) error {
				if err := s.private(toDir); err != nil {
					return err
				}
				return s.mountStaged(ctx, a.To, toDir, dry)
			},
			Undo: releaseTo,
		})
	}
	plan.Steps = append(plan.Steps,
		journal.Step{
			Name: "reconcile the files of the synclist",
			Do: func(ctx context.Context) error {
				sw.AsOf = s.asOf
				r, err := s.reconcile(ctx, sw)
				if report != nil {
					*report = r
				}
				return err
			},
			Undo: func(ctx context.Context) error {
				if !a.ToRuns && !dry {
					s.tidy(ctx, a.To, toDir)
				}
				return nil
			},
		},
		journal.Step{
			Name: "clear up",
			Do: func(ctx context.Context) error {
				if !a.ToRuns {
					if err := releaseTo(ctx); err != nil {
						return err
					}
				}
				if a.Snapshot == "" {
					return nil
				}
				if err := releaseFrom(ctx); err != nil {
					return err
				}
				// Nobody looks for it once the journal is closed.
				return s.Store.Flush(ctx)
			},
		})
	return plan
}

// rehearse runs a plan whose steps change nothing, or nothing that they do not
// clear up, without a journal.
func rehearse(ctx context.Context, plan journal.Plan) error {
	for i, step := range plan.Steps {
		if err := step.Do(ctx); err != nil {
			clean := context.WithoutCancel(ctx)
			for ; i >= 0; i-- {
				if undo := plan.Steps[i].Undo; undo != nil {
					err = errors.Join(err, undo(clean))
				}
			}
			return err
		}
	}
	return nil
}
