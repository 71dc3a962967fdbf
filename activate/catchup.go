package activate

import (
	"context"
	"slices"
	"time"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/state"
)

// over says of a trial of another boot environment than the running one that
// nothing can become of it any more.
func over(tr *state.Trial, running be.UUID, ls boot.State) bool {
	if tr == nil || tr.BE == running {
		return false
	}
	return tr.Phase == state.Trying || tr.Phase == state.Armed && ls.Tried == tr.BE.ID() && ls.Trial != tr.BE.ID()
}

// unsettled are the debts of a boot that did not come so far: it took too long,
// was cut, could not read the state, or never ran beadm. What the boot
// environment that ran last wrote is owed then, too.
func (s *Session) unsettled(running be.UUID) []state.Owed {
	st := s.State
	if st.Last == "" || st.Last == running {
		return st.Owed
	}
	debts := s.debts(running, nil)
	for i := range debts {
		if debts[i].Why == "" {
			debts[i].Why, debts[i].To = "the boot did not come so far", running
		}
	}
	return debts
}

// isBehind says that the boot of the running boot environment did not come to
// its end. What it could not do all the same is for recover, or the next boot.
func (s *Session) isBehind(ctx context.Context) bool {
	running, err := s.running(ctx)
	if err != nil || s.State.Loader.Kind == "" {
		return false
	}
	if last := s.State.Last; last != "" && last != running.UUID {
		return true
	}
	if s.State.Trial == nil {
		return false
	}
	ls, err := s.Loader.State(ctx)
	return err == nil && over(s.State.Trial, running.UUID, ls)
}

// catchUp does what the boot of the running boot environment did not come to
// do: a trial that is over is settled, and what others wrote until they ended is
// taken over. It returns what it did, in sentences. What it could not take over
// stays owed, which is no error of its own.
func (s *Session) catchUp(ctx context.Context) (did []string, err error) {
	running, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	activation := be.NewToken()
	if ls, err := s.Loader.State(ctx); err == nil && over(s.State.Trial, running.UUID, ls) {
		activation = s.State.Trial.Activation
		f, err := s.settle(ctx, running, ls)
		if err != nil {
			return nil, err
		}
		if f != nil {
			did = append(did, "the trial of "+f.Name+" was recorded as failed: "+f.Reason)
		}
	}
	debts := s.unsettled(running.UUID)
	st := s.State
	if len(debts) == 0 && (st.Last == running.UUID || st.Last == "") {
		return did, nil
	}
	began := time.Now().Add(-sinceBoot()).UTC()
	left, trouble := s.takeOver(ctx, running, activation, debts)
	st.Owed = left
	if st.Last != running.UUID {
		ended(st, debts, began)
		st.Know(running.UUID).RanFrom, st.Left = began, nil
	}
	st.Last = running.UUID
	if err := s.save(); err != nil {
		return did, err
	}
	for _, o := range debts {
		if !slices.ContainsFunc(left, func(l state.Owed) bool { return l.From == o.From }) {
			did = append(did, "brought over what "+s.nameOf(ctx, o.From)+" wrote")
		}
	}
	if trouble != nil {
		trouble = be.E(be.Recovery, "%w", trouble)
	}
	return did, trouble
}

// giveUp strikes out what the boot environment name wrote and is owed.
func (s *Session) giveUp(ctx context.Context, name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	running, left, err := s.owedBut(ctx, name)
	if err != nil {
		return nil, err
	}
	if last := s.State.Last; last != "" && last != running.UUID && s.nameOf(ctx, last) == name {
		if err := s.beginRun(ctx, running.UUID, s.Root); err != nil {
			return nil, err
		}
		s.State.Know(running.UUID).RanFrom = time.Now().Add(-sinceBoot()).UTC()
		s.State.Last = running.UUID
	}
	s.State.Owed = left
	if err := s.save(); err != nil {
		return nil, err
	}
	return []string{"what " + name + " wrote was given up"}, nil
}

// owedBut are the debts but for what the boot environment name wrote, which is
// owed, and the boot environment that runs.
func (s *Session) owedBut(ctx context.Context, name string) (running be.BE, left []state.Owed, err error) {
	if running, err = s.running(ctx); err != nil {
		return running, nil, err
	}
	all := s.unsettled(running.UUID)
	left = slices.DeleteFunc(slices.Clone(all), func(o state.Owed) bool { return s.nameOf(ctx, o.From) == name })
	if len(left) == len(all) {
		return running, nil, be.E(be.NotFound, "nothing that %q wrote is owed: beadm status says what is", name)
	}
	return running, left, nil
}
