package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	Would     = "would"     // a dry run
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

	err error
}

// Err is why the guest does not run what it was to run, or nil.
func (s Switched) Err() error { return s.err }

// with opens the target, for one phase.
func (m *Machine) with(ctx context.Context, do func(t *Target) error) error {
	t, done, err := m.Open(ctx)
	if err != nil {
		return err
	}
	defer done()
	return do(t)
}

// standing is what the state says of a guest.
type standing struct {
	running, def string // names
	runs, next   be.UUID
	trial        *state.Trial
	stopped      *state.Stopped
}

// stand reads it.
func (m *Machine) stand(ctx context.Context) (st standing, err error) {
	err = m.with(ctx, func(t *Target) error {
		s, err := t.Look(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		if s.Dir == nil {
			return be.E(be.NoStore, "beadm is not set up for %s: run beadm guest init %s", m.Guest.Name, m.Guest.Name)
		}
		b, err := s.running(ctx)
		if err != nil {
			return err
		}
		st = standing{b.Name, s.nameOf(ctx, s.State.Default), b.UUID, s.State.Default, s.State.Trial, s.State.Stopped}
		return nil
	})
	return st, err
}

// GuestStanding is one guest as guest list and guest status show it.
type GuestStanding struct {
	guest.Guest
	Managed bool           `json:"managed"`
	Runs    string         `json:"be,omitempty"` // the boot environment that it is started from
	Default string         `json:"default,omitempty"`
	State   string         `json:"state,omitempty"` // idle, armed, trying, failed
	Failure *state.Failure `json:"failure,omitempty"`
	Error   string         `json:"error,omitempty"` // it could not be looked at
}

// Standing looks at the guest.
func (m *Machine) Standing(ctx context.Context) GuestStanding {
	g := GuestStanding{Guest: m.Guest}
	_, adopted, err := m.Place.Current()
	g.Managed = adopted
	if err == nil && adopted {
		err = m.with(ctx, func(t *Target) error {
			st, err := t.Status(ctx)
			g.Runs, g.Default, g.State, g.Failure = st.Running, st.Default, st.State, st.Failure
			return err
		})
	}
	if err != nil {
		g.Error = err.Error()
	}
	return g
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

// stop stops the guest and takes away what the host mounts in its root. The
// state says from before that on that it is to be started again.
func (m *Machine) stop(ctx context.Context, before guest.Health) error {
	err := m.with(ctx, func(t *Target) error {
		return t.keepStopped(ctx, &state.Stopped{At: time.Now().UTC(), FailedUnits: before.Failed})
	})
	if err != nil {
		return err
	}
	if err := m.Runtime.Stop(ctx, m.Guest); err != nil {
		return err
	}
	return m.leave(ctx)
}

// leave unmounts what is mounted in the root that the guest has been started
// from.
func (m *Machine) leave(ctx context.Context) error {
	root, err := filepath.EvalSymlinks(m.Place.Root)
	if err != nil {
		return err
	}
	return m.with(ctx, func(t *Target) error {
		if err := t.Store.UnmountDir(ctx, root); err != nil {
			return fmt.Errorf("cannot unmount what %s shares: %w", m.Guest.Name, err)
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
// the root at what is to run, and has boot prepare it. A trial that boot cannot
// prepare is passed over for the default.
func (m *Machine) load(ctx context.Context) (res BootResult, err error) {
	for range 2 {
		id, _, err := stub.Consume(m.Place.Loader())
		if err != nil {
			return res, err
		}
		e, err := stub.ReadEntry(m.Place.Loader(), id)
		if err != nil {
			return res, err
		}
		if err := m.Place.Point(filepath.Base(e.Root.Prefix)); err != nil {
			return res, err
		}
		err = m.with(ctx, func(t *Target) (err error) {
			res, err = t.Boot(ctx)
			return err
		})
		if !errors.Is(err, ErrTrialBoot) {
			return res, err
		}
		if err := m.leave(ctx); err != nil {
			return res, err
		}
	}
	return res, be.E(be.Recovery, "neither the trial nor the default of %s can be prepared: run beadm -g %s recover", m.Guest.Name, m.Guest.Name)
}

// start starts what load has prepared and waits until it is healthy. The error
// says why it is not; up is when all its services ran, zero if they never did.
func (m *Machine) start(ctx context.Context, before []string) (up time.Time, err error) {
	if err := m.Runtime.Start(ctx, m.Guest); err != nil {
		return up, err
	}
	return m.watch(ctx, before)
}

const (
	watchEvery = 50 * time.Millisecond
	checkTime  = 30 * time.Second
)

// watch waits until the guest has been up, with no service failed that had not
// failed before, for the time that the checks must hold.
func (m *Machine) watch(ctx context.Context, before []string) (up time.Time, err error) {
	deadline := time.Now().Add(m.Conf.Within)
	var good, bad time.Time
	var why error
	for {
		h, herr := m.Runtime.Health(ctx, m.Guest)
		now := time.Now()
		switch fresh := newlyFailed(h.Failed, before); {
		case herr != nil:
			if g, err := m.now(ctx); err == nil && !g.Running {
				return up, fmt.Errorf("%s ended while it started", m.Guest.Name)
			}
			why, good = herr, time.Time{}
		case !h.Up:
			why, good = errors.New(h.Why), time.Time{}
		case len(fresh) > 0:
			why, good = fmt.Errorf("these services failed: %s", strings.Join(fresh, ", ")), time.Time{}
			if bad.IsZero() {
				bad = now
			}
			if now.Sub(bad) >= m.Conf.Hold {
				return up, why
			}
		default:
			bad = time.Time{}
			if up.IsZero() {
				up = now
			}
			if good.IsZero() {
				good = now
			}
			if now.Sub(good) >= m.Conf.Hold {
				return up, m.check(ctx)
			}
		}
		if now.After(deadline) {
			return up, fmt.Errorf("it was not healthy after %s: %w", m.Conf.Within, why)
		}
		select {
		case <-ctx.Done():
			return up, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

func newlyFailed(failed, before []string) (fresh []string) {
	for _, unit := range failed {
		if !slices.Contains(before, unit) {
			fresh = append(fresh, unit)
		}
	}
	return fresh
}

// check makes the administrator's own checks.
func (m *Machine) check(ctx context.Context) error {
	for _, command := range m.Conf.Checks {
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		cmd.Env = append(os.Environ(), "BEADM_GUEST_NAME="+m.Guest.Name, "BEADM_GUEST_ROOT="+m.Place.Root, "BEADM_GUEST_RUNTIME="+m.Runtime.Name())
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("the check %q failed: %w: %s", command, err, inBrief(strings.TrimSpace(string(out))))
		}
	}
	return nil
}

// Prepare does what can be done while the guest runs: the new root is made
// ready and its one trial armed.
func (m *Machine) Prepare(ctx context.Context, name string, opts ActivateOptions) error {
	return m.with(ctx, func(t *Target) error { return t.Activate(ctx, name, opts) })
}

// Switch restarts the guest in what its loader has next: an armed trial, or
// its default if that is another than what runs. A trial that does not prove
// healthy ends in the old one; one that does not run is switched for good. It is not to be interrupted: ctx ends nothing
// but what is waited for.
func (m *Machine) Switch(ctx context.Context) (res Switched) {
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
	g, err := m.now(ctx)
	if err != nil {
		return fail(Refused, err)
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
	if !g.Running {
		boot, err := m.load(ctx)
		if err != nil {
			return fail(Wrong, err)
		}
		if boot.Trial {
			// Nobody could see how it goes before somebody starts it.
			err = m.with(ctx, func(t *Target) error { return t.Confirm(ctx, ConfirmOptions{}) })
		}
		if err != nil {
			return fail(Wrong, err)
		}
		res.Runs, res.Outcome = boot.BE, Unwatched
		return res
	}
	if err := m.mountedBelow(); err != nil {
		return fail(Refused, errors.Join(err, m.disarm(ctx)))
	}
	before, err := m.Runtime.Health(ctx, g)
	if err != nil && st.trial != nil {
		return fail(Refused, errors.Join(be.E(be.Unbootable, "nobody could see whether its trial is healthy, since that cannot be seen now: %w", err), m.disarm(ctx)))
	}
	began := time.Now()
	if err := m.stop(ctx, before); err != nil {
		// Nothing is exchanged. It may be down all the same.
		return fail(m.asItIs(ctx), errors.Join(err, m.again(ctx)))
	}
	boot, err := m.load(ctx)
	if err != nil {
		return fail(m.asItIs(ctx), errors.Join(err, m.again(ctx)))
	}
	res.Runs = boot.BE
	up, wrong := m.start(ctx, before.Failed)
	res.Down = downSince(began, up)
	if !boot.Trial {
		wrong = errors.Join(wrong, m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) }))
		if f := boot.Failed; f != nil && f.Reason != state.ReasonOperator || boot.NotTried != "" {
			return fail(FellBack, errors.Join(whyBack(boot), wrong))
		}
		if wrong != nil {
			return fail(m.asItIs(ctx), wrong)
		}
		res.Outcome = Returned
		return res
	}
	if wrong == nil && st.trial != nil && st.trial.NoAutoConfirm {
		res.Outcome = OnTrial
		if err := m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) }); err != nil {
			res.Why = err.Error()
		}
		return res
	}
	if wrong == nil {
		wrong = m.with(ctx, func(t *Target) error {
			return errors.Join(t.Confirm(ctx, ConfirmOptions{}), t.keepStopped(ctx, nil))
		})
		if wrong == nil {
			res.Outcome = Confirmed
			return res
		}
	}
	back, up, err := m.back(ctx, state.ReasonCheck, wrong.Error(), before)
	res.Runs, res.Down = back, downSince(began, up)
	if err != nil {
		return fail(m.asItIs(ctx), fmt.Errorf("%w; and then: %w", wrong, err))
	}
	return fail(FellBack, wrong)
}

// back ends the trial that the guest is in, and starts the old one.
func (m *Machine) back(ctx context.Context, reason, why string, before guest.Health) (runs string, up time.Time, err error) {
	err = m.with(ctx, func(t *Target) error { return t.FailTrial(ctx, reason, why, nil) })
	if err != nil {
		return "", up, err
	}
	if err := m.stop(ctx, before); err != nil {
		return "", up, err
	}
	boot, err := m.load(ctx)
	if err != nil {
		return boot.BE, up, err
	}
	up, err = m.start(ctx, before.Failed)
	return boot.BE, up, errors.Join(err, m.with(ctx, func(t *Target) error { return t.keepStopped(ctx, nil) }))
}

// again starts a guest that a switch stopped and could not bring any further.
func (m *Machine) again(ctx context.Context) error {
	g, err := m.now(ctx)
	if err != nil || g.Running {
		return err
	}
	return m.Runtime.Start(ctx, m.Guest)
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

func whyBack(boot BootResult) error {
	if f := boot.Failed; f != nil {
		return fmt.Errorf("%s: %s", f.Reason, f.Detail)
	}
	return fmt.Errorf("%s was not tried", boot.NotTried)
}

// Stopped calls do while the guest is stopped, and starts it again whatever
// happens. What is mounted in its root stays.
func (m *Machine) Stopped(ctx context.Context, do func() error) error {
	whole := context.WithoutCancel(ctx)
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	health, _ := m.Runtime.Health(ctx, m.Guest)
	err = m.with(ctx, func(t *Target) error {
		return t.keepStopped(ctx, &state.Stopped{At: time.Now().UTC(), FailedUnits: health.Failed})
	})
	if err != nil {
		return err
	}
	err = m.Runtime.Stop(whole, m.Guest)
	if err == nil {
		err = do()
	}
	err = errors.Join(err, m.again(whole))
	return errors.Join(err, m.with(whole, func(t *Target) error { return t.keepStopped(whole, nil) }))
}
