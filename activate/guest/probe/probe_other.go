//go:build !linux

// Package probe asks the systemd of a guest how it is.
package probe

import (
	"context"

	"beadm/activate/guest"
	"beadm/be"
)

// Systemd is for Linux.
func Systemd(context.Context, int) (guest.Health, error) {
	return guest.Health{}, be.E(be.NoStore, "guests with systemd are Linux's")
}
