package activate

import (
	"context"
	"fmt"

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
	return nil
}

// Deadman waits until the trial's time is up and then ends it, unless it was
// confirmed. It reads the state anew at the end: a confirmation by hand, or a
// rollback, ended the trial.
func (t *Target) Deadman(ctx context.Context, sleep func(context.Context, *state.Trial) error, reset func()) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	trial := s.State.Trial
	s.Close()
	if trial == nil || trial.Phase != state.Trying {
		return nil
	}
	if err := sleep(ctx, trial); err != nil {
		return err
	}
	if s, err = t.Look(ctx); err == nil {
		now := s.State.Trial
		s.Close()
		if now == nil || now.Activation != trial.Activation {
			return nil
		}
		err = t.FailTrial(ctx, state.ReasonTimer, fmt.Sprintf("%s passed", trial.ConfirmWithin), nil)
	}
	// Also when the state cannot be read or written: that is no health.
	reset()
	return err
}
