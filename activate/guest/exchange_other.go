//go:build !linux

package guest

import "beadm/be"

func exchange(a, b string) error {
	return be.E(be.NoStore, "roots are exchanged on Linux only")
}

func isSubvolume(dir string) error {
	return be.E(be.NoStore, "cannot adopt %s: there is no btrfs on this system", dir)
}
