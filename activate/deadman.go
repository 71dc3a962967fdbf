package activate

import (
	"context"
	"fmt"
	"time"

	"beadm/be/state"
)

// armDeadman puts the units of a trial where systemd reads them before all
// others and where they end with the boot: /run. Nothing on disk has to be
// enabled, and nothing is left of them in a boot environment that is good.
// For a guest, whose /run is made by its runtime, there is nothing to do: its
// host watches it.
func (s *Session) armDeadman(ctx context.Context, trial *state.Trial) error {
	if s.Root != "/" {
		return nil
	}
	if sys, own := systems[s.State.Loader.Kind]; own {
		return s.startWatchers(ctx, sys, trial)
	}
	if err := putTrialUnits(runtimeUnits, trial); err != nil {
		return fmt.Errorf("cannot arm the dead-man timer: %w", err)
	}
	if err := putTrialSysctl(trialSysctl, "/proc/sys", s.Conf.Panic); err != nil {
		return fmt.Errorf("cannot have every fault of the trial end in a reset: %w", err)
	}
	return nil
}

// Deadman waits until deadline, measured from the start of the system, and
// then ends the trial of activation by reset, unless it was confirmed by then.
// Neither needs a disk: of a confirmation it hears in runtimes, the directory
// that holds those of all targets (Target.Runtime), and then returns within
// seconds. open opens the target; whoever cannot say within 30 seconds how the
// trial stands is not healthy.
func Deadman(ctx context.Context, deadline time.Duration, activation, runtimes string, open func() (*Target, error), reset func()) error {
	stayInMemory()
	over := make(chan struct{})
	go func() {
		// By itself: where runtimes is on a disk, that may no longer answer.
		for !trialIsOver(runtimes, activation) {
			time.Sleep(lookTime)
		}
		close(over)
	}()
	for {
		left := deadline - sinceBoot()
		if left <= 0 {
			break
		}
		// In short steps: the clock that counts goes on while a suspended
		// system sleeps, timers do not.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case <-time.After(min(left, 10*time.Second)):
		}
	}
	ended := make(chan bool, 1)
	go func() {
		if trialIsOver(runtimes, activation) {
			ended <- true
			return
		}
		t, err := open()
		ended <- err == nil && t.trialEnded(ctx, activation)
	}()
	select {
	case is := <-ended:
		if is {
			return nil
		}
	case <-over:
		return nil
	case <-time.After(answerTime):
	}
	reset()
	return nil
}

// lookTime is how often the dead-man timer looks whether the trial is over.
const lookTime = 5 * time.Second

// answerTime is the longest that it may take to say how a trial stands.
const answerTime = 30 * time.Second

// trialEnded says whether activation's trial is over; if not, it is recorded
// as failed.
func (t *Target) trialEnded(ctx context.Context, activation string) bool {
	s, err := t.Look(ctx)
	if err != nil {
		return false
	}
	trial := s.State.Trial
	s.Close()
	if trial == nil || trial.Activation != activation {
		return true
	}
	detail := fmt.Sprintf("%s passed", trial.ConfirmWithin)
	if k := s.State.BEs[trial.BE]; k != nil {
		if bad := firstBad(k.Checks); bad != nil && bad.At.After(trial.TryingAt) {
			detail += "; what was bad last: " + badChecks(k.Checks)
		}
	}
	if err := t.FailTrial(ctx, state.ReasonTimer, detail, nil); err != nil {
		t.Report.Warn("%v", err)
	}
	return false
}
