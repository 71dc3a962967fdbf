package activate

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"beadm/activate/left"
	"beadm/be"
	"beadm/be/state"
)

// ActivateOptions are those of beadm activate.
type ActivateOptions struct {
	Once          bool
	Permanent     bool
	Strict        bool
	NoAutoConfirm bool
	ConfirmWithin time.Duration // 0: what beadm.conf says
	LeaveBehind   bool          // data of the running boot environment may be left behind
	DryRun        bool

	with   be.UUID         // state.Trial.With
	before *state.Baseline // how a guest was when its trial was armed with its host's
}

// Activate arms one trial boot of a boot environment (or, with Permanent,
// makes it the default at once). The permanent default is not touched by a
// trial. An armed trial of another is taken back first.
func (t *Target) Activate(ctx context.Context, name string, opts ActivateOptions) error {
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if !opts.DryRun {
		if _, err := s.noteSeparate(ctx); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	return s.activate(ctx, name, opts)
}

// Within is how long the trial may take, or why (Usage) not that long.
func (o ActivateOptions) Within(conf Conf) (time.Duration, error) {
	within := o.ConfirmWithin
	if within == 0 {
		within = conf.ConfirmWithin
	}
	switch {
	case o.Once || o.Permanent: // nobody waits for it
		return within, nil
	case o.NoAutoConfirm: // nor do the checks have to hold
		conf.Hold = 0
	}
	return within, conf.CheckWithin(within)
}

func (s *Session) activate(ctx context.Context, name string, opts ActivateOptions) error {
	within, err := opts.Within(s.Conf)
	if err != nil {
		return err
	}
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "activate", b.UUID); err != nil {
		return err
	}
	if b.UUID == "" && !opts.DryRun {
		if b, err = s.Store.Adopt(ctx, name); err != nil {
			return err
		}
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	agrees := s.sameDefault(ctx)
	if b.Running {
		if s.State.Trial != nil {
			if opts.DryRun {
				s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
				return nil
			}
			return s.disarm(ctx)
		}
		if b.UUID == s.State.Default && agrees == nil {
			s.Report.Note("%s is running and the default already", name)
			return nil
		}
		if b.UUID != s.State.Default && !opts.Permanent {
			return be.E(be.InUse, "%s is running: give --permanent to make it the default without a trial", name)
		}
	}
	if agrees != nil && !opts.Permanent {
		return fmt.Errorf("cannot activate %s: %w", name, agrees)
	}
	if b.Mountpoint != "" && !b.Running {
		return be.E(be.InUse, "cannot activate %s: it is mounted at %s; unmount it first", name, b.Mountpoint)
	}
	if b.Incomplete {
		return be.E(be.Unbootable, "cannot activate %s: it is incomplete; destroy it and create it again", name)
	}
	if err := s.upgradedWell(b, "activate"); err != nil {
		return err
	}
	if !opts.Permanent {
		if err := s.Loader.Probe(ctx); err != nil {
			return fmt.Errorf("cannot arm a trial of %s: %w", name, err)
		}
		if err := s.mayRestart(name); err != nil {
			return err
		}
	}
	if err := s.roomFor(ctx, "activate "+name); err != nil {
		return err
	}
	if !b.Running {
		if err := s.checkBootable(ctx, b); err != nil {
			return err
		}
	}
	if !b.Running && !opts.Permanent {
		if err := s.checkWayBack(ctx, b.Name); err != nil {
			return err
		}
	}
	if !b.Running && !opts.Permanent && !opts.Once {
		if err := s.checkWatched(ctx, b); err != nil {
			return err
		}
	}
	looked := time.Now().Add(-tick).UTC()
	var leaves []left.Place
	if !b.Running {
		if leaves, err = s.checkLeft(ctx, running, b, opts.LeaveBehind); err != nil {
			return err
		}
	}
	args := activateArgs{
		Activation: be.NewToken(), Name: b.Name, UUID: b.UUID, From: running.Name, FromUUID: running.UUID,
		Default: s.State.Default, Previous: s.State.Previous, Once: opts.Once, Permanent: opts.Permanent,
		NoAutoConfirm: opts.NoAutoConfirm, Within: within, Strict: opts.Strict, Running: b.Running,
		LookedAt: looked, With: opts.with, before: opts.before,
	}
	entries, err := s.Loader.Entries(ctx)
	if err != nil {
		return err
	}
	for _, id := range entries {
		args.HadEntry = args.HadEntry || id == b.ID()
	}
	stale, err := s.stale(ctx)
	if err != nil {
		return err
	}
	for _, other := range stale {
		if other.UUID != b.UUID || b.Running {
			args.Stale = append(args.Stale, other.UUID)
		}
	}
	if !b.Running && !opts.Once {
		args.Guests, args.LeaveBehind = s.guestsOf(b.UUID), opts.LeaveBehind
	} else if len(s.guestsOf(b.UUID)) > 0 {
		s.Report.Note("the guests stay with what they run")
	}
	if err := s.mayArmGuests(ctx, args.Guests, opts); err != nil {
		return err
	}
	// Said before the trial that is armed is taken back for nothing.
	if !b.Running && (opts.DryRun || s.State.Trial != nil) {
		if err := s.fits(ctx, b); err != nil {
			return err
		}
	}
	if opts.DryRun {
		if s.State.Trial != nil {
			s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
		}
		s.printPlan(s.activatePlan(args))
		return nil
	}
	before := ""
	if s.State.Trial != nil {
		before = s.nameOf(ctx, s.State.Trial.BE)
		// Before anything else, so that no power cut from here on starts a
		// trial that is being changed.
		if err := s.disarm(ctx); err != nil {
			return err
		}
	}
	if err := s.noteGuests(ctx, running, args.Guests); err != nil {
		return err
	}
	if s.Armed != nil && !opts.Permanent {
		s.Armed(args.Activation) // also if it is cut off behind its commit
	}
	if err := s.run(ctx, s.activatePlan(args)); err != nil {
		if before != "" && be.KindOf(err) != be.Recovery {
			return fmt.Errorf("%w, but the trial of %s, which was armed, was taken back: activate it again", err, before)
		}
		return err
	}
	what := "activate"
	if opts.Permanent {
		what = "activate --permanent"
	}
	s.record(what, name, activationDetail+args.Activation)
	s.recordLeft(running.Name, name, leaves)
	return nil
}

// activationDetail is before the activation's name in the history.
const activationDetail = "activation "

// Deactivate takes an armed trial back (activate -T): that of name, or of
// whatever is armed if name is empty.
func (t *Target) Deactivate(ctx context.Context, name string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := Allow(s.State, "activate"); err != nil {
		return err
	}
	var named be.BE
	if name != "" {
		if named, err = s.find(ctx, name); err != nil {
			return err
		}
	}
	if s.State.Trial == nil {
		s.Report.Note("no trial is armed")
		return nil
	}
	if name != "" && named.UUID != s.State.Trial.BE {
		return be.E(be.InUse, "no trial of %s is armed: %s is", name, s.nameOf(ctx, s.State.Trial.BE))
	}
	if dryRun {
		s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
		return nil
	}
	return s.disarm(ctx)
}

// disarm takes the token first: a cut between the two writes leaves a state
// that says armed with no token, which boot and recover read as disarmed.
func (s *Session) disarm(ctx context.Context) error {
	if err := s.Loader.Disarm(ctx); err != nil {
		return err
	}
	uuid := s.State.Trial.BE
	name := s.nameOf(ctx, uuid)
	s.State.Trial = nil
	if err := s.save(); err != nil {
		return err
	}
	s.record("disarm", name, "")
	s.disarmGuests(ctx, uuid)
	return nil
}

// baseline is what the checks of a trial compare with; a guest has none yet.
func (s *Session) baseline(ctx context.Context) *state.Baseline {
	if s.Root != "/" {
		return nil
	}
	b := lookAround(ctx)
	b.Share, _ = s.Store.VolumeExists(ctx, be.ShareVolume)
	return &b
}

func (t *Target) inRoot(path string) string { return filepath.Join(t.Root, path) }
