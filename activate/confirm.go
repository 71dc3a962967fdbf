package activate

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// ConfirmOptions are those of beadm confirm.
type ConfirmOptions struct {
	// Auto waits until the checks have held for Conf.Hold; by hand no check is
	// made: a person has looked.
	Auto   bool
	DryRun bool
}

// Confirm makes the boot environment on trial the default. It refuses unless
// that one is what really runs. Without a trial it records, by hand, that the
// default that runs is good.
func (t *Target) Confirm(ctx context.Context, opts ConfirmOptions) error {
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	trial := s.State.Trial
	running, err := s.running(ctx)
	if trial == nil || trial.Phase != state.Trying {
		if err == nil && running.UUID == s.State.Default && !opts.Auto && trial == nil && !s.State.Know(running.UUID).Good {
			return s.declareGood(running, opts.DryRun)
		}
		s.Report.Note("no trial is running: nothing to confirm")
		return nil
	}
	if err != nil {
		return err
	}
	if running.UUID != trial.BE {
		return be.E(be.InUse, "cannot confirm: %s is on trial, but %s is running", s.nameOf(ctx, trial.BE), running.Name)
	}
	if trial.Once {
		return be.E(be.InUse, "cannot confirm %s: it was activated for one boot only", running.Name)
	}
	if v := trial.Verdict; v != nil {
		// It was said that the other one boots next. The timer that confirms
		// does not take that back.
		return be.E(be.InUse, "cannot confirm %s: its trial has ended (%s) and %s boots next; restart, then activate it again", running.Name, v.Reason, s.nameOf(ctx, s.State.Default))
	}
	args := confirmArgs{Name: running.Name, UUID: running.UUID, Default: s.State.Default, Activation: trial.Activation}
	plan := s.confirmPlan(args)
	if opts.DryRun {
		s.printPlan(plan)
		return nil
	}
	if err := s.run(ctx, plan); err != nil {
		return err
	}
	s.record("confirm", running.Name, "")
	if err := s.pruneShare(ctx, trial.Activation); err != nil {
		s.Report.Warn("%v", err)
	}
	if err := s.tellConfirmed(ctx, running.Name); err != nil {
		s.Report.Warn("%v", err)
	}
	return nil
}

// declareGood is for a default that had no trial, of which a person says that it
// is good.
func (s *Session) declareGood(running be.BE, dryRun bool) error {
	if dryRun {
		s.Report.Would("record that " + running.Name + " is good")
		return nil
	}
	k := s.State.Know(running.UUID)
	k.Name, k.Good, k.ConfirmedAt = running.Name, true, time.Now().UTC()
	if err := s.save(); err != nil {
		return err
	}
	s.record("confirm", running.Name, "without a trial")
	return nil
}

type confirmArgs struct {
	Name    string  `json:"name"`
	UUID    be.UUID `json:"uuid"`
	Default be.UUID `json:"default"`
	// Activation is not there in the journal of an older beadm.
	Activation string `json:"activation,omitempty"`
}

func (s *Session) confirmPlan(a confirmArgs) journal.Plan {
	id := a.UUID.ID()
	return journal.Plan{Op: "confirm", Args: a, Commit: 0,
		Committed: func(ctx context.Context) (bool, error) {
			st, err := s.Loader.State(ctx)
			return st.Default == id, err
		},
		Steps: []journal.Step{
			{Name: "make " + a.Name + " the default", Do: func(ctx context.Context) error { return s.Loader.SetDefault(ctx, id) }},
			{Name: "record that it is good", Do: func(ctx context.Context) error {
				if a.Activation != "" {
					s.markEnded(a.Activation)
				}
				k := s.State.Know(a.UUID)
				k.Name, k.Good, k.ConfirmedAt = a.Name, true, time.Now().UTC()
				s.State.Restore = nil
				return s.becameDefault(ctx, a.UUID, a.Default)
			}},
		}}
}

