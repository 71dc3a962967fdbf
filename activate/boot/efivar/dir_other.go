//go:build !linux

package efivar

import (
	"fmt"
	"os"
)

func mutable(path string) error {
	_, err := os.Lstat(path)
	return err
}

// Present needs Linux.
func (d Dir) Present() error { return MountFS() }

// Writable needs Linux.
func (d Dir) Writable() error { return MountFS() }

// MountFS needs Linux.
func MountFS() error { return fmt.Errorf("UEFI variables are read and written on Linux only") }
