package activate

import (
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
)

// mountedBelow refuses a guest in whose root the host has mounted something that
// is not its shared data: it would be unmounted with that, and not be in the new
// root.
func (m *Machine) mountedBelow() error {
	root, err := filepath.EvalSymlinks(m.Place.Root)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return err
	}
	for _, at := range mounts {
		below, ok := strings.CutPrefix(at.Mountpoint, root+"/")
		// Wherever the guest has moved the directory to.
		if ok && filepath.Base(at.Root) != sharedDirectory {
			return be.E(be.InUse, "the host has %s mounted at /%s in the root of %s: have its runtime bind it there, or unmount it", at.Source, below, m.Guest.Name)
		}
	}
	return nil
}

// sharedDirectory is what of its file system is mounted as the shared data, as
// package btrfs has it.
const sharedDirectory = "@varshare"
