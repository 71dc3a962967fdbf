//go:build !linux

// Package probe asks the systemd of a guest how it is.
package probe

import (
	"context"
	"io"

	"beadm/activate/guest"
	"beadm/be"
)

// Argument is that of Main.
const Argument = "guest-probe"

// Systemd is for Linux.
func Systemd(context.Context, int) (guest.Health, error) {
	return guest.Health{}, be.E(be.NoStore, "guests with systemd are Linux's")
}

// Main is for Linux.
func Main(out, errs io.Writer) int { return 1 }
