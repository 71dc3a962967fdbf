package activate

import (
	"context"
	"errors"
	"fmt"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// HostStanding is how a host stands. That of a host without boot environments is
// empty.
type HostStanding struct {
	Running, Default be.UUID
	Trial            *state.Trial
	// Coming is what a command is having booted next, or was when it was cut.
	Coming   be.UUID
	Failures []state.Failure
}

// StandsAsHost looks how the target stands.
func (t *Target) StandsAsHost(ctx context.Context) (h HostStanding, err error) {
	s, err := t.Look(ctx)
	if err != nil {
		return h, err
	}
	defer s.Close()
	if s.Dir == nil {
		return h, nil
	}
	running, err := s.running(ctx)
	if err != nil {
		return h, err
	}
	h = HostStanding{Running: running.UUID, Default: s.State.Default, Trial: s.State.Trial, Failures: s.State.Failures}
	rec, err := journal.Open(s.Dir)
	if err != nil {
		return h, err
	}
	if rec != nil && (rec.Op == "activate" || rec.Op == "rollback") {
		args, err := argsOf[struct {
			UUID be.UUID `json:"uuid"`
		}](rec)
		h.Coming = args.UUID
		return h, err
	}
	return h, nil
}

// comes says that the host is to boot what a guest's trial is armed with.
func (h HostStanding) comes(tr *state.Trial) bool {
	switch {
	case tr == nil || tr.With == "" || tr.Phase != state.Armed:
		return false
	case h.Coming == tr.With:
		return true
	case h.Trial != nil && h.Trial.Phase == state.Armed:
		return h.Trial.BE == tr.With
	}
	return h.Default == tr.With && h.Running != tr.With
}

// here says that the host runs what a guest's trial began with, to keep it: on
// trial, or as its default.
func (h HostStanding) here(tr *state.Trial) bool {
	if tr == nil || tr.With == "" || h.Running != tr.With {
		return false
	}
	return h.tries(tr) || h.Trial == nil && h.Default == tr.With
}

// tries says that the host has that on trial now.
func (h HostStanding) tries(tr *state.Trial) bool {
	return h.Trial != nil && h.Trial.Phase == state.Trying && h.Trial.BE == tr.With
}

// waits says that what becomes of a guest's trial is the host's to say.
func (h HostStanding) waits(tr *state.Trial) bool {
	return h.comes(tr) || h.here(tr) && h.tries(tr) && tr.Phase == state.Trying && tr.Verdict == nil
}

// why is why a trial that began with the host's is over.
func (h HostStanding) why(tr *state.Trial) string {
	for i := len(h.Failures) - 1; i >= 0; i-- {
		if f := h.Failures[i]; f.BE == tr.With {
			if f.Reason == state.ReasonOperator {
				return state.ReasonOperator // with all that was written meanwhile
			}
			break
		}
	}
	return state.ReasonHost
}

// hostOf looks how the host stands, for a trial that follows it.
func (m *Machine) hostOf(ctx context.Context, tr *state.Trial) (h HostStanding, err error) {
	if tr == nil || tr.With == "" || m.Host == nil {
		return h, nil
	}
	if h, err = m.Host(ctx); err != nil {
		return h, fmt.Errorf("cannot see what the host of %s boots: %w", m.Guest.Name, err)
	}
	return h, nil
}

// armWith arms one trial of the boot environment uuid, for when the host boots
// with; until then the guest stays as it is. One that runs it as its default
// stays, too.
func (m *Machine) armWith(ctx context.Context, uuid, with be.UUID, opts ActivateOptions) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	g, err := m.now(ctx)
	if err != nil {
		return err
	}
	st, err := m.stand(ctx)
	if err != nil || st.trial == nil && st.runs == uuid && st.next == uuid {
		return err
	}
	opts.with = with
	if g.Running && !opts.DryRun {
		h, err := m.Runtime.Health(ctx, g)
		if err != nil {
			return be.E(be.Unbootable, "nobody could see whether its trial is healthy, since that cannot be seen now: %w", err)
		}
		opts.before = &state.Baseline{FailedUnits: h.Failed}
	}
	return m.with(ctx, func(t *Target) error {
		b, err := t.byUUID(ctx, uuid)
		if err != nil {
			return err
		}
		if opts.DryRun {
			t.Report = unheard{t.Report}
		}
		return t.Activate(ctx, b.Name, opts)
	})
}

// disarmWith takes a trial back that was armed with the host's of with, and ends
// what a cut left of arming it.
func (m *Machine) disarmWith(ctx context.Context, with be.UUID) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return m.disarmIf(ctx, func(tr *state.Trial) bool { return tr.With == with })
}

// bootWithHost is BootHost of a guest with a trial that follows its host's.
// settled is false where the guest is to start its default.
func (m *Machine) bootWithHost(ctx context.Context) (did []string, settled bool, err error) {
	st, err := m.stand(ctx)
	if err != nil || st.trial == nil || st.trial.With == "" {
		return nil, false, err
	}
	host, err := m.hostOf(ctx, st.trial)
	switch {
	case err != nil:
		// Its default is what it can start without knowing.
		did, serr := m.settle(ctx)
		return did, true, errors.Join(err, serr)
	case host.here(st.trial) && (st.trial.Phase == state.Armed || st.trial.BE == st.runs && st.trial.Verdict == nil):
		did, err = m.withHost(ctx, host, st)
		return did, true, err
	case host.comes(st.trial) && host.Trial != nil:
		// The host has not been restarted yet.
		return nil, true, m.with(ctx, func(t *Target) error { return t.MountShare(ctx) })
	case st.trial.Phase == state.Trying:
		err = m.with(ctx, func(t *Target) error { return t.FailTrial(ctx, host.why(st.trial), "", nil) })
	}
	return nil, false, err
}

// withHost has a guest that does not run start what its trial is of, since the
// host runs what that was armed with. Nobody watches it where the host is not on
// trial itself.
func (m *Machine) withHost(ctx context.Context, host HostStanding, st standing) (did []string, err error) {
	if err := m.leave(ctx); err != nil {
		return nil, err
	}
	var res BootResult
	var passed error
	if st.trial.Phase == state.Armed {
		res, passed, err = m.load(ctx)
	} else {
		err = m.with(ctx, func(t *Target) error {
			res, err = t.Boot(ctx)
			return err
		})
	}
	if err = errors.Join(passed, err); err != nil {
		return nil, err
	}
	if !res.Trial {
		return nil, whyBack(res)
	}
	if host.tries(st.trial) {
		return []string{res.BE + " is tried with the host's"}, nil
	}
	err = m.with(ctx, func(t *Target) error { return t.Confirm(ctx, ConfirmOptions{}) })
	return []string{res.BE + " is what it starts, with the host's"}, err
}
