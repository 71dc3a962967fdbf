//go:build !linux

package grub

import (
	"runtime"

	"beadm/be"
)

func (l *Loader) medium() (medium, error) {
	if l.cfg.AnyMedium {
		return medium{uuid: "0000-0000"}, nil
	}
	return medium{}, be.E(be.NoStore, "GRUB is supported on Linux only, and this is %s", runtime.GOOS)
}

func writable(string) error { return nil }
