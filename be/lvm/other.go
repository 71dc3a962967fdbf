//go:build !linux

package lvm

import (
	"context"
	"runtime"

	"beadm/be"
)

// Store cannot be had here.
type Store struct{ be.Store }

// Open reports that there is no LVM on this system.
func Open(context.Context, Config) (*Store, error) {
	return nil, be.E(be.NoStore, "there is no LVM on %s: give --beroot POOL/ROOT of a ZFS pool", runtime.GOOS)
}

// IsVolume is false: there is none.
func IsVolume(string) bool { return false }

// Close does nothing.
func (s *Store) Close() error { return nil }
