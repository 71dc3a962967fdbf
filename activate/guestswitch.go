package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"beadm/activate/boot/stub"
	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/state"
)

// Machine is one guest, with what starts it and what is on its store.
type Machine struct {
	Guest   guest.Guest
	Runtime guest.Runtime
	Place   guest.Place
	Conf    GuestConf
	// Open opens the target: its Root is Place.Root, and what runs is where that
	// leads now. It is opened anew after each exchange.
	Open func(ctx context.Context) (*Target, func(), error)
}

// GuestConf is what beadm.conf(5) says of guests.
type GuestConf struct {
	Hold   time.Duration // how long a guest must be healthy before its trial is confirmed
	Within time.Duration // how long it may take to come up
	Checks []string      // further checks: shell commands of the host
}

// How a guest came out of a switch.
const (
	Confirmed = "confirmed" // it runs what it was to run
	Returned  = "returned"  // it runs the default again, which was another
	Unwatched = "switched"  // it did not run: what it starts next is exchanged
	OnTrial   = "on trial"  // it runs it, and waits for beadm confirm
	Already   = "as it was" // nothing to do
	FellBack  = "fell back" // it runs again what it ran before
	Refused   = "refused"   // nothing was changed
	NotBegun  = "not begun" // the batch ended before it
	Down      = "down"      // it does not run
	Wrong     = "unhealthy" // it runs, and not as it should
)

// Switched is how one guest came out of a batch.
type Switched struct {
	Guest   string        `json:"guest"`
	Outcome string        `json:"outcome"`
	From    string        `json:"from,omitempty"`
	Runs    string        `json:"runs,omitempty"`
	Down    time.Duration `json:"-"` // from the order to stop until all its services ran again
	Seconds float64       `json:"down_seconds"`
	Why     string        `json:"why,omitempty"`

	err error // why the guest does not run what it was to run
}

// with opens the target, for one phase.
func (m *Machine) with(ctx context.Context, do func(t *Target) error) error {
	t, done, err := m.Open(ctx)
	if err != nil {
		return err
	}
	defer done()
	return do(t)
}

// now is the guest as it is: it is looked up anew.
func (m *Machine) now(ctx context.Context) (guest.Guest, error) {
	all, err := m.Runtime.List(ctx)
	if err != nil {
		return guest.Guest{}, err
	}
	for _, g := range all {
		if g.Name == m.Guest.Name {
			return g, nil
		}
	}
	return guest.Guest{}, be.E(be.NotFound, "there is no guest %s of %s any more", m.Guest.Name, m.Runtime.Name())
}

// Running looks whether the guest runs now.
func (m *Machine) Running(ctx context.Context) (bool, error) {
	g, err := m.now(ctx)
	return g.Running, err
}

// mark writes down that the guest is being stopped for a switch: from then on
// it is to be started again.
func (m *Machine) mark(ctx context.Context, before guest.Health) error {
	return m.with(ctx, func(t *Target) error {
		return t.keepStopped(ctx, &state.Stopped{At: time.Now().UTC(), FailedUnits: before.Failed})
	})
}

// unmark forgets that, if the guest runs again: else recover starts it.
func (m *Machine) unmark(ctx context.Context) error {
	if g, err := m.now(ctx); err != nil || !g.Running {
		return err
	}
	return m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) })
}

// stop stops the guest and takes away what beadm mounts in its root.
func (m *Machine) stop(ctx context.Context) error {
	if err := m.Runtime.Stop(ctx, m.Guest); err != nil {
		return err
	}
	return m.leave(ctx)
}

// leave unmounts what beadm has mounted in the root that the guest has been
// started from. What else the host has mounted there stays.
func (m *Machine) leave(ctx context.Context) error {
	shared, _, err := m.mountsBelow()
	if err != nil || len(shared) == 0 {
		return err
	}
	return m.with(ctx, func(t *Target) error {
		for _, at := range shared {
			if err := t.Store.UnmountDir(ctx, at); err != nil {
				return fmt.Errorf("cannot unmount what %s shares: %w", m.Guest.Name, err)
			}
		}
		return nil
	})
}

// keepStopped writes down that the guest is stopped for a switch, or no more.
func (t *Target) keepStopped(ctx context.Context, stopped *state.Stopped) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Dir == nil {
		return be.E(be.NoStore, "beadm is not set up here: run beadm guest init")
	}
	if err := s.lock(); err != nil {
		return err
	}
	s.State.Stopped = stopped
	return s.save()
}

