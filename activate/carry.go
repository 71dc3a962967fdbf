package activate

import (
	"context"
	"fmt"
	"runtime"

	"beadm/be"
	reconcile "beadm/sync"
)

// What a switch carries from one boot environment to another, and the records
// it needs for that (package reconcile).

func (s *Session) archive() (*reconcile.Archive, error) {
	a, err := reconcile.Open(s.Dir.Path("sync"))
	if err != nil {
		return nil, err
	}
	a.Shared = []string{"/" + sharePoint}
	a.GOOS = runtime.GOOS
	return a, nil
}

func (s *Session) cloned(ctx context.Context, to, from be.UUID, snapshotRoot string, running bool) error {
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.Cloned(ctx, to, from, snapshotRoot, running)
}

func (s *Session) forget(uuid be.UUID) error {
	if uuid == "" {
		return nil
	}
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.Forget(uuid)
}

func (s *Session) beginRun(ctx context.Context, uuid be.UUID, root string) error {
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.BeginRun(ctx, uuid, root)
}

func (s *Session) endRun(ctx context.Context, uuid be.UUID, root string, failed bool) error {
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.EndRun(ctx, uuid, root, failed)
}

// reconcileRunning carries what the running boot environment changed up to the
// snapshot of it that is mounted at fromRoot.
func (s *Session) reconcileRunning(ctx context.Context, from, to be.UUID, fromRoot, toRoot string, strict bool) error {
	_, err := s.reconcile(ctx, reconcile.Switch{From: from, To: to, FromRoot: fromRoot, ToRoot: toRoot, Upto: reconcile.Mark, Strict: strict})
	return err
}

// reconcileEnded carries what a boot environment changed that runs no more.
func (s *Session) reconcileEnded(ctx context.Context, from, to be.UUID, fromRoot, toRoot string, securityOnly bool) error {
	sw := reconcile.Switch{From: from, To: to, FromRoot: fromRoot, ToRoot: toRoot, Upto: reconcile.EndOfRun}
	if securityOnly {
		sw.Mode = reconcile.SecurityOnly
	}
	_, err := s.reconcile(ctx, sw)
	return err
}

func (s *Session) reconcile(ctx context.Context, sw reconcile.Switch) (reconcile.Report, error) {
	a, err := s.archive()
	if err != nil {
		return reconcile.Report{}, err
	}
	report, err := a.Reconcile(ctx, sw)
	for _, item := range report.Conflicts() {
		where := ""
		if item.Saved != "" {
			where = "; the other side stands at " + string(item.Saved)
		}
		s.Report.Warn("%s is in conflict: %s%s", item.Path, item.Reason, where)
	}
	for _, note := range report.Notes {
		s.Report.Warn("%s", note)
	}
	if err != nil {
		return report, fmt.Errorf("cannot reconcile: %w", err)
	}
	return report, nil
}

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
	var none reconcile.Report
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return none, err
	}
	defer s.Close()
	running, err := s.running(ctx)
	if err != nil {
		return none, err
	}
	from := running
	if opts.From != "" {
		if from, err = s.find(ctx, opts.From); err != nil {
			return none, err
		}
	}
	in := running
	if to != "" {
		if in, err = s.find(ctx, to); err != nil {
			return none, err
		}
	}
	if in.Mountpoint != "" && !in.Running {
		return none, be.E(be.InUse, "cannot carry anything into %s: it is mounted at %s; unmount it first", in.Name, in.Mountpoint)
	}
	if from.UUID == in.UUID {
		return none, be.E(be.Usage, "nothing can be carried from %s to itself: give another boot environment", in.Name)
	}
	if err := Allow(s.State, "sync run", in.UUID); err != nil {
		return none, err
	}
	sw := reconcile.Switch{From: from.UUID, To: in.UUID, DryRun: opts.DryRun, Strict: opts.Strict, Upto: reconcile.EndOfRun}
	if opts.Aside || from.UUID != running.UUID {
		sw.Mode = reconcile.Aside
	}
	clean := context.WithoutCancel(ctx)
	sw.ToRoot = s.Root
	if !in.Running {
		sw.ToRoot = s.path("new")
		if err := s.private(sw.ToRoot); err != nil {
			return none, err
		}
		if err := s.mountStaged(ctx, in.Name, sw.ToRoot, opts.DryRun); err != nil {
			return none, err
		}
		defer s.unmountStaged(clean, in.Name, sw.ToRoot, true)
	}
	if from.Running {
		snap := "beadm-sync-" + be.NewToken()
		if _, err := s.Store.Snapshot(ctx, from.Name, snap); err != nil {
			return none, err
		}
		defer s.Store.DestroySnapshot(clean, from.Name, snap)
		sw.Upto, sw.FromRoot = reconcile.Mark, s.path("snap")
		if err := s.private(sw.FromRoot); err != nil {
			return none, err
		}
		if err := s.Store.MountSnapshot(ctx, from.Name, snap, sw.FromRoot); err != nil {
			return none, err
		}
		defer s.Store.UnmountDir(clean, sw.FromRoot)
	}
	report, err := s.reconcile(ctx, sw)
	if err == nil && !opts.DryRun {
		s.record("sync", in.Name, "from "+from.Name)
	}
	return report, err
}
