package activate

import (
	"context"

	"beadm/be"
	"beadm/be/state"
)

// BootByHand refuses a boot of the host that is none: beadm's init makes those
// itself. The trial that is armed for the next one would be taken back.
func (t *Target) BootByHand(ctx context.Context) error {
	if t.Root != "/" {
		return nil
	}
	s, err := t.Look(ctx)
	if err != nil {
		return nil // Boot says so
	}
	defer s.Close()
	tr := s.State.Trial
	if tr == nil || tr.Phase != state.Armed || s.Loader == nil {
		return nil
	}
	if _, own := systems[s.State.Loader.Kind]; own {
		return nil // the system's own scripts run the command at every boot
	}
	if ls, err := s.Loader.State(ctx); err != nil || ls.Trial != tr.BE.ID() {
		return nil
	}
	return be.E(be.InUse, "a trial of %s is armed, which this would take back: a reboot starts it; beadm activate -T takes it back", s.nameOf(ctx, tr.BE))
}

// BootPlan says what Boot would do now, and changes nothing.
func (t *Target) BootPlan(ctx context.Context) error {
	if err := t.BootByHand(ctx); err != nil {
		return err
	}
	running, err := t.running(ctx)
	if err != nil {
		return err
	}
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Dir == nil {
		return nil
	}
	s.dryRun = true
	if err := s.lock(); err != nil {
		return err
	}
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return err
	}
	trial := s.State.Trial
	isTrial := trial != nil && trial.BE == running.UUID && ls.Tried == running.ID()
	switch {
	case isTrial:
		t.Report.Would("begin the trial of " + running.Name)
	case trial != nil && trial.Phase == state.Armed && ls.Tried != trial.BE.ID():
		t.Report.Would("take back the armed trial of " + s.nameOf(ctx, trial.BE) + ", which was not tried")
	case trial != nil:
		t.Report.Would("record that the trial of " + s.nameOf(ctx, trial.BE) + " failed")
	}
	if exists, err := s.hasShare(ctx); err != nil {
		return err
	} else if exists && !isMountPoint(s.liveShare()) {
		t.Report.Would("mount the shared data")
	}
	if last := s.State.Last; last != running.UUID && last != "" {
		t.Report.Would("snapshot the shared data and carry over what " + s.nameOf(ctx, last) + " wrote")
	}
	for _, o := range s.State.Owed {
		t.Report.Would("carry over what " + s.nameOf(ctx, o.From) + " wrote and was not carried over yet")
	}
	if r := s.State.Restore; r != nil && r.To == running.UUID {
		t.Report.Would("bring back what " + r.Snapshot + " holds of the shared data")
	}
	if isTrial && !trial.Once && s.Root == "/" {
		t.Report.Would("arm the dead-man timer")
	}
	return nil
}