// load plays the loader of a guest that is stopped: it takes the token, points
// the root at what is to run, and has boot prepare it. A trial that cannot be
// prepared, for whatever reason, is passed over for the default: passed says why.
// Whatever fails, the root does not lead to a trial that was not prepared, unless
// the loader cannot be read at all.
func (m *Machine) load(ctx context.Context) (res BootResult, passed, err error) {
	for {
		id, trial, err := stub.Consume(m.Place.Loader())
		if err != nil {
			return res, passed, err
		}
		e, err := stub.ReadEntry(m.Place.Loader(), id)
		if err != nil {
			return res, passed, err
		}
		if err = m.Place.Point(m.Place.Directory(e.Root)); err == nil {
			err = m.with(ctx, func(t *Target) (err error) {
				res, err = t.Boot(ctx)
				return err
			})
		}
		switch {
		case err == nil:
			return res, passed, nil
		case passed != nil || !trial:
			return res, passed, err
		}
		passed = err
		if err := m.leave(ctx); err != nil {
			return res, passed, err
		}
	}
}

// start starts what load has prepared and waits until it is healthy. The error
// says why it is not; up is when all its services ran, zero if they never did.
func (m *Machine) start(ctx context.Context, before []string) (up time.Time, err error) {
	err = m.Runtime.Start(ctx, m.Guest)
	if be.KindOf(err) == be.InUse {
		// Somebody has started it meanwhile, from a root that was not ready.
		if err = m.Runtime.Stop(ctx, m.Guest); err == nil {
			err = m.Runtime.Start(ctx, m.Guest)
		}
	}
	if err != nil {
		return up, err
	}
	return m.watch(ctx, before)
}

// Prepare does what can be done while the guest runs: the new root is made
// ready and its one trial armed.
func (m *Machine) Prepare(ctx context.Context, name string, opts ActivateOptions) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return m.with(ctx, func(t *Target) error { return t.Activate(ctx, name, opts) })
}

// Switch restarts the guest in what its loader has next: an armed trial, or
// its default if that is another than what runs. A trial that does not prove
// healthy ends in the old one; one that does not run is switched for good. begin,
// which may be nil, decides what is next, when nothing but it can refuse any
// more. It is not to be interrupted: ctx ends nothing but what is waited for.
func (m *Machine) Switch(ctx context.Context, begin func(context.Context, *Machine) error) (res Switched) {
	res = Switched{Guest: m.Guest.Name}
	ctx = context.WithoutCancel(ctx)
	fail := func(outcome string, err error) Switched {
		res.Outcome, res.Why, res.err = outcome, err.Error(), err
		return res
	}
	unlock, err := m.lock()
	if err != nil {
		return fail(Refused, err)
	}
	defer unlock()
	defer func() { res.Seconds = res.Down.Seconds() }()
	refuse := func(err error) Switched { return fail(Refused, errors.Join(err, m.disarm(ctx))) }
	g, err := m.now(ctx)
	if err != nil {
		return refuse(err)
	}
	if err := m.mountedBelow(); err != nil {
		return refuse(err)
	}
	if begin != nil {
		if err := begin(ctx, m); err != nil {
			return fail(Refused, err)
		}
	}
	st, err := m.stand(ctx)
	if err != nil {
		return fail(Refused, err)
	}
	res.From, res.Runs = st.running, st.running
	if st.trial == nil && st.running == st.def {
		res.Outcome = Already
		return res
	}
	var before guest.Health
	began := time.Now()
	if g.Running {
		before, err = m.Runtime.Health(ctx, g)
		if err != nil && st.trial != nil {
			return refuse(be.E(be.Unbootable, "nobody could see whether its trial is healthy, since that cannot be seen now: %w", err))
		}
		began = time.Now()
		if err := m.mark(ctx, before); err != nil {
			return refuse(err)
		}
		err = m.stop(ctx)
	} else {
		err = m.leave(ctx)
	}
	if err != nil {
		return fail(m.giveUp(ctx, g.Running, errors.Join(err, m.disarm(ctx))))
	}
	boot, passed, err := m.load(ctx)
	if err != nil {
		return fail(m.giveUp(ctx, g.Running, errors.Join(passed, err)))
	}
	res.Runs = boot.BE
	if !g.Running {
		now, err := m.now(ctx)
		if err != nil {
			return fail(Wrong, err)
		}
		if !now.Running {
			return m.unwatched(ctx, res, boot, passed)
		}
		// Somebody has started it meanwhile: start finds that out, too.
		if err := m.mark(ctx, before); err != nil {
			return fail(m.asItIs(ctx), err)
		}
	}
	up, wrong := m.start(ctx, before.Failed)
	res.Down = downSince(began, up)
	if !boot.Trial {
		wrong = errors.Join(wrong, m.unmark(ctx))
		switch back := cmp.Or(passed, whyBack(boot)); {
		case wrong != nil:
			return fail(m.asItIs(ctx), errors.Join(back, wrong))
		case back != nil:
			return fail(FellBack, back)
		}
		res.Outcome = Returned
		return res
	}
	if wrong == nil && st.trial != nil && st.trial.NoAutoConfirm {
		res.Outcome = OnTrial
		if err := m.unmark(ctx); err != nil {
			res.Why = err.Error()
		}
		return res
	}
	if wrong == nil {
		wrong = m.with(ctx, func(t *Target) error { return t.Confirm(ctx, ConfirmOptions{}) })
	}
	if wrong == nil {
		res.Outcome = Confirmed
		if err := m.unmark(ctx); err != nil {
			res.Why = err.Error()
		}
		return res
	}
	back, up, err := m.back(ctx, state.ReasonCheck, wrong.Error(), before)
	res.Runs, res.Down = cmp.Or(back, res.Runs), downSince(began, up)
	if err != nil {
		return fail(m.asItIs(ctx), fmt.Errorf("%w; and then: %w", wrong, err))
	}
	return fail(FellBack, wrong)
}

