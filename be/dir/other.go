//go:build !linux

package dir

import (
	"context"
	"runtime"

	"beadm/be"
)

// Store cannot be had here.
type Store struct{ be.Store }

// Open reports that there are no such boot environments on this system.
func Open(context.Context, Config) (*Store, error) {
	return nil, be.E(be.NoStore, "boot environments in plain directories are for Linux, not for %s: give --beroot POOL/ROOT of a ZFS pool", runtime.GOOS)
}

// Close does nothing.
func (s *Store) Close() error { return nil }
