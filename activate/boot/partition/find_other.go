//go:build !linux

package partition

import "beadm/be"

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
