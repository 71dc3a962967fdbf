package activate

import "beadm/be"

// mountedBelow refuses a guest in whose root the host has mounted something that
// is not its shared data: it would not be in the new root.
func (m *Machine) mountedBelow() error {
	_, others, err := m.mountsBelow()
	if err != nil || len(others) == 0 {
		return err
	}
	return be.E(be.InUse, "the host has %s mounted in the root of %s: have its runtime bind it there, or unmount it", others[0], m.Guest.Name)
}

// mountsBelow is guest.Place.MountedBelow of the root that the guest starts from.
func (m *Machine) mountsBelow() (shared, others []string, err error) {
	return m.Place.MountedBelow(m.Place.Root)
}
