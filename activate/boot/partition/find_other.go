//go:build !linux

package partition

import (
	"context"

	"beadm/activate/boot/efivar"
	"beadm/be"
)

// At needs Linux, so far.
func At(dir string) (string, error) {
	return "", be.E(be.NoStore, "this loader is not known on this system yet")
}

// Mount needs Linux, so far.
func Mount(part, uuid, dir string) error {
	return be.E(be.NoStore, "this loader is not known on this system yet")
}

// PartUUID needs Linux, so far.
func PartUUID(dir string) (string, error) {
	return "", be.E(be.NoStore, "this loader is not known on this system yet")
}

// Drives needs Linux, so far.
func Drives(dir string) ([]efivar.HardDrive, error) {
	return nil, be.E(be.NoStore, "this loader is not known on this system yet")
}

// Below needs Linux, so far.
func Below(dir string) string { return "" }

// Start needs Linux, so far.
func Start(ctx context.Context, below string) error { return nil }
