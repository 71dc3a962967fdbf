//go:build unix

package guest

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"beadm/be"
)

// mappedGroup is the group of a root that belongs to the mapped root of a guest with
// a user namespace; 0 for any other root. One that has a name on this host is an
// error: others are in it, or may come to be.
func mappedGroup(root string, info fs.FileInfo) (int, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 || st.Gid == 0 {
		return 0, nil
	}
	gid := strconv.FormatUint(uint64(st.Gid), 10)
	group, err := user.LookupGroupId(gid)
	var unknown user.UnknownGroupIdError
	switch {
	case errors.As(err, &unknown), errors.Is(err, os.ErrNotExist):
		return int(st.Gid), nil
	case err != nil:
		return 0, be.E(be.Other, "cannot see whose group %s is: %w", gid, err)
	}
	return 0, be.E(be.InUse, "%s belongs to the host's group %s, whose members would come to what the guest does not run: give it the group that its user namespace has for root", root, group.Name)
}
