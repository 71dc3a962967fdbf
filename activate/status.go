package activate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/share"
)

// Status is what beadm status shows; its JSON is the published form.
type Status struct {
	State    string          `json:"state"` // idle, armed, trying, once, failed
	Running  string          `json:"running"`
	Default  string          `json:"default"`
	Next     string          `json:"next"` // what boots next
	Previous string          `json:"previous,omitempty"`
	Trial    *TrialStatus    `json:"trial,omitempty"`
	Failure  *state.Failure  `json:"failure,omitempty"`
	NotTried *state.NotTried `json:"not_tried,omitempty"`
	Owed     string          `json:"owed,omitempty"`
	Trouble  *state.Trouble  `json:"trouble,omitempty"`        // what the last boot went on without
	Left     *state.Left     `json:"left,omitempty"`           // what the last switch left behind unasked
	Open     string          `json:"open_operation,omitempty"` // recover ends it
	Setup    bool            `json:"setup"`
	Foreign  bool            `json:"foreign,omitempty"` // another host set it up
	Loader   string          `json:"loader,omitempty"`
	// Loaders are the places of a loader that is on several disks.
	Loaders []LoaderStatus     `json:"loaders,omitempty"`
	Checks  []state.CheckState `json:"checks,omitempty"` // of the running boot environment's last trial
	// Conflicts of switches made at boot that nobody has acknowledged.
	Conflicts []state.Conflict `json:"conflicts,omitempty"`
	// ShareSnapshots are those of the shared data that belong to the failure,
	// or to the trial that runs.
	ShareSnapshots []string `json:"share_snapshots,omitempty"`
	// Restore is what a rollback asked the next boot to bring back.
	Restore *RestoreStatus `json:"share_restore,omitempty"`
	// Differs says how the loader differs from what is said here.
	Differs []string `json:"differs,omitempty"`
	// Unstartable says why the loader could not start what boots next.
	Unstartable []string `json:"unstartable,omitempty"`
	// Guests are those whose boot environments belong to what runs, or to what is
	// armed.
	Guests []GuestOf `json:"guests,omitempty"`
	Todo   []string  `json:"todo,omitempty"` // what can be typed next, a sentence each
}

// RestoreStatus is what a boot is to bring back of the shared data.
type RestoreStatus struct {
	Snapshot string   `json:"snapshot"`
	Paths    []string `json:"paths"`
	To       string   `json:"to"`            // the boot environment whose boot does it
	Why      string   `json:"why,omitempty"` // a boot could not
}

// TrialStatus is the activation under way.
type TrialStatus struct {
	BE      string    `json:"be"`
	From    string    `json:"from"`
	ArmedAt time.Time `json:"armed_at"`
	Phase   string    `json:"phase"`
	Ends    time.Time `json:"ends,omitzero"` // when the dead-man timer resets it
}

// Status reads; it changes nothing and needs no lock.
func (t *Target) Status(ctx context.Context) (Status, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return Status{}, err
	}
	defer s.Close()
	var ls boot.State
	var differ disagreement
	lerr := error(be.E(be.NoStore, "beadm is not set up here"))
	if s.Loader != nil {
		if ls, differ, lerr = s.lookAtLoader(ctx); ctx.Err() != nil {
			return Status{}, ctx.Err()
		}
	}
	out := Status{State: s.State.Word(), Setup: s.Dir != nil, Loader: s.State.Loader.Kind, NotTried: s.State.NotTried, Failure: s.State.UnreadFailure(), Conflicts: s.State.Conflicts}
	running, err := s.running(ctx)
	if err == nil {
		out.Running = running.Name
		if k := s.State.BEs[running.UUID]; k != nil {
			out.Checks = k.Checks
		}
	} else if be.KindOf(err) != be.NoStore {
		return out, err
	}
	if s.Dir == nil {
		return out, nil
	}
	if out.Foreign, err = s.isForeign(); err != nil {
		return out, err
	}
	if s.State.Default != "" {
		out.Default = s.nameOf(ctx, s.State.Default)
	}
	if s.State.Previous != "" {
		out.Previous = s.nameOf(ctx, s.State.Previous)
	}
	out.Next = out.Default
	if tr := s.State.Trial; tr != nil {
		out.Trial = &TrialStatus{BE: s.nameOf(ctx, tr.BE), From: s.nameOf(ctx, tr.From), ArmedAt: tr.ArmedAt, Phase: string(tr.Phase)}
		if tr.Phase == state.Armed {
			out.Next = out.Trial.BE
		} else if !tr.Once {
			out.Trial.Ends = s.trialEnds(tr)
		}
	}
	if lerr != nil {
		out.Differs = []string{"what the loader starts cannot be seen: " + lerr.Error()}
	} else if differ.any() {
		out.Differs = differ.sentences(ctx, s)
		out.Next = s.nameOfID(ctx, ls.Default)
		if ls.Trial != "" {
			out.Next = s.nameOfID(ctx, ls.Trial)
		}
	}
	// By its present name, which another one may have had then.
	if f := out.Failure; f != nil {
		now := *f
		now.Name = s.nameOf(ctx, f.BE)
		out.Failure = &now
	}
	if n := out.NotTried; n != nil && n.BE != "" {
		now := *n
		now.Name = s.nameOf(ctx, n.BE)
		out.NotTried = &now
	}
	var owed []string
	debts := s.State.Owed
	if running.UUID != "" {
		debts = s.unsettled(running.UUID)
		if ls, err := s.Loader.State(ctx); err == nil && over(s.State.Trial, running.UUID, ls) {
			owed = append(owed, "the trial of "+s.nameOf(ctx, s.State.Trial.BE)+" is over, and the boot did not come so far as to settle it")
		}
	}
	for _, o := range debts {
		owed = append(owed, "what "+s.nameOf(ctx, o.From)+" wrote is not in "+s.nameOf(ctx, o.To)+" yet: "+o.Why)
	}
	out.Owed = strings.Join(owed, "; ")
	out.Trouble, out.Left = s.State.Trouble, s.State.Left
	if rec, err := journal.Open(s.Dir); err != nil {
		out.Open = "a command whose journal cannot be read (" + err.Error() + ")"
	} else if rec != nil {
		out.Open = rec.Op + ": " + rec.Name
	}
	if out.ShareSnapshots, err = s.shareSnapshotsOf(ctx); err != nil {
		return out, err
	}
	if r := s.State.Restore; r != nil {
		out.Restore = &RestoreStatus{Snapshot: r.Snapshot, Paths: r.Paths, To: s.nameOf(ctx, r.To), Why: r.Why}
	}
	out.Unstartable = s.unstartable(ctx)
	out.Loaders = s.loaders(ctx)
	out.Guests = s.guestsNow(ctx, running)
	out.Todo = s.todo(ctx, out, differ)
	return out, nil
}