// unwatched ends the switch of a guest that does not run. Nobody could see how
// its trial goes before somebody starts it.
func (m *Machine) unwatched(ctx context.Context, res Switched, boot BootResult, passed error) Switched {
	res.Outcome, res.err = Unwatched, nil
	if boot.Trial {
		if res.err = m.with(ctx, func(t *Target) error { return t.Confirm(ctx, ConfirmOptions{}) }); res.err != nil {
			res.Outcome = Wrong
		}
	} else if res.err = cmp.Or(passed, whyBack(boot)); res.err != nil {
		res.Outcome = FellBack
	}
	if res.err != nil {
		res.Why = res.err.Error()
	}
	return res
}

// back ends the trial that the guest is in, and starts the old one. What cannot
// be written down of that does not keep it from its old root.
func (m *Machine) back(ctx context.Context, reason, why string, before guest.Health) (runs string, up time.Time, err error) {
	unsaid := errors.Join(
		m.with(ctx, func(t *Target) error { return t.FailTrial(ctx, reason, why, nil) }),
		m.mark(ctx, before),
	)
	if err := m.stop(ctx); err != nil {
		return "", up, errors.Join(unsaid, err, m.again(ctx))
	}
	boot, passed, err := m.load(ctx)
	if err != nil {
		return boot.BE, up, errors.Join(unsaid, passed, err, m.again(ctx))
	}
	up, err = m.start(ctx, before.Failed)
	return boot.BE, up, errors.Join(unsaid, err, m.unmark(ctx))
}

// giveUp ends a switch that could be brought no further: a guest that ran is
// started again from wherever its root leads now.
func (m *Machine) giveUp(ctx context.Context, ran bool, err error) (outcome string, _ error) {
	if ran {
		err = errors.Join(err, m.again(ctx), m.unmark(ctx))
	}
	return m.asItIs(ctx), err
}

// again starts a guest that a switch stopped and could not bring any further,
// with what it shares.
func (m *Machine) again(ctx context.Context) error {
	g, err := m.now(ctx)
	if err != nil || g.Running {
		return err
	}
	err = m.with(ctx, func(t *Target) error { return t.MountShare(ctx) })
	return errors.Join(err, m.Runtime.Start(ctx, m.Guest))
}

// asItIs is the outcome for a guest with which something is wrong.
func (m *Machine) asItIs(ctx context.Context) string {
	if g, err := m.now(ctx); err != nil || !g.Running {
		return Down
	}
	return Wrong
}

func downSince(began, up time.Time) time.Duration {
	if up.IsZero() {
		return time.Since(began)
	}
	return up.Sub(began)
}

// whyBack is why boot went back from a trial; nil if it did not, or if somebody
// wanted that.
func whyBack(boot BootResult) error {
	switch f := boot.Failed; {
	case f != nil && f.Reason != state.ReasonOperator:
		return fmt.Errorf("%s: %s", f.Reason, f.Detail)
	case boot.NotTried != "":
		return fmt.Errorf("%s was not tried", boot.NotTried)
	}
	return nil
}

// Stopped calls do while the guest is stopped, and starts it again whatever
// happens, if it ran. What is mounted in its root stays.
func (m *Machine) Stopped(ctx context.Context, do func() error) error {
	whole := context.WithoutCancel(ctx)
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	g, err := m.now(ctx)
	if err != nil {
		return err
	}
	if !g.Running {
		return do()
	}
	health, _ := m.Runtime.Health(ctx, g)
	if err := m.mark(ctx, health); err != nil {
		return err
	}
	err = m.Runtime.Stop(whole, g)
	if err == nil {
		err = do()
	}
	return errors.Join(err, m.again(whole), m.unmark(whole))
}
