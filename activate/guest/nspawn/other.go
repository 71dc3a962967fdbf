//go:build !linux

package nspawn

import (
	"context"

	"beadm/activate/guest"
	"beadm/be"
)

type process struct{ leader int }

func processes() (map[string]process, error) { return nil, nil }

func missing() error { return be.E(be.NoStore, "systemd-nspawn is Linux's") }

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

// Tidy has nothing to do.
func Tidy(context.Context, func(machine string) bool) error { return nil }