// trialEnds is when the dead-man timer of a trial ends, by the clock as it is
// now: before services it may have been hours off.
func (s *Session) trialEnds(tr *state.Trial) time.Time {
	if s.Root == "/" && tr.EndsUp > 0 {
		return time.Now().UTC().Add(tr.EndsUp - sinceBoot())
	}
	return tr.TryingAt.Add(tr.ConfirmWithin)
}

func (s *Session) shareSnapshotsOf(ctx context.Context) ([]string, error) {
	activation := ""
	if f := s.State.UnreadFailure(); f != nil {
		activation = f.Activation
	}
	if t := s.State.Trial; t != nil && t.Phase == state.Trying {
		activation = t.Activation
	}
	if activation == "" {
		return nil, nil
	}
	if exists, err := s.hasShare(ctx); err != nil || !exists {
		return nil, err
	}
	all, err := s.Store.VolumeSnapshots(ctx, be.ShareVolume)
	var names []string
	for _, snap := range all {
		if of, _, ok := share.ParseSnapshotName(snap.Name); ok && of == activation {
			names = append(names, snap.Name)
		}
	}
	return names, err
}

func (s *Session) todo(ctx context.Context, st Status, differ disagreement) (do []string) {
	say := func(format string, args ...any) { do = append(do, fmt.Sprintf(format, args...)) }
	gone := func(uuid be.UUID) bool {
		_, err := s.byUUID(ctx, uuid)
		return uuid != "" && be.KindOf(err) == be.NotFound
	}
	trying := s.State.Trial != nil && s.State.Trial.Phase == state.Trying
	switch {
	case differ.def != "" && trying:
		say("beadm recover, when the trial has ended, makes %s the default again", st.Default)
	case differ.def != "":
		say("beadm recover makes %s the default again; beadm activate --permanent %s keeps %s", st.Default, differ.def, differ.def)
	case differ.lost:
		say("beadm recover forgets that trial; beadm activate %s arms it again", st.Trial.BE)
	case differ.token != "" && !trying:
		say("beadm recover takes back that %s starts", differ.token)
	}
	if st.Open != "" || st.Owed != "" {
		say("beadm recover ends what is open")
	}
	if len(st.Unstartable) > 0 {
		say("beadm recover writes the boot menu anew")
	}
	for _, l := range st.Loaders {
		switch {
		case l.Missing:
			say("bring the disk with %s back, which the next command mends, or have another in its place and name all but the first again: beadm setup --loader-mirror DIR", l.Place)
		case l.Trouble != "":
			say("mend the loader on %s: beadm recover, or beadm setup", l.Place)
		}
	}
	if r := st.Restore; r != nil && r.Why != "" {
		say("the next boot of %s tries again to bring back what %s holds; beadm status --acknowledge ends that", r.To, r.Snapshot)
	}
	if l := st.Left; l != nil {
		say("beadm mount -s ro %s shows what was left in it; beadm status --acknowledge ends that notice", l.From)
	}
	switch tr := s.State.Trial; {
	case tr != nil && tr.Phase == state.Armed && differ.any():
	case tr != nil && tr.Phase == state.Armed:
		say("a reboot starts %s; beadm activate -T takes that back", st.Trial.BE)
	case tr != nil && tr.Once:
		say("the next reboot starts %s again", st.Default)
	case tr != nil && tr.Verdict != nil:
		say("a reboot ends the trial and starts %s", st.Default)
	case tr != nil:
		say("beadm confirm keeps %s, beadm rollback --reboot goes back to %s", st.Trial.BE, st.Trial.From)
	case st.Failure != nil && gone(st.Failure.BE), st.NotTried != nil && gone(st.NotTried.BE):
		say("beadm status --acknowledge ends this notice")
	case st.Failure != nil:
		f := st.Failure.Name
		if len(st.ShareSnapshots) > 0 {
			say("beadm share restore %s /var/mail brings back mail that it lost", st.ShareSnapshots[0])
		}
		say("beadm status --acknowledge ends this notice; beadm run %s to mend it, then beadm activate %s to try it again, or beadm destroy %s", f, f, f)
	case st.NotTried != nil:
		say("beadm activate %s tries it again; beadm status --acknowledge ends this notice", st.NotTried.Name)
	case len(st.Conflicts) > 0:
		say("beadm sync diff %s shows what is in conflict, beadm sync resolve decides; beadm status --acknowledge ends this notice", rooted.Printable(st.Conflicts[0].Path))
	case differ.any():
	case st.Running != st.Default && st.Running != "":
		say("a reboot starts %s; beadm activate --permanent %s keeps this one", st.Default, st.Running)
	}
	return do
}