// WatchTrial is what runs in a trial, out of the boot's own jobs: it makes the
// checks until they have held for Conf.Hold, then confirms; or it ends the
// trial by a forced reset when one of them fails for good or time is up. reset
// does not return on a host.
func (t *Target) WatchTrial(ctx context.Context, every time.Duration, reset func()) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	trial := s.State.Trial
	s.Close()
	if trial == nil || trial.Phase != state.Trying || trial.Once || trial.NoAutoConfirm {
		return nil
	}
	started := time.Now()
	deadline := started.Add(trial.ConfirmWithin)
	var goodSince, badSince time.Time
	var results []state.CheckState
	booted := false
	var lastBad []state.CheckState
	// By hand, meanwhile: what is bad from then on is no fault of a trial.
	over := func() bool { return trialIsOver(filepath.Dir(t.Runtime), trial.Activation) }
	for !over() {
		// A check that hangs was bad all the while.
		began := time.Now()
		results = t.runChecks(ctx, trial.Baseline)
		for i := range results {
			if results[i].Name != checkJobs {
				continue
			}
			// The queue has to be empty once: what is queued later is timers'.
			booted = booted || results[i].OK
			if booted {
				results[i].OK, results[i].Detail = true, ""
			}
		}
		bad := firstBad(results)
		now := time.Now()
		if bad == nil {
			badSince = time.Time{}
			if goodSince.IsZero() {
				goodSince = now
			}
		} else {
			if !sameBad(results, lastBad) {
				// For the dead-man timer to name, which may be sooner.
				if err := t.keepChecks(ctx, results); err != nil {
					t.Report.Warn("%v", err)
				}
			}
			goodSince, lastBad = time.Time{}, results
			if badSince.IsZero() {
				badSince = began
			}
		}
		if bad == nil && now.Sub(goodSince) >= t.Conf.Hold {
			if err := t.keepChecks(ctx, results); err != nil {
				t.Report.Warn("%v", err)
			}
			return t.Confirm(ctx, ConfirmOptions{Auto: true})
		}
		// Services start at their own pace, and one bad moment is none: half of
		// the time to come up, then as long as the checks have to hold.
		failed := bad != nil && now.Sub(started) >= trial.ConfirmWithin/2 && now.Sub(badSince) >= t.Conf.Hold
		if failed || now.After(deadline) {
			reason, detail := state.ReasonTimer, fmt.Sprintf("%s passed", trial.ConfirmWithin)
			switch {
			case bad != nil:
				reason, detail = state.ReasonCheck, badChecks(results)
			case lastBad != nil:
				detail += "; what was bad last: " + badChecks(lastBad)
			}
			if err := t.FailTrial(ctx, reason, detail, results); err != nil {
				t.Report.Warn("%v", err)
			}
			if !over() {
				reset()
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
	return nil
}

// checkJobs is the check that init has nothing left to start.
const checkJobs = "jobs"

func firstBad(results []state.CheckState) *state.CheckState {
	for i := range results {
		if !results[i].OK {
			return &results[i]
		}
	}
	return nil
}

// badChecks names all that are bad, and why: what is queued while the system
// starts must not hide what is really wrong.
func badChecks(results []state.CheckState) string {
	var bad []string
	for _, r := range results {
		if !r.OK {
			bad = append(bad, r.Name+": "+r.Detail)
		}
	}
	return strings.Join(bad, "; ")
}

// sameBad says whether the same checks are bad, for whatever reason.
func sameBad(a, b []state.CheckState) bool {
	return slices.EqualFunc(a, b, func(a, b state.CheckState) bool { return a.Name == b.Name && a.OK == b.OK })
}

func (t *Target) keepChecks(ctx context.Context, results []state.CheckState) error {
	s, err := t.Write(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.State.Trial != nil {
		s.State.Know(s.State.Trial.BE).Checks = results
	}
	return s.save()
}

// FailTrial records why the trial that runs now has failed. The reset that
// must follow is the caller's.
func (t *Target) FailTrial(ctx context.Context, reason, detail string, results []state.CheckState) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Dir == nil {
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	trial := s.State.Trial
	if trial == nil || trial.Phase != state.Trying {
		return nil
	}
	if results != nil {
		s.State.Know(trial.BE).Checks = results
	}
	if trial.Verdict == nil {
		trial.Verdict = &state.Verdict{Reason: reason, Detail: inBrief(detail), At: time.Now().UTC()}
	}
	return s.save()
}
