package activate

import (
	"beadm/be"
	"beadm/be/state"
)

// Allow says, as an error of kind InUse, why a command is refused in the
// present state, or nil. names are the boot environments that the command
// would change.
func Allow(st *state.State, command string, uuids ...be.UUID) error {
	t := st.Trial
	if t != nil && t.Phase == state.Trying && !t.Once {
		switch command {
		case "confirm", "rollback", "create", "recover", "boot":
		default:
			return be.E(be.InUse, "cannot %s during a trial: confirm it, or roll back, first", command)
		}
	}
	if t != nil && t.Phase == state.Armed {
		switch command {
		case "destroy", "rename", "mount", "upgrade", "run":
			for _, u := range uuids {
				if u == t.BE || u == t.From {
					return be.E(be.InUse, "cannot %s a boot environment of the armed trial: take it back with beadm activate -T first", command)
				}
			}
		case "share init", "share add", "share remove", "share undo", "share commit", "share restore":
			return be.E(be.InUse, "cannot %s while a trial is armed: take it back with beadm activate -T first", command)
		}
	}
	for _, o := range st.Owed {
		switch command {
		case "destroy", "mount", "upgrade", "run":
			for _, u := range uuids {
				if u == o.From {
					return be.E(be.InUse, "cannot %s a boot environment whose changes were not carried over yet (%s): run beadm recover first", command, o.Why)
				}
			}
		}
	}
	return nil
}
