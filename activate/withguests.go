package activate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// ID is the guest's name among those of all runtimes.
func (m *Machine) ID() string { return m.Guest.Runtime + ":" + m.Guest.Name }

// machine is the guest of that ID; NotFound if it is not there, or has no boot
// environments any more.
func (t *Target) machine(ctx context.Context, id string) (*Machine, error) {
	if t.Guests == nil {
		return nil, be.E(be.NoStore, "guest %s cannot be reached from here", id)
	}
	all, err := t.Guests(ctx)
	for _, m := range all {
		if m.ID() == id {
			return m, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, be.E(be.NotFound, "there is no guest %s with boot environments any more", id)
}

// machine is Target.machine, which looks once in a session.
func (s *Session) machine(ctx context.Context, id string) (*Machine, error) {
	once := Target{Guests: s.Guests}
	if s.guests != nil {
		once.Guests = func(context.Context) ([]*Machine, error) { return s.guests, nil }
	} else if s.Guests != nil {
		once.Guests = func(ctx context.Context) ([]*Machine, error) {
			all, err := s.Guests(ctx)
			if err == nil {
				s.guests = all
			}
			return all, err
		}
	}
	return once.machine(ctx, id)
}

// guestsOf are the boot environments of guests that belong to the host's uuid.
func (s *Session) guestsOf(uuid be.UUID) []state.GuestBE {
	if k := s.State.BEs[uuid]; k != nil {
		return k.Guests
	}
	return nil
}

// withGuests completes the arguments of a create by what is made in guests. It
// refuses what could not be made there, or would not be there for the new root.
func (s *Session) withGuests(ctx context.Context, args *createArgs, opts CreateOptions) error {
	if len(opts.Guests) == 0 {
		return nil
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	args.Running, args.Had = running.UUID, s.guestsOf(running.UUID)
	for _, m := range opts.Guests {
		if err := m.outside(s.Root); err != nil {
			return err
		}
		st, err := m.stand(ctx)
		if err == nil {
			err = m.with(ctx, func(t *Target) error {
				t.Report = unheard{t.Report}
				_, err := t.Create(ctx, args.Name, CreateOptions{DryRun: true})
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("guest %s: %w", m.ID(), err)
		}
		args.Guests = append(args.Guests, state.GuestBE{Guest: m.ID(), Name: args.Name, UUID: be.NewUUID()})
		args.Run = append(args.Run, state.GuestBE{Guest: m.ID(), Name: st.running, UUID: st.runs})
	}
	return nil
}

// outside refuses a guest whose boot environments are in the one that the host
// has mounted at root: in another one they are not, or are others.
func (m *Machine) outside(root string) error {
	dir, err := filepath.EvalSymlinks(m.Place.Dir())
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	of, at := mountOf(mounts, root), mountOf(mounts, dir)
	if of == nil || at == nil {
		return be.E(be.Other, "cannot see on which file system %s is", dir)
	}
	within := at.Mountpoint == of.Mountpoint ||
		strings.HasPrefix(at.Source, of.Source+"/") || // a dataset below
		at.Major == of.Major && at.Minor == of.Minor && of.Root != "/" && strings.HasPrefix(at.Root+"/", of.Root+"/")
	if !within {
		return nil
	}
	where := filepath.Dir(m.Place.Root)
	return be.E(be.Decision, "the boot environments of guest %s are within that of the host, where another would not have them: give %s a file system of its own, a subvolume or a dataset with a line in /etc/fstab", m.ID(), where)
}

// mountOf is what is mounted where path is, on top.
func mountOf(mounts []*mountinfo.Info, path string) (found *mountinfo.Info) {
	for _, m := range mounts {
		if m.Mountpoint != "/" && m.Mountpoint != path && !strings.HasPrefix(path, m.Mountpoint+"/") {
			continue
		}
		if found == nil || len(m.Mountpoint) >= len(found.Mountpoint) {
			found = m
		}
	}
	return found
}

// createGuests are the steps of a create that are about guests, before the
// host's own.
func (s *Session) createGuests(args createArgs) (steps []journal.Step) {
	for _, g := range args.Guests {
		steps = append(steps, journal.Step{
			Name: "create " + g.Name + " in " + g.Guest,
			Do: func(ctx context.Context) error {
				return s.inGuest(ctx, g, func(ctx context.Context, t *Target) error {
					_, err := t.Create(ctx, g.Name, CreateOptions{Description: args.Desc, uuid: g.UUID, Joint: s.joint})
					return err
				})
			},
			Undo: func(ctx context.Context) error {
				if _, err := s.machine(ctx, g.Guest); err != nil && s.Guests != nil {
					if be.KindOf(err) != be.NotFound {
						// The host is not kept from all else by that.
						s.Report.Warn("%s may be left in guest %s, which cannot be looked at: %v", g.Name, g.Guest, err)
					}
					return nil
				}
				return notFoundIsFine(s.inGuest(ctx, g, func(ctx context.Context, t *Target) error {
					s, err := t.Write(ctx) // which undoes what was cut
					if err != nil {
						return err
					}
					b, err := s.byUUID(ctx, g.UUID)
					s.Close()
					if err != nil {
						return err
					}
					_, err = t.Destroy(ctx, b.Name, false, false)
					return err
				}))
			},
		})
	}
	return steps
}

// recordGuests is the last step of a create with guests.
func (s *Session) recordGuests(args createArgs) journal.Step {
	return journal.Step{
		Name: "record which boot environments of guests belong to it",
		Do: func(ctx context.Context) error {
			k := s.State.Know(args.UUID)
			k.Name, k.Guests = args.Name, args.Guests
			s.belong(args.Running, args.Run)
			return s.save()
		},
		Undo: func(ctx context.Context) error {
			delete(s.State.BEs, args.UUID)
			s.State.Know(args.Running).Guests = args.Had
			return s.save()
		},
	}
}

// belong notes that these belong to the host's uuid, in place of others of the
// same guests.
func (s *Session) belong(uuid be.UUID, list []state.GuestBE) {
	k := s.State.Know(uuid)
	kept := slices.DeleteFunc(slices.Clone(k.Guests), func(old state.GuestBE) bool { return hasGuest(list, old.Guest) })
	k.Guests = append(kept, list...)
}

func hasGuest(list []state.GuestBE, id string) bool {
	return slices.ContainsFunc(list, func(g state.GuestBE) bool { return g.Guest == id })
}

// wayBack are the guests that go back from running to the host's uuid: one that
// did not come along from there stays.
func (s *Session) wayBack(running, uuid be.UUID) []state.GuestBE {
	return slices.DeleteFunc(slices.Clone(s.guestsOf(uuid)), func(g state.GuestBE) bool { return !hasGuest(s.guestsOf(running), g.Guest) })
}

// onlyOf are the boot environments of guests that belong to the host's uuid alone.
func (s *Session) onlyOf(uuid be.UUID) []state.GuestBE {
	return slices.DeleteFunc(slices.Clone(s.guestsOf(uuid)), func(g state.GuestBE) bool {
		for other, k := range s.State.BEs {
			if other != uuid && slices.ContainsFunc(k.Guests, func(o state.GuestBE) bool { return o.UUID == g.UUID }) {
				return true
			}
		}
		return false
	})
}

// inGuest calls do with a guest that nobody switches meanwhile.
func (s *Session) inGuest(ctx context.Context, g state.GuestBE, do func(context.Context, *Target) error) error {
	m, err := s.machine(ctx, g.Guest)
	if err != nil {
		return err
	}
	release, err := m.Hold()
	if err != nil {
		return err
	}
	defer release()
	if err := m.with(ctx, func(t *Target) error { return do(ctx, t) }); err != nil {
		return fmt.Errorf("guest %s: %w", g.Guest, err)
	}
	return nil
}

// unheard is for what is asked before anything is done.
type unheard struct{ Reporter }

func (unheard) Step(string)         {}
func (unheard) Would(string)        {}
func (unheard) Note(string, ...any) {}
func (unheard) Warn(string, ...any) {}

// mayArmGuests refuses, before a trial of the host is touched, what a guest would
// refuse.
func (s *Session) mayArmGuests(ctx context.Context, list []state.GuestBE, opts ActivateOptions) error {
	if !opts.DryRun && s.State.Trial == nil {
		return nil // they say it themselves, before the commit
	}
	for _, g := range list {
		m, err := s.machine(ctx, g.Guest)
		if err == nil {
			err = m.armWith(ctx, g.UUID, "", ActivateOptions{Strict: opts.Strict, LeaveBehind: opts.LeaveBehind, DryRun: true})
		}
		if be.KindOf(err) == be.NotFound {
			s.Report.Warn("%v: it stays as it is", err)
		} else if err != nil {
			return fmt.Errorf("guest %s: %w", g.Guest, err)
		}
	}
	return nil
}

// armGuests are the steps of a plan that arm trials of guests with the host's
// with, all before its commit: a guest whose host does not come to it is disarmed
// by the next guest boot or recover. Unless goesOn says that the host's is the
// way back, a guest that refuses ends the plan. One that has gone, or has not
// that boot environment any more, is no reason to.
func (s *Session) armGuests(list []state.GuestBE, with be.UUID, opts ActivateOptions, goesOn bool) (steps []journal.Step) {
	for _, g := range list {
		steps = append(steps, journal.Step{
			Name: "arm one trial of " + g.Name + " in " + g.Guest,
			Do: func(ctx context.Context) error {
				m, err := s.machine(ctx, g.Guest)
				if err == nil {
					err = m.armWith(ctx, g.UUID, with, opts)
				}
				switch {
				case err == nil:
					return nil
				case be.KindOf(err) == be.NotFound || goesOn && ctx.Err() == nil:
					s.Report.Warn("guest %s stays with what it runs: %v", g.Guest, err)
					return nil
				}
				return fmt.Errorf("guest %s: %w", g.Guest, err)
			},
			Undo: func(ctx context.Context) error {
				if s.Guests == nil {
					return nil // before init: guest boot sees to it
				}
				m, err := s.machine(ctx, g.Guest)
				if err == nil {
					err = m.disarmWith(ctx, with)
				}
				s.mayBeArmed(g, err)
				return nil
			},
		})
	}
	return steps
}

// spareGuests keeps the services that start guests out of the checks of their
// host's trial: a guest that does not start goes back alone.
func spareGuests(base *state.Baseline, list []state.GuestBE) {
	if base == nil {
		return
	}
	for _, g := range list {
		switch runtime, name, _ := strings.Cut(g.Guest, ":"); runtime {
		case "nspawn":
			base.FailedUnits = append(base.FailedUnits, "systemd-nspawn@"+name+".service")
		case "lxc":
			base.FailedUnits = append(base.FailedUnits, "lxc@"+name+".service", "lxc.service")
		}
	}
}

// noteGuests notes what the guests of list, and those that running had before, run
// beside it, so that a way back leads there.
func (s *Session) noteGuests(ctx context.Context, running be.BE, list []state.GuestBE) error {
	var run []state.GuestBE
	for _, g := range slices.Concat(list, s.guestsOf(running.UUID)) {
		m, err := s.machine(ctx, g.Guest)
		if err != nil || hasGuest(run, g.Guest) {
			continue // who arms it says so
		}
		if st, err := m.stand(ctx); err == nil && st.trial == nil && st.runs == st.next {
			run = append(run, state.GuestBE{Guest: g.Guest, Name: st.running, UUID: st.runs})
		}
	}
	if len(run) == 0 {
		return nil
	}
	s.belong(running.UUID, run)
	return s.save()
}

// disarmGuests takes back what is armed in guests for the host's uuid, which is
// not going to boot.
func (s *Session) disarmGuests(ctx context.Context, uuid be.UUID) {
	if s.Guests == nil {
		return
	}
	for _, g := range s.guestsOf(uuid) {
		m, err := s.machine(ctx, g.Guest)
		var st standing
		if err == nil {
			st, err = m.stand(ctx)
		}
		if err == nil && st.trial != nil && st.trial.With == uuid {
			err = m.disarmWith(ctx, uuid)
		}
		s.mayBeArmed(g, err)
	}
}

// mayBeArmed says that a trial could not be taken back. It stops nothing: guest
// boot does that, too.
func (s *Session) mayBeArmed(g state.GuestBE, err error) {
	if err != nil && be.KindOf(err) != be.NotFound {
		s.Report.Warn("a trial of guest %s may still be armed: %v; beadm recover takes it back", g.Guest, err)
	}
}

// followers are the guests that some boot environment of the host has, and whose
// trial follows it.
func (t *Target) followers(ctx context.Context) (list []*Machine, err error) {
	if t.Guests == nil {
		return nil, nil
	}
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, k := range s.State.BEs {
		for _, g := range k.Guests {
			have[g.Guest] = true
		}
	}
	s.Close()
	if len(have) == 0 {
		return nil, nil
	}
	all, err := t.Guests(ctx)
	for _, m := range all {
		if !have[m.ID()] {
			continue
		}
		st, serr := m.stand(ctx)
		if serr != nil {
			err = errors.Join(err, fmt.Errorf("guest %s: %w", m.ID(), serr))
		} else if st.trial != nil && st.trial.With != "" {
			list = append(list, m)
		}
	}
	return list, err
}

// recoverGuests ends in guests what followed a trial of the host that is over, or
// was never begun.
func (t *Target) recoverGuests(ctx context.Context, dryRun bool) (did []string, err error) {
	list, err := t.followers(ctx)
	for _, m := range list {
		if dryRun {
			t.Report.Would("look after the trial of guest " + m.ID())
			continue
		}
		what, rerr := m.Recover(ctx)
		for _, w := range what {
			did = append(did, "guest "+m.ID()+": "+w)
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("guest %s: %w", m.ID(), rerr))
		}
	}
	return did, err
}

// confirmGuests confirms the trials of guests that began with what the host runs
// and has confirmed. One that is not healthy goes back alone.
func (t *Target) confirmGuests(ctx context.Context, opts ConfirmOptions) error {
	list, err := t.followers(ctx)
	if err != nil {
		t.Report.Warn("%v", err)
	}
	if len(list) == 0 {
		return nil
	}
	host, err := t.StandsAsHost(ctx)
	if err != nil {
		return err
	}
	said := make([]string, len(list))
	bad := make([]bool, len(list))
	each(preparing, indices(list, nil), func(i int) {
		m := list[i]
		st, err := m.stand(ctx)
		switch tr := st.trial; {
		case err != nil:
			said[i], bad[i] = err.Error(), true
			return
		case tr == nil || tr.With != host.Running || tr.Phase != state.Trying || opts.DryRun && !host.waits(tr) && !host.here(tr):
			return
		case opts.DryRun:
			said[i] = "confirm " + st.running + " in " + m.ID() + ", if it is healthy"
			return
		}
		did, err := m.Recover(ctx)
		now, serr := m.stand(ctx)
		said[i] = strings.Join(did, "; ")
		if err = errors.Join(err, serr); err != nil {
			said[i] = strings.TrimPrefix(said[i]+": "+err.Error(), ": ")
		}
		bad[i] = err != nil || now.def != st.running
	})
	failed := 0
	for i, m := range list {
		switch {
		case bad[i]:
			failed++
			t.Report.Warn("guest %s: %s", m.ID(), said[i])
		case opts.DryRun && said[i] != "":
			t.Report.Would(said[i])
		case said[i] != "":
			t.Report.Note("guest %s: %s", m.ID(), said[i])
		}
	}
	if failed > 0 && !opts.Auto {
		return be.E(be.Batch, "the host's is confirmed, and %d of %d guests did not come to keep theirs, as said above", failed, len(list))
	}
	return nil
}

// GuestOf is a guest with one of its boot environments that belongs to one of the
// host.
type GuestOf struct {
	Guest string `json:"guest"`
	BE    string `json:"be"`             // that belongs to the host's
	Runs  string `json:"runs,omitempty"` // what it runs
	State string `json:"state,omitempty"`
	Why   string `json:"why,omitempty"` // what went wrong
}

func (s *Session) guestsNow(ctx context.Context, running be.BE) (list []GuestOf) {
	uuid := running.UUID
	if tr := s.State.Trial; tr != nil && tr.Phase == state.Armed {
		uuid = tr.BE
	}
	for _, g := range s.guestsOf(uuid) {
		of := GuestOf{Guest: g.Guest, BE: g.Name}
		m, err := s.machine(ctx, g.Guest)
		if err != nil {
			of.Why = err.Error()
		} else {
			err := m.with(ctx, func(t *Target) error {
				b, err := t.byUUID(ctx, g.UUID)
				if err == nil {
					of.BE = b.Name
				}
				return err
			})
			st := m.Standing(ctx)
			of.Runs, of.State, of.Why = st.Runs, st.State, st.Error
			if be.KindOf(err) == be.NotFound {
				of.Why = "there is no " + g.Name + " in it any more"
			}
			if f := st.Failure; f != nil && f.BE == g.UUID {
				of.Why = strings.TrimSuffix(f.Reason+": "+f.Detail, ": ")
			}
		}
		list = append(list, of)
	}
	return list
}

// halfWithGuests says that b is of a create with guests that has not ended, or
// was cut.
func (s *Session) halfWithGuests(b be.BE) bool {
	if s.Dir == nil {
		return false
	}
	rec, err := journal.Open(s.Dir)
	if err != nil || rec == nil || rec.Op != "create" {
		return false
	}
	args, err := argsOf[createArgs](rec)
	return err == nil && len(args.Guests) > 0 && args.UUID == b.UUID
}

// mentionGuests says what of guests stays when b is destroyed.
func (s *Session) mentionGuests(b be.BE) {
	var names []string
	for _, g := range s.onlyOf(b.UUID) {
		names = append(names, g.Name+" of "+g.Guest)
	}
	if len(names) > 0 {
		s.Report.Note("these boot environments of guests belong to %s, and stay unless destroy --with-guests takes them: %s", b.Name, strings.Join(names, ", "))
	}
}

// DestroyWithGuests is Destroy, and before that of what belongs to it alone in
// guests. The host is held from the first look to the end.
// Nothing is destroyed if any of it may not be; cut, it may be repeated.
func (t *Target) DestroyWithGuests(ctx context.Context, name string, force, dryRun bool) (report be.DestroyReport, err error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return report, err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return report, err
	}
	if err := s.mayDestroy(ctx, b, force); err != nil {
		return report, err
	}
	if report, err = s.wouldDestroy(ctx, b); err != nil {
		return report, err
	}
	list := s.onlyOf(b.UUID)
	for _, g := range list {
		r, err := s.destroyInGuest(ctx, g, force, true)
		if err != nil {
			return report, err
		}
		report.Removes = append(report.Removes, r.Removes...)
		report.Frees += r.Frees
		report.AtLeast = report.AtLeast || r.AtLeast
	}
	if dryRun {
		return report, nil
	}
	for _, g := range list {
		if _, err := s.destroyInGuest(ctx, g, force, false); err != nil {
			return report, err
		}
	}
	_, err = s.destroy(ctx, b, force)
	return report, err
}

// destroyInGuest destroys what of a guest belongs to a boot environment of the
// host. A guest that is not there any more, or has none such, is no error.
func (s *Session) destroyInGuest(ctx context.Context, g state.GuestBE, force, dryRun bool) (report be.DestroyReport, err error) {
	if _, err := s.machine(ctx, g.Guest); be.KindOf(err) == be.NotFound {
		return report, nil
	}
	err = s.inGuest(ctx, g, func(ctx context.Context, one *Target) error {
		b, err := one.byUUID(ctx, g.UUID)
		if be.KindOf(err) == be.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if dryRun {
			one.Report = unheard{one.Report}
		}
		report, err = one.Destroy(ctx, b.Name, force, dryRun)
		return err
	})
	return report, err
}
