package activate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/share"
)

// askRestore is what a rollback from one boot environment to another asks its
// next boot to bring back of the shared data: what the snapshot holds that was
// made at the switch to the one that is left. What runs until the reboot would
// only damage it again. Nothing is asked for without opts.Share.
func (s *Session) askRestore(ctx context.Context, opts RollbackOptions, to, from be.UUID, activation string) (*state.Restore, error) {
	if !opts.Share {
		return nil, nil
	}
	all, err := s.snapshotsOfShare(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(snap be.Snapshot) bool {
		of, _, ok := share.ParseSnapshotName(snap.Name)
		return ok && activation != "" && of == activation
	})
	if i < 0 {
		return nil, be.E(be.NotFound, "there is no snapshot of the shared data from the switch to %s: beadm share list shows those there are, beadm share restore brings back what one holds", s.nameOf(ctx, from))
	}
	ask := &state.Restore{To: to, Snapshot: all[i].Name, At: time.Now().UTC()}
	for _, p := range opts.SharePaths {
		for _, one := range s.State.Separate {
			if p == one.Path || strings.HasPrefix(p, one.Path+"/") {
				return nil, be.E(be.Usage, "cannot bring back %s at the boot: %s is a file system of its own, which is not mounted by then; beadm share restore %s %s does it", rooted.Printable(p), rooted.Printable(one.Path), all[i].Name, rooted.Printable(p))
			}
		}
		in, err := s.pathInShare(ctx, p)
		if err != nil {
			return nil, err
		}
		ask.Paths = append(ask.Paths, in)
	}
	if len(ask.Paths) == 0 {
		if ask.Paths, err = s.sharedNames(ctx, nil); err != nil {
			return nil, err
		}
	}
	err = s.withSnapshotOf(ctx, sharedData, ask.Snapshot, func(dir string) error {
		if len(opts.SharePaths) == 0 { // of a directory that was shared since it holds nothing
			ask.Paths = slices.DeleteFunc(ask.Paths, func(p string) bool { return share.Holds(dir, []string{p}) != nil })
		}
		if len(ask.Paths) == 0 {
			return be.E(be.NotFound, "snapshot %s holds nothing of what is shared", ask.Snapshot)
		}
		return share.Holds(dir, ask.Paths)
	})
	if err != nil {
		return nil, err
	}
	what := strings.Join(allPrintable(ask.Paths), ", ") + " from snapshot " + ask.Snapshot + " of the shared data"
	if opts.DryRun {
		s.Report.Would("bring back " + what + " when " + s.nameOf(ctx, to) + " boots")
	} else {
		s.Report.Note("%s is brought back when %s boots", what, s.nameOf(ctx, to))
	}
	return ask, nil
}

// withSnapshotOf mounts a snapshot of the shared data, or of a separate
// directory, for the time of f.
func (s *Session) withSnapshotOf(ctx context.Context, of shared, name string, f func(dir string) error) error {
	dir := s.path("share")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.holdMounts(ctx); err != nil {
		return err
	}
	defer s.Store.UnmountDir(context.WithoutCancel(ctx), dir)
	if err := s.Store.MountVolumeSnapshot(ctx, of.volume, name, dir); err != nil {
		return err
	}
	return f(dir)
}

// staleLock is how long a boot waits for the lock of a mailbox: whoever held it
// is gone.
const staleLock = 2 * time.Second

// restoreAtBoot does what a rollback to the running boot environment asked for.
// What fails stays asked for, and says why. A boot of another one ends it.
func (s *Session) restoreAtBoot(ctx context.Context, running be.BE) error {
	ask := s.State.Restore
	if ask == nil {
		return nil
	}
	what := strings.Join(allPrintable(ask.Paths), ", ") + " of snapshot " + ask.Snapshot
	if ask.To != running.UUID {
		s.State.Restore = nil
		why := fmt.Sprintf("%s is not brought back: %s was started, not %s", what, running.Name, s.nameOf(ctx, ask.To))
		s.record("share restore", "", why)
		return errors.New(why + "; beadm share restore does it")
	}
	res, err := s.restore(ctx, sharedData, ask.Snapshot, ask.Paths, ask.At, staleLock)
	if err == nil && len(res.Locked) > 0 {
		err = fmt.Errorf("another program has left it locked: %s", strings.Join(allPrintable(res.Locked), ", "))
	}
	if err != nil {
		ask.Why = err.Error()
		return fmt.Errorf("%s is not brought back: %w", what, err)
	}
	s.State.Restore = nil
	return nil
}
