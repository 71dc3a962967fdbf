//go:build !linux

package lxc

import (
	"context"

	"beadm/activate/guest"
	"beadm/be"
)

func missing() error { return be.E(be.NoStore, "LXC is Linux's") }

// List is empty.
func (r *Runtime) List(context.Context) ([]guest.Guest, error) { return nil, nil }

// Linkable is empty.
func (r *Runtime) Linkable(context.Context) ([]guest.Guest, error) { return nil, nil }

// FollowsLink is for Linux.
func (r *Runtime) FollowsLink(context.Context, guest.Guest) error { return missing() }

// Start is for Linux.
func (r *Runtime) Start(context.Context, guest.Guest) error { return missing() }

// Stop is for Linux.
func (r *Runtime) Stop(context.Context, guest.Guest) error { return missing() }

// Health is for Linux.
func (r *Runtime) Health(context.Context, guest.Guest) (guest.Health, error) {
	return guest.Health{}, missing()
}

// Run is for Linux.
func (r *Runtime) Run(context.Context, guest.Guest, guest.Command) error { return missing() }
