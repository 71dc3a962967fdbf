//go:build !linux

package btrfs

import (
	"context"
	"runtime"

	"beadm/be"
)

// Store cannot be had here.
type Store struct{ be.Store }

// Open reports that there is no btrfs on this system.
func Open(context.Context, Config) (*Store, error) {
	return nil, be.E(be.NoStore, "there is no btrfs on %s: give --beroot POOL/ROOT of a ZFS pool", runtime.GOOS)
}

// Close does nothing.
func (s *Store) Close() error { return nil }
