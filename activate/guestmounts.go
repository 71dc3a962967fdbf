package activate

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
	"beadm/share"
)

// mountedBelow refuses a guest in whose root the host has mounted something that
// is not its shared data: it would not be in the new root.
func (m *Machine) mountedBelow() error {
	_, others, err := m.mountsBelow()
	if err != nil || len(others) == 0 {
		return err
	}
	return be.E(be.InUse, "the host has %s mounted in the root of %s: have its runtime bind it there, or unmount it", others[0], m.Guest.Name)
}

// mountsBelow are the places below the guest's root where the host has mounted
// its shared data, or what stands in for that, last first, and in words what
// else is mounted there.
func (m *Machine) mountsBelow() (shared, others []string, err error) {
	root, err := filepath.EvalSymlinks(m.Place.Root)
	if err != nil {
		return nil, nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return nil, nil, err
	}
	for _, at := range mounts {
		below, ok := strings.CutPrefix(at.Mountpoint, root+"/")
		data, part := m.Place.Belongs(at)
		switch {
		case !ok, part:
		case data, at.FSType == "tmpfs" && at.Source == share.StandIn:
			shared = append(shared, at.Mountpoint)
		default:
			others = append(others, at.Source+" at /"+below)
		}
	}
	slices.Reverse(shared)
	return shared, others, nil
}
