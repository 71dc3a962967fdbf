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
	files := map[string]string{
		"emergency.conf": "emergency.service.d/beadm.conf",
	}
	wants := []string{}
	if !trial.Once {
		files["beadm-deadman.service"] = "beadm-deadman.service"
		wants = append(wants, "sysinit.target.wants/beadm-deadman.service")
		if !trial.NoAutoConfirm {
			files["beadm-confirm.service"] = "beadm-confirm.service"
			files["beadm-confirm.timer"] = "beadm-confirm.timer"
			wants = append(wants, "timers.target.wants/beadm-confirm.timer")
		}
	}
	if err := writeUnits(files, wants); err != nil {
		return fmt.Errorf("cannot arm the dead-man timer: %w", err)
	}
	if !trial.Once {
		// What it has to know is in its command line: it reads no disk before
		// the time is up, and a restart does not begin anew.
		text := fmt.Sprintf("[Service]\nExecStart=\nExecStart=%s trial-deadman %d %s\n", initPath, int64((sinceBoot() + trial.ConfirmWithin).Seconds()), trial.Activation)
		if err := writeUnit("beadm-deadman.service.d/trial.conf", []byte(text)); err != nil {
			return fmt.Errorf("cannot arm the dead-man timer: %w", err)
		}
	}
	return nil
}

// Deadman waits until deadline, measured from the start of the system, and
// then ends the trial of activation by reset, unless it was confirmed or
// rolled back by then. It needs no disk for that. open opens the target; whoever
// cannot say within 30 seconds how the trial stands is not healthy.
func Deadman(ctx context.Context, deadline time.Duration, activation string, open func() (*Target, error), reset func()) error {
	stayInMemory()
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
		case <-time.After(min(left, 10*time.Second)):
		}
	}
	ended := make(chan bool, 1)
	go func() {
		t, err := open()
		ended <- err == nil && t.trialEnded(ctx, activation)
	}()
	select {
	case is := <-ended:
		if is {
			return nil
		}
	case <-time.After(30 * time.Second):
	}
	reset()
	return nil
}

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
