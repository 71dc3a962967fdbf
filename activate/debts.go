package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// debts are the boot environments whose runs have ended and are not carried
// over yet: what earlier boots could not do, and the one that ran last. failed
// is the trial that this boot found failed, or nil.
func (s *Session) debts(running be.UUID, failed *state.Failure) []state.Owed {
	st := s.State
	var out []state.Owed
	for _, o := range st.Owed {
		if o.From != running && o.From != st.Last { // running again, its run has not ended
			out = append(out, o)
		}
	}
	if st.Last == "" || st.Last == running {
		return out
	}
	last := state.Owed{From: st.Last}
	if i := slices.IndexFunc(st.Owed, func(o state.Owed) bool { return o.From == st.Last }); i >= 0 {
		last.SecurityOnly, last.Activation = st.Owed[i].SecurityOnly, st.Owed[i].Activation
	}
	// Of a failed trial's run only the security-relevant part is carried back
	// with nobody there to decide; also while it is not settled.
	switch t := st.Trial; {
	case failed != nil && failed.BE == st.Last:
		last.SecurityOnly, last.Activation = failed.Reason != state.ReasonOperator, failed.Activation
	case t != nil && t.BE == st.Last && t.BE != running && t.Phase == state.Trying:
		last.SecurityOnly, last.Activation = t.Verdict == nil || t.Verdict.Reason != state.ReasonOperator, t.Activation
	}
	return append(out, last)
}

// takeOver carries what the debts' boot environments wrote until they ended
// into the running one and begins its run. It returns the debts that it could
// not settle and, apart from them, what else did not work: no snapshot that
// fails keeps an account from being locked.
func (s *Session) takeOver(ctx context.Context, running be.BE, activation string, debts []state.Owed) (left []state.Owed, trouble error) {
	if len(debts) > 0 {
		trouble = errors.Join(s.snapshotShare(ctx, activation), s.arrive(ctx))
	}
	if i := slices.IndexFunc(debts, func(o state.Owed) bool { return o.SecurityOnly }); i >= 0 {
		// Nobody is there to decide: what it was before can be looked at.
		trouble = errors.Join(trouble, s.failbackSnapshot(ctx, running.Name, cmp.Or(debts[i].Activation, activation)))
	}
	s.conflicts = nil
	defer func() { s.State.AddConflicts(s.conflicts) }()
	for _, o := range debts {
		if err := s.carryOver(ctx, running, o); err != nil {
			o.To, o.Why, o.At = running.UUID, err.Error(), time.Now().UTC()
			left = append(left, o)
		}
	}
	// Also with debts: what is changed from here on is this one's own.
	return left, errors.Join(trouble, s.beginRun(ctx, running.UUID, s.Root))
}

func (s *Session) carryOver(ctx context.Context, running be.BE, o state.Owed) error {
	old, err := s.byUUID(ctx, o.From)
	if be.KindOf(err) == be.NotFound {
		return nil // destroyed
	}
	if err != nil {
		return err
	}
	dir := s.path("last")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.Store.Mount(ctx, old.Name, dir, true); err != nil {
		return fmt.Errorf("cannot mount %s, which ran last: %w", old.Name, err)
	}
	defer func() {
		s.Store.Unmount(context.WithoutCancel(ctx), old.Name, true)
		os.Remove(dir)
	}()
	if err := s.endRun(ctx, old.UUID, dir, o.SecurityOnly); err != nil {
		return err
	}
	if err := s.reconcileEnded(ctx, old.UUID, running.UUID, dir, s.Root, o.SecurityOnly); err != nil {
		return err
	}
	if s.booting && o.From == s.State.Last && !o.SecurityOnly {
		if err := takePools(dir, s.Root); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	s.leftAtBoot(ctx, old, dir, running)
	return nil
}
