package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/activate/boot"
	"beadm/activate/boot/fbsd"
	"beadm/activate/boot/illumos"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// BootResult says what Boot found and did.
type BootResult struct {
	BE       string
	Trial    bool // this is the trial boot of BE
	Failed   *state.Failure
	From     string // the boot environment that changes came from
	Owed     error  // what could not be carried over and stays owed; never holds a boot
	NotTried string // the boot environment whose armed trial was taken back
	// Trouble is what else could not be done, outside a trial; status shows it.
	Trouble error
}

// ErrTrialBoot is what Boot's error wraps when it is a trial that must be
// reset now: the old boot environment is to come back.
var ErrTrialBoot = errors.New("the trial cannot go on")

// Boot runs in the boot environment mounted at Root before any service and
// before init reads /etc. It compares it with the one that ran last and, if
// that is another, brings over everything it wrote. It never leaves a boot
// waiting: outside a trial what it could not do stays owed.
//
// Whatever a power cut interrupts here is done again at the next boot: `last`
// is written last.
func (t *Target) Boot(ctx context.Context) (res BootResult, err error) {
	began := time.Now().UTC()
	claimed, claimsTrial := boot.Cmdline(t.Cmdline)
	s, err := t.Look(ctx)
	if err != nil {
		return res, trialError(claimsTrial, err)
	}
	defer s.Close()
	running, err := s.running(ctx)
	if err != nil {
		return res, trialError(claimsTrial, err)
	}
	res.BE = running.Name
	if s.Dir == nil || s.State.Loader.Kind == "" {
		if claimsTrial {
			return res, trialError(true, errors.New("the state file system is gone"))
		}
		return res, t.MountShare(ctx) // not set up, not to its end, or no more
	}
	if err := s.lock(); err != nil {
		return res, trialError(claimsTrial, err)
	}
	s.booting = t.Root == "/"
	seal, trouble := s.unseal(ctx, running)
	defer seal()
	// What a command left in the middle says what the trial's end means: a
	// confirmation that was cut behind its commit is one.
	trouble = errors.Join(trouble, s.keepPrimary(), s.recoverSwitch(ctx))
	st := s.State
	ls, err := s.Loader.State(ctx)
	if err != nil {
		// Nothing says which boot this is, but what the kernel was told. A
		// guest was told nothing, and its runtime starts what the loader says.
		if claimsTrial || t.Root != "/" {
			return res, trialError(claimsTrial, err)
		}
		trouble = errors.Join(trouble, err)
	}
	trial := st.Trial
	// The loader's claim counts only for the root that is really mounted. A
	// host's kernel was told whether this is the trial: its boot environment
	// picked at the menu, or started because no other could be, is none, and
	// the consumed token that still shows is the past. A guest is told nothing.
	isTrial := trial != nil && trial.BE == running.UUID
	if t.Root == "/" {
		isTrial = isTrial && claimsTrial && claimed == running.ID()
	} else {
		isTrial = isTrial && ls.Tried == running.ID() && trial.Verdict == nil
	}
	res.Trial = isTrial && !trial.Once
	if res.Trial && trouble != nil {
		return res, s.failTrial(ctx, state.ReasonBoot, trouble)
	}

	if isTrial {
		// The loader could not take the token (systemd-boot does not look; GRUB
		// on a mirror cannot strike out what the firmware consumed), or the
		// firmware brought it back: after a failure this would start again. If it
		// cannot be taken now either, a reset would not end the trial.
		trouble = errors.Join(trouble, s.Loader.Disarm(ctx))
	}
	switch {
	case isTrial:
		trial.Phase, trial.TryingAt, trial.Services = state.Trying, time.Now().UTC(), false
		if t.Root == "/" {
			trial.EndsUp = sinceBoot() + trial.ConfirmWithin
		}
		if err := s.save(); err != nil {
			return res, trialError(res.Trial, err)
		}
	case err != nil:
		// Without the loader nobody knows how the trial ended: settled by the
		// next boot that has it.
	case trial != nil:
		res.Failed, err = s.settle(ctx, running, ls)
		trouble = errors.Join(trouble, err)
		if err == nil && res.Failed == nil && st.NotTried != nil && trial.Phase == state.Armed {
			res.NotTried = st.NotTried.Name
		}
	case ls.Tried != "":
		trouble = errors.Join(trouble, s.Loader.ClearTried(ctx))
	}

	other := s.startedFromOther()
	s.alikeLoaders(ctx)
	if claimsTrial && !isTrial && claimed == running.ID() && running.UUID != st.Default && t.Root == "/" {
		// A disk that was away came back with the token of an old trial, and the
		// firmware started from it: nobody would watch this one. Its loader has
		// the right default now, or had it where there is no other.
		if other == "" && err == nil && s.strayBoot(ctx, trial, running) {
			other = s.mirrored().Primary()
		}
		if other != "" && s.mirrorsTrouble == nil {
			s.record("reset", running.Name, "started by an old token on "+other)
			return res, trialError(true, fmt.Errorf("the loader on %s had the token of an old trial of %s, which is over", other, running.Name))
		}
	}

	noShare := s.mountShare(ctx, running, isTrial)
	if noShare != nil && res.Trial {
		return res, s.failTrial(ctx, state.ReasonBoot, noShare)
	}
	trouble = errors.Join(trouble, noShare)
	if st.Last != "" && st.Last != running.UUID {
		res.From = s.nameOf(ctx, st.Last)
	}
	debts := s.debts(running.UUID, res.Failed)
	var activation string
	if trial != nil {
		activation = trial.Activation
	} else if n := len(debts); n > 0 && debts[n-1].From == st.Last {
		activation = debts[n-1].Activation // an earlier boot settled it and was cut
	}
	activation = cmp.Or(activation, be.NewToken())
	if st.Last != running.UUID {
		st.Left = nil
	}
	left, missed := s.takeOver(ctx, running, activation, debts)
	for _, o := range left {
		res.Owed = errors.Join(res.Owed, errors.New(o.Why))
	}
	if err := errors.Join(res.Owed, missed); err != nil && res.Trial {
		return res, s.failTrial(ctx, state.ReasonBoot, err)
	}
	trouble = errors.Join(trouble, missed)
	trouble = errors.Join(trouble, s.restoreAtBoot(ctx, running))
	if isTrial {
		if err := s.armDeadman(ctx, trial); err != nil && res.Trial {
			return res, s.failTrial(ctx, state.ReasonBoot, err)
		}
		trial.Services = true
		if trial.Once {
			// Once services run, nothing is left to decide.
			st.Trial = nil
			trouble = errors.Join(trouble, s.Loader.ClearTried(ctx))
		}
	}
	st.Owed = left
	st.Trouble = nil
	if trouble != nil {
		st.Trouble = &state.Trouble{Why: trouble.Error(), At: time.Now().UTC()}
	}
	if st.Last != running.UUID {
		ended(st, debts, began)
		st.Know(running.UUID).RanFrom = began
		if res.Failed == nil {
			st.Know(running.UUID).Switch = activation
		}
	}
	st.Last = running.UUID
	st.Know(running.UUID).Name = running.Name
	if err := s.save(); err != nil {
		return res, trialError(res.Trial, err)
	}
	if res.From != "" || res.Failed != nil || isTrial {
		s.record("boot", running.Name, bootDetail(res))
	}
	if err := s.notice(); err != nil {
		s.Report.Warn("%v", err)
	}
	if !res.Trial { // a trial's confirmation tells: a mailer that fails is no fault of its
		if err := s.tell(ctx, running.Name); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	res.Trouble = trouble
	return res, nil
}

// recoverSwitch ends an activation, a confirmation or a rollback that was cut.
// Of others nothing hangs on being early.
func (s *Session) recoverSwitch(ctx context.Context) error {
	rec, err := journal.Open(s.Dir)
	if err != nil || rec == nil {
		return err
	}
	switch rec.Op {
	case "activate", "confirm", "rollback", "default":
		return s.recoverJournal(ctx)
	}
	return nil
}

// ended notes that the run of the boot environment that ran last is over. A
// failed trial's is void: what was not in it before is not in it now.
func ended(st *state.State, debts []state.Owed, at time.Time) {
	void := slices.ContainsFunc(debts, func(o state.Owed) bool { return o.From == st.Last && o.SecurityOnly })
	if st.Last != "" && !void {
		st.Know(st.Last).UpTo = at
	}
}

func bootDetail(r BootResult) string {
	switch {
	case r.Failed != nil:
		return fmt.Sprintf("back from the failed trial of %s: %s %s", r.Failed.Name, r.Failed.Reason, r.Failed.Detail)
	case r.Trial:
		return "trial, from " + r.From
	}
	return "from " + r.From
}

func trialError(trial bool, err error) error {
	if trial {
		return fmt.Errorf("%w: %w", ErrTrialBoot, err)
	}
	return err
}

// failTrial records why the trial in which this runs ends.
func (s *Session) failTrial(ctx context.Context, reason string, cause error) error {
	s.State.Trial.Verdict = &state.Verdict{Reason: reason, Detail: cause.Error(), At: time.Now().UTC()}
	if err := s.save(); err != nil {
		cause = errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", ErrTrialBoot, cause)
}

// settle ends a trial that is not the one running: it failed if its token was
// consumed, and was not tried otherwise.
func (s *Session) settle(ctx context.Context, running be.BE, ls boot.State) (*state.Failure, error) {
	t := s.State.Trial
	id := t.BE.ID()
	name := s.nameOf(ctx, t.BE)
	if t.Phase == state.Armed && ls.Trial == id {
		// Disarmed first: from here on a cut must not start it.
		if err := s.Loader.Disarm(ctx); err != nil {
			return nil, err
		}
	}
	// At the loader's menu a person chose another: the token is gone, and the
	// trial never began.
	passed := t.Phase == state.Armed && boot.Passed(s.Cmdline) == id
	if t.Phase == state.Armed && ls.Tried != id || passed {
		why := "the token was gone before the boot"
		switch {
		case passed:
			why = "another was chosen at the boot menu"
		case ls.Trial == id:
			why = "the loader could not take its token, or the system was started past beadm's menu"
		}
		s.State.Trial, s.State.NotTried = nil, &state.NotTried{BE: t.BE, Name: name, At: time.Now().UTC(), Why: why}
		if err := s.save(); err != nil {
			return nil, err
		}
		s.record("not tried", name, running.Name+" was started instead: "+why)
		if passed {
			return nil, s.Loader.ClearTried(ctx)
		}
		return nil, nil
	}
	if t.Once && t.Services {
		s.State.Trial = nil
		return nil, errors.Join(s.save(), s.Loader.ClearTried(ctx))
	}
	v := state.Verdict{Reason: state.ReasonNoUserland, At: t.ArmedAt}
	switch {
	case t.Verdict != nil:
		v = *t.Verdict
	case t.Phase == state.Trying && t.Services:
		v = state.Verdict{Reason: state.ReasonReset, Detail: "a panic, a power cut or a reboot", At: t.TryingAt}
	case t.Phase == state.Trying:
		v = state.Verdict{Reason: state.ReasonBoot, Detail: "it was reset before services", At: t.TryingAt}
	default:
		v.Detail = "the loader started it and nothing more was heard"
		switch s.State.Loader.Kind {
		case "systemd-boot", fbsd.Name, illumos.Name:
			// It takes the token before its menu, and tells nobody of a pick there.
			v.Detail += ", or another entry was chosen at its menu"
		}
		if s.State.Loader.Kind == "zfsbootmenu" {
			v.Detail += ", or the firmware or ZFSBootMenu did not start it"
		}
		v.At = time.Now().UTC()
	}
	f := state.Failure{Activation: t.Activation, BE: t.BE, Name: name, Verdict: v}
	known := false
	for _, old := range s.State.Failures {
		known = known || old.Activation == f.Activation
	}
	failures := s.State.Failures
	if !known {
		s.State.Failures = append(failures[:len(failures):len(failures)], f)
	}
	s.State.Trial = nil
	owed := s.State.Owed
	if s.State.Last == t.BE && t.BE != running.UUID && !slices.ContainsFunc(owed, func(o state.Owed) bool { return o.From == t.BE }) {
		// In the same write: a cut from here on must not make of a failed
		// trial's run one whose whole is carried.
		s.State.Owed = append(owed[:len(owed):len(owed)], state.Owed{
			From: t.BE, To: running.UUID, Why: "the boot did not come so far", At: time.Now().UTC(),
			SecurityOnly: v.Reason != state.ReasonOperator, Activation: t.Activation,
		})
	}
	// The state first: were the token's trace cleared first, a cut would leave
	// a trial of which nobody could say whether it was tried.
	if err := s.save(); err != nil {
		s.State.Trial, s.State.Failures, s.State.Owed = t, failures, owed
		return &f, err
	}
	s.record("failed", name, v.Reason+": "+v.Detail)
	return &f, s.Loader.ClearTried(ctx)
}

const failbackPrefix = "beadm-failback-"

// failbackSnapshot keeps the boot environment name as it is before something
// is carried into it unattended. Only the last such snapshot is kept.
func (s *Session) failbackSnapshot(ctx context.Context, name, activation string) error {
	if !s.Store.Caps().Snapshots {
		return nil
	}
	if err := s.dropFailbackSnapshots(ctx, failbackPrefix+activation); err != nil {
		return err
	}
	_, err := s.Store.Snapshot(ctx, name, failbackPrefix+activation)
	if be.KindOf(err) == be.InUse {
		return nil // made before a power cut
	}
	return err
}

// dropFailbackSnapshots destroys those of all boot environments but keep.
func (s *Session) dropFailbackSnapshots(ctx context.Context, keep string) error {
	return s.dropSnapshotsNamed(ctx, failbackPrefix, keep)
}

// dropSnapshotsNamed destroys those of all boot environments whose names begin
// with prefix, but keep.
func (s *Session) dropSnapshotsNamed(ctx context.Context, prefix, keep string) error {
	if !s.Store.Caps().Snapshots {
		return nil
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Incomplete {
			continue
		}
		snaps, err := s.Store.Snapshots(ctx, b.Name)
		if err != nil {
			return err
		}
		for _, sn := range snaps {
			if !strings.HasPrefix(sn.Name, prefix) || sn.Name == keep {
				continue
			}
			// One that somebody made a boot environment of stays.
			if err := s.Store.DestroySnapshot(ctx, b.Name, sn.Name); err != nil && be.KindOf(err) != be.InUse {
				return err
			}
		}
	}
	return nil
}
