package activate

import (
	"context"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/state"
)

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
	Kept    *guest.Kept    `json:"kept,omitempty"`  // what the system itself keeps of it
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
	if k, ok := m.Runtime.(guest.Keeper); ok && err == nil && !adopted {
		var kept guest.Kept
		kept, err = k.Kept(ctx, m.Guest)
		g.Runs, g.Kept = kept.Starts, &kept
	}
	if err != nil {
		g.Error = err.Error()
	}
	return g
}
