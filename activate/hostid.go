package activate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"beadm/activate/boot"
)

// hostIDFile is what the kernel's ZFS takes for the host's identity
// (zgenhostid(8)): four bytes in the order of the machine.
const hostIDFile = "/etc/hostid"

// poolHost is a store whose pool belongs to the host of an ID; 0 is none's.
type poolHost interface {
	HostID(ctx context.Context) (uint32, error)
}

// sameHostid refuses a hostid that would make the pool another host's, for the
// boot environment at dir or, once it has imported the pool, for all that do
// not have it: no initramfs of theirs would find its root any more. inside is
// its initrd; nil where none is used.
func (s *Session) sameHostid(ctx context.Context, dir string, inside *boot.Initrd) error {
	if s.Store.Caps().Kind != "zfs" {
		return nil
	}
	ours, err := readHostID(s.Root)
	if err != nil {
		return err
	}
	theirs, err := readHostID(dir)
	if err != nil {
		return err
	}
	if !bytes.Equal(ours, theirs) {
		return errors.New("/etc/hostid in it is not that of the running system, and the pool would be another host's for one of them; make them equal")
	}
	if slices.ContainsFunc(s.State.Loader.Args, givesHostID) {
		return nil // the same for all, and before any file
	}
	if err := initrdHostID(theirs, inside); err != nil {
		return err
	}
	if pool, ok := s.Store.(poolHost); ok && inside != nil && len(theirs) == 4 {
		id, err := pool.HostID(ctx)
		if err != nil {
			s.Report.Warn("cannot see whether the pool is this host's: %v", err)
		} else if err := poolHostID(theirs, id); err != nil {
			return err
		}
	}
	return nil
}

func readHostID(dir string) ([]byte, error) {
	id, err := readInRoot(dir, hostIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return id, err
}

// givesHostID says whether a kernel argument sets the hostid (spl(4); dracut's
// and mkinitcpio's hooks of ZFS).
func givesHostID(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	return name == "spl.spl_hostid" || name == "spl_hostid"
}

// initrdHostID compares what a root and its initrd have.
func initrdHostID(root []byte, inside *boot.Initrd) error {
	switch {
	case inside == nil, bytes.Equal(root, inside.HostID):
		return nil
	case inside.HostID == nil && inside.Unread:
		return nil // it may be where nobody here can look
	case inside.HostID == nil:
		return errors.New("its initrd has no /etc/hostid, and its root has: the pool would be another host's; make the initrd again in it (update-initramfs -u)")
	}
	return errors.New("/etc/hostid in its initrd is not that in its root, and the pool would be another host's; make the initrd again in it (update-initramfs -u)")
}

// poolHostID compares what a root has with the pool. A pool that has none is
// anybody's.
func poolHostID(root []byte, pool uint32) error {
	if is := binary.NativeEndian.Uint32(root); pool != 0 && is != pool {
		return fmt.Errorf("its /etc/hostid is %08x and the pool is the host %08x's: its initramfs would not import it; write that one (zgenhostid -f %08[2]x) and make the initrd again (update-initramfs -u), here and in it", is, pool)
	}
	return nil
}
