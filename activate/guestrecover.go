package activate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/state"
)

// lock makes this the only beadm at work on the guest. The kernel releases it.
func (m *Machine) lock() (unlock func(), err error) { return m.locked(exclusiveNow) }

// Hold is for a command that changes boot environments of the guest: nobody
// switches it until release, and it is refused while somebody does.
func (m *Machine) Hold() (release func(), err error) { return m.locked(sharedNow) }

func (m *Machine) locked(kind lockKind) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(m.Place.Dir(), "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, be.E(be.NoStore, "guest %s has no boot environments yet: run beadm guest init %s", m.Guest.Name, m.Guest.Name)
	}
	if err != nil {
		return nil, be.E(be.NoStore, "cannot lock guest %s: %w", m.Guest.Name, err)
	}
	if err := lockFile(f, kind); err != nil {
		f.Close()
		if !lockedByAnother(err) {
			return nil, err
		}
		return nil, be.E(be.Locked, "another beadm is at work on guest %s: wait until it has ended", m.Guest.Name)
	}
	// Only now: while another switches the guest, its root is not mounted.
	if err := m.Place.Ready(); err != nil {
		f.Close()
		return nil, fmt.Errorf("guest %s: %w", m.Guest.Name, err)
	}
	return func() { f.Close() }, nil
}

// Recover ends what a switch that was cut left: what runs in an unfinished
// trial is confirmed if it is healthy, else it goes back; what was stopped is
// started again, in its default. It returns what it did, in sentences.
func (m *Machine) Recover(ctx context.Context) (did []string, err error) {
	ctx = context.WithoutCancel(ctx)
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	g, err := m.now(ctx)
	if err != nil {
		return nil, err
	}
	st, err := m.stand(ctx)
	if err != nil {
		return nil, err
	}
	trying := st.trial != nil && st.trial.Phase == state.Trying && st.trial.BE == st.runs
	var before guest.Health
	if st.stopped != nil {
		before.Failed = st.stopped.FailedUnits
	}
	if g.Running && st.stopped != nil && !trying {
		// It may be on its way down still.
		m.watch(ctx, before.Failed)
		if g, err = m.now(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case g.Running && trying && st.trial.NoAutoConfirm && st.stopped == nil && st.trial.Verdict == nil:
		// It waits for its administrator.
	case g.Running && trying:
		err := errors.New("its trial was cut off")
		if st.trial.Verdict == nil {
			_, err = m.watch(ctx, before.Failed)
		}
		if err == nil {
			err = m.with(ctx, func(t *Target) error {
				return errors.Join(t.Confirm(ctx, ConfirmOptions{}), t.keepStopped(ctx, nil))
			})
			if err != nil {
				return did, err
			}
			return append(did, st.running+", which was on trial, is healthy and confirmed"), err
		}
		runs, _, berr := m.back(ctx, state.ReasonCheck, err.Error(), before)
		return append(did, st.running+", which was on trial, is not healthy ("+err.Error()+"): "+runs+" runs again"), berr
	case g.Running && st.trial == nil && st.runs != st.next:
		// A rollback, or an activation for good, was cut behind its commit.
		if before, err = m.Runtime.Health(ctx, g); err != nil {
			before = guest.Health{}
		}
		if err := m.mark(ctx, before); err != nil {
			return did, err
		}
		if err := m.stop(ctx); err != nil {
			return did, errors.Join(err, m.again(ctx))
		}
		again, err := m.startAgain(ctx, before)
		if did = append(did, again...); err != nil {
			return did, err
		}
	case g.Running && st.stopped != nil && m.withoutShare(ctx):
		// Somebody has started it while it was being switched.
		if err := m.Runtime.Stop(ctx, g); err != nil {
			return did, err
		}
		again, err := m.startAgain(ctx, before)
		if did = append(did, again...); err != nil {
			return did, err
		}
	case g.Running && (st.stopped != nil || st.trial != nil):
		// Cut before it was stopped, or behind its start. No trial of a guest
		// stays armed: the batch that armed it would have gone on.
		did = append(did, "it runs; its switch was cut off")
		if err := m.disarm(ctx); err != nil {
			return did, err
		}
		if err := m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) }); err != nil {
			return did, err
		}
	case !g.Running && st.stopped != nil:
		again, err := m.startAgain(ctx, before)
		if did = append(did, again...); err != nil {
			return did, err
		}
	case !g.Running:
		back, err := m.settle(ctx)
		if did = append(did, back...); err != nil {
			return did, err
		}
	}
	err = m.with(ctx, func(t *Target) error {
		more, err := t.Recover(ctx, "", false)
		did = append(did, more...)
		return err
	})
	return did, err
}

// startAgain starts a guest that was stopped for a switch, in its default.
func (m *Machine) startAgain(ctx context.Context, before guest.Health) (did []string, err error) {
	did, err = m.settle(ctx)
	if err != nil {
		return did, errors.Join(err, m.again(ctx))
	}
	_, err = m.start(ctx, before.Failed)
	return append(did, "it was stopped for a switch, and is started again"), errors.Join(err, m.unmark(ctx))
}

// withoutShare says that the guest shares directories, and that nothing is
// mounted for them.
func (m *Machine) withoutShare(ctx context.Context) (without bool) {
	err := m.with(ctx, func(t *Target) error {
		s := &Session{Target: t}
		exists, err := s.hasShare(ctx)
		if err != nil || !exists {
			return err
		}
		mounted, err := s.shareMounted()
		without = err == nil && !mounted
		return err
	})
	return err == nil && without
}

// BootHost makes a guest that does not run ready for its runtime to start it, as
// the host boots: an unfinished trial ends, the default is what it starts, and
// what it shares is mounted. One that runs is left alone.
func (m *Machine) BootHost(ctx context.Context) ([]string, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	g, err := m.now(ctx)
	if err != nil || g.Running {
		return nil, err
	}
	did, err := m.settle(ctx)
	if err != nil {
		return did, err
	}
	// The host's boot starts what is to be started.
	return did, m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) })
}

// settle has a guest that does not run start its default next, ready to run.
func (m *Machine) settle(ctx context.Context) (did []string, err error) {
	if err := m.disarm(ctx); err != nil {
		return nil, err
	}
	was, _, err := m.Place.Current()
	if err != nil {
		return nil, err
	}
	st, err := m.stand(ctx)
	if err != nil {
		return nil, err
	}
	if st.trial != nil || st.running != st.def {
		if err := m.leave(ctx); err != nil {
			return nil, err
		}
	}
	res, passed, err := m.load(ctx)
	if err = errors.Join(passed, err); err != nil {
		return nil, err
	}
	if now, _, err := m.Place.Current(); err == nil && now != was {
		did = append(did, res.BE+" is what it starts, and not "+was)
	}
	if res.Failed != nil {
		did = append(did, "the trial of "+res.Failed.Name+" has failed: "+res.Failed.Reason)
	}
	return did, errors.Join(res.Owed, res.Trouble)
}

// disarm takes an armed trial back.
func (m *Machine) disarm(ctx context.Context) error {
	return m.with(ctx, func(t *Target) error {
		s, err := t.Write(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		if tr := s.State.Trial; tr == nil || tr.Phase != state.Armed {
			return nil
		}
		if ls, err := s.Loader.State(ctx); err != nil || ls.Tried == s.State.Trial.BE.ID() {
			return err // consumed: boot says how it ended
		}
		return s.disarm(ctx)
	})
}

// forgo is for a guest before which its batch ends: its armed trial is taken back.
func (m *Machine) forgo(ctx context.Context) error {
	return m.disarm(context.WithoutCancel(ctx))
}
