//go:build !linux

package partition

import (
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// At needs Linux, so far.
func At(dir string) (string, error) {
	return "", be.E(be.NoStore, "this loader is not known on this system yet")
}

// Mount needs Linux, so far.
func Mount(uuid, dir string) error {
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