// Acknowledge marks the failures as read.
func (t *Target) Acknowledge(ctx context.Context, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := Allow(s.State, "acknowledge a failure"); err != nil {
		return err
	}
	if dryRun {
		if f := s.State.UnreadFailure(); f != nil {
			s.Report.Would("mark the failed trial of " + f.Name + " as read")
		}
		if n := s.State.NotTried; n != nil {
			s.Report.Would("forget that " + n.Name + " was not tried")
		}
		if n := len(s.State.Conflicts); n > 0 {
			s.Report.Would(fmt.Sprintf("forget %d conflicts", n))
		}
		if s.State.Trouble != nil {
			s.Report.Would("forget what the last boot went on without")
		}
		if r := s.State.Restore; r != nil && r.Why != "" {
			s.Report.Would("forget that " + r.Snapshot + " was to be restored")
		}
		if s.State.Left != nil {
			s.Report.Would("forget what the last switch left behind")
		}
		return nil
	}
	for i := range s.State.Failures {
		s.State.Failures[i].Acknowledged = true
	}
	s.State.NotTried, s.State.Trouble, s.State.Conflicts, s.State.Left = nil, nil, nil, nil
	if r := s.State.Restore; r != nil && r.Why != "" {
		s.State.Restore = nil
	}
	if err := s.saveOnly("acknowledge"); err != nil {
		return err
	}
	if err := s.dropFailbackSnapshots(ctx, ""); err != nil {
		s.Report.Warn("%v", err)
	}
	if err := s.pruneShare(ctx, ""); err != nil {
		s.Report.Warn("%v", err)
	}
	return s.notice()
}

// Listed is a boot environment with what the state machine says of it.
type Listed struct {
	be.BE
	Next  bool // boots next: the default, or an armed trial
	Trial bool // armed, or running as a trial
	Once  bool
	Deflt bool
	Good  bool
	// Guests are the boot environments of guests that belong to it.
	Guests []state.GuestBE
	// Parts and Snapshots are there once Detail has looked for them.
	Parts     []be.Part
	Snapshots []be.Snapshot
}

// List returns all boot environments with their state, as the store sorts
// them.
func (t *Target) List(ctx context.Context) ([]Listed, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	next := s.State.Default.ID()
	if tr := s.State.Trial; tr != nil && tr.Phase == state.Armed {
		next = tr.BE.ID()
	}
	if s.Loader != nil {
		if ls, differ, err := s.lookAtLoader(ctx); err == nil && differ.any() {
			if next = ls.Default; ls.Trial != "" {
				next = ls.Trial
			}
		}
	}
	var out []Listed
	for _, b := range all {
		l := Listed{BE: b}
		l.Incomplete = l.Incomplete || s.halfWithGuests(b)
		if b.UUID != "" {
			tr := s.State.Trial
			l.Next, l.Deflt = b.ID() == next, b.UUID == s.State.Default
			l.Trial = tr != nil && tr.BE == b.UUID
			l.Once = l.Trial && tr.Once
			if k := s.State.BEs[b.UUID]; k != nil {
				l.Good, l.Guests = k.Good, k.Guests
			}
		}
		out = append(out, l)
	}
	return out, nil
}
