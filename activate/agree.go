package activate

import (
	"context"
	"fmt"
	"time"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// What boots is in two places: the loader's, which it reads, and the state,
// which says why. Another tool (zpool, bectl, efibootmgr) or another copy of
// the loader's files may have changed the first alone.

// disagreement is how the loader differs from the state.
type disagreement struct {
	def   string // what the loader boots by default, if that is another one
	lost  bool   // the armed trial has no token
	token string // what the loader starts once, of which the state knows nothing
}

func (d disagreement) any() bool { return d != disagreement{} }

// disagrees compares ls with the state.
func (s *Session) disagrees(ctx context.Context, ls boot.State) (d disagreement) {
	if s.State.Default != "" && ls.Default != s.State.Default.ID() {
		d.def = s.nameOfID(ctx, ls.Default)
	}
	d.lost = lostToken(s.State.Trial, ls)
	if tr := s.State.Trial; ls.Trial != "" && (tr == nil || tr.BE.ID() != ls.Trial) {
		d.token = s.nameOfID(ctx, ls.Trial)
	}
	return d
}

// nameOfID is for messages: the name of what has that id in the loader.
func (s *Session) nameOfID(ctx context.Context, id string) string {
	all, _ := s.Store.List(ctx)
	for _, b := range all {
		if b.UUID != "" && b.ID() == id {
			return b.Name
		}
	}
	return id
}

// settled is how long a command that changes both places may need for that.
const settled = 300 * time.Millisecond

// lookAtLoader is for who only looks and has no lock: what a command is just
// changing is no disagreement. It reads the state again if need be.
func (s *Session) lookAtLoader(ctx context.Context) (ls boot.State, d disagreement, err error) {
	if ls, err = s.Loader.State(ctx); err != nil || !s.disagrees(ctx, ls).any() {
		return ls, d, err
	}
	select {
	case <-ctx.Done():
		return ls, d, ctx.Err()
	case <-time.After(settled):
	}
	st, err := s.Dir.Load()
	if err != nil {
		return ls, d, err
	}
	s.State = st
	if ls, err = s.Loader.State(ctx); err != nil {
		return ls, d, err
	}
	if rec, err := journal.Open(s.Dir); err == nil && rec != nil {
		return ls, d, nil // its end settles it, too
	}
	return ls, s.disagrees(ctx, ls), nil
}

// sentences say it for people.
func (d disagreement) sentences(ctx context.Context, s *Session) (why []string) {
	if d.def != "" {
		why = append(why, fmt.Sprintf("the loader starts %s by default, not %s: something else than beadm changed it", d.def, s.nameOf(ctx, s.State.Default)))
	}
	if d.lost {
		why = append(why, "the trial of "+s.nameOf(ctx, s.State.Trial.BE)+" is not armed any more: its token is gone")
	}
	if d.token != "" {
		why = append(why, "the loader starts "+d.token+" at the next boot, once, and beadm did not arm that")
	}
	return why
}

// sameDefault refuses what relies on the default: a trial that fails would come
// back to another one than is said.
func (s *Session) sameDefault(ctx context.Context) error {
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return nil // whoever needs the loader hears
	}
	if d := s.disagrees(ctx, ls); d.def != "" {
		return be.E(be.Recovery, "the loader starts %s by default, and not %s: beadm recover sets it right, or beadm activate --permanent %s keeps it", d.def, s.nameOf(ctx, s.State.Default), d.def)
	}
	return nil
}

// agree makes the loader do what the state says, and says what it did. A trial
// that runs is left alone: its end is the loader's default, whatever that is.
func (s *Session) agree(ctx context.Context, running be.BE) (did []string, err error) {
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return nil, err
	}
	d := s.disagrees(ctx, ls)
	tr := s.State.Trial
	if tr != nil && tr.Phase == state.Trying {
		if d.def != "" {
			s.Report.Warn("the loader starts %s by default, not %s: beadm recover sets it right when the trial has ended", d.def, s.nameOf(ctx, s.State.Default))
		}
		return nil, nil
	}
	if d.token != "" {
		if err := s.Loader.Disarm(ctx); err != nil {
			return did, err
		}
		did = append(did, "the loader was to start "+d.token+" once, which beadm did not arm: taken back")
	}
	if d.def == "" {
		return did, nil
	}
	name := s.nameOf(ctx, s.State.Default)
	if _, err := s.byUUID(ctx, s.State.Default); be.KindOf(err) == be.NotFound {
		// Destroyed by another tool: nothing but the loader's can be the default.
		all, err := s.Store.List(ctx)
		if err != nil {
			return did, err
		}
		for _, b := range all {
			if b.UUID == "" || b.ID() != ls.Default {
				continue
			}
			s.State.Default = b.UUID
			return append(did, name+", the default, is gone: "+b.Name+" is what the loader starts"), s.save()
		}
		return did, be.E(be.Recovery, "%s, the default, is gone, and the loader starts none of the boot environments: activate one with --permanent", name)
	} else if err != nil {
		return did, err
	}
	if tr != nil {
		// The write that sets the default takes its token.
		if err := s.disarm(ctx); err != nil {
			return did, err
		}
		did = append(did, "the armed trial of "+s.nameOf(ctx, tr.BE)+" was taken back: activate it again")
	}
	if err := s.run(ctx, s.defaultPlan("default", defaultArgs{Name: name, UUID: s.State.Default, Was: s.State.Default, Restore: s.State.Restore})); err != nil {
		return did, err
	}
	return append(did, name+" is the loader's default again, "+d.def+" was"), nil
}
