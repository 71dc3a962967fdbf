package activate

import (
	"context"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// RollbackOptions are those of beadm rollback.
type RollbackOptions struct {
	DryRun bool
	// Share has the next boot bring back, before any service, what the snapshot
	// made at the switch holds of the shared data: at SharePaths, or all.
	Share      bool
	SharePaths []string
}

// Rollback makes the previous boot environment the default at once; its next
// boot brings over everything that was written meanwhile. During a trial it
// ends the trial: the default never changed.
func (t *Target) Rollback(ctx context.Context, opts RollbackOptions) (to string, err error) {
	dryRun := opts.DryRun
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if !dryRun {
		if _, err := s.noteSeparate(ctx); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	if trial := s.State.Trial; trial != nil && trial.Phase == state.Armed {
		to = s.nameOf(ctx, trial.From)
		if opts.Share {
			return "", be.E(be.InUse, "there is nothing to bring back of the shared data: %s was never started; beadm rollback alone takes its trial back", s.nameOf(ctx, trial.BE))
		}
		if dryRun {
			s.Report.Would("take back the armed trial of " + s.nameOf(ctx, trial.BE))
			return to, nil
		}
		return to, s.disarm(ctx)
	}
	if trial := s.State.Trial; trial != nil {
		if b, err := s.running(ctx); err == nil && b.UUID != trial.BE {
			return "", be.E(be.Recovery, "%s runs and the trial of %s is not settled: run beadm recover first", b.Name, s.nameOf(ctx, trial.BE))
		}
		to = s.nameOf(ctx, trial.From)
		restore, err := s.askRestore(ctx, opts, trial.From, trial.BE, trial.Activation)
		if err != nil {
			return "", err
		}
		if dryRun {
			s.mentionLeftFor(ctx, trial.From)
			s.Report.Would("end the trial of " + s.nameOf(ctx, trial.BE) + "; " + to + " boots next")
			return to, nil
		}
		s.State.Restore = restore
		trial.Verdict = &state.Verdict{Reason: state.ReasonOperator, At: time.Now().UTC()}
		if err := s.save(); err != nil {
			return to, err
		}
		s.record("rollback", to, "of the trial of "+s.nameOf(ctx, trial.BE))
		s.Report.Note("%s runs until the reboot that ends its trial", s.nameOf(ctx, trial.BE))
		s.mentionLeftFor(ctx, trial.From) // last: nothing of it stops a rollback
		return to, nil
	}
	if s.State.Previous == "" {
		return "", be.E(be.NotFound, "there is no previous boot environment to roll back to: activate one by name")
	}
	if b, err := s.running(ctx); err == nil && b.UUID != s.State.Default && b.UUID != s.State.Previous {
		// Started once, or picked at the menu: what is meant is not the one
		// before the default.
		def := s.nameOf(ctx, s.State.Default)
		return "", be.E(be.InUse, "%s is not the default, to which a reboot goes back: a reboot starts %s; to make another one the default, give beadm activate --permanent its name", b.Name, def)
	}
	b, err := s.byUUID(ctx, s.State.Previous)
	if err != nil {
		return "", err
	}
	if err := s.upgradedWell(b, "roll back to"); err != nil {
		return "", err
	}
	if !b.Running {
		if err := s.checkBootable(ctx, b); err != nil {
			return "", err
		}
	}
	restore, err := s.askRestore(ctx, opts, b.UUID, s.State.Default, s.State.Know(s.State.Default).Switch)
	if err != nil {
		return "", err
	}
	args := defaultArgs{Name: b.Name, UUID: b.UUID, Was: s.State.Default, Restore: restore}
	running, err := s.running(ctx)
	if err == nil && !b.Running {
		args.Guests = s.wayBack(running.UUID, b.UUID)
	}
	plan := s.defaultPlan("rollback", args)
	if dryRun {
		s.mentionLeftFor(ctx, b.UUID)
		s.printPlan(plan)
		return b.Name, nil
	}
	if len(args.Guests) > 0 {
		if err := s.noteGuests(ctx, running, args.Guests); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	if err := s.run(ctx, plan); err != nil {
		return "", err
	}
	s.record("rollback", b.Name, "")
	s.mentionLeftFor(ctx, b.UUID) // last: nothing of it stops a rollback
	return b.Name, nil
}
