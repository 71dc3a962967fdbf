package activate

import (
	"context"
	"runtime"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
	reconcile "beadm/sync"
	"beadm/sync/manifest"
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
	if s.Guest {
		a.Most = ofGuest
	}
	return a, nil
}

// ofGuest keeps a guest from filling the host's memory and state with what its
// synclist names.
var ofGuest = manifest.Most{File: 1 << 30, Account: 4 << 20, Lines: 20_000, Bytes: 4 << 30, Files: 50_000}

func (s *Session) cloned(ctx context.Context, to, from be.UUID, snapshotRoot string, running bool) error {
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.Cloned(ctx, to, from, reconcile.Snapshot{Root: snapshotRoot, AsOf: s.asOf}, running)
}

func (s *Session) fromTemplate(ctx context.Context, created be.UUID, root string) error {
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.FromTemplate(ctx, created, reconcile.Snapshot{Root: root})
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

// mountAsItRuns snapshots a boot environment that runs and mounts the snapshot.
func (s *Session) mountAsItRuns(ctx context.Context, name, snap, dir string) error {
	s.asOf = time.Now()
	if _, err := s.Store.Snapshot(ctx, name, snap); err != nil {
		return err
	}
	if err := s.private(dir); err != nil {
		return err
	}
	return s.Store.MountSnapshot(ctx, name, snap, dir)
}

// reconcileRunning carries what the running boot environment changed up to the
// snapshot of it that is mounted at fromRoot.
func (s *Session) reconcileRunning(ctx context.Context, from, to be.UUID, fromRoot, toRoot string, strict bool) error {
	_, err := s.reconcile(ctx, reconcile.Switch{From: from, To: to, FromRoot: fromRoot, AsOf: s.asOf, ToRoot: toRoot, Upto: reconcile.Mark, Strict: strict})
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
			where = "; the other side stands at " + rooted.Printable(string(item.Saved))
		}
		s.Report.Warn("%s is in conflict: %s%s", rooted.Printable(string(item.Path)), item.Reason, where)
		s.conflicts = append(s.conflicts, state.Conflict{
			Path: string(item.Path), Reason: item.Reason, Saved: string(item.Saved), From: s.nameOf(ctx, sw.From), At: time.Now().UTC(),
		})
	}
	for _, note := range report.Notes {
		s.Report.Warn("%s", note)
	}
	return report, err
}

// tidy takes away what a reconcile into the boot environment name that was cut
// staged there. It is mounted at dir, or was.
func (s *Session) tidy(ctx context.Context, name, dir string) {
	if err := s.tidyAt(ctx, name, dir); err != nil {
		// The next reconcile would do it, too: nothing has to stay open for it.
		s.Report.Warn("%v", err)
	}
}

func (s *Session) tidyAt(ctx context.Context, name, dir string) error {
	b, err := s.find(ctx, name)
	if err != nil || b.Running || b.Mountpoint != "" && b.Mountpoint != dir {
		return notFoundIsFine(err)
	}
	if b.Mountpoint == "" {
		if err := s.private(dir); err != nil {
			return err
		}
		if err := s.Store.Mount(ctx, name, dir, false); err != nil {
			return err
		}
		defer s.Store.Unmount(context.WithoutCancel(ctx), name, true)
	}
	a, err := s.archive()
	if err != nil {
		return err
	}
	return a.Tidy(b.UUID, dir, s.Root)
}
