package activate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/be/rooted"
)

// hostIDFile is what the kernel's ZFS takes for the host's identity
// (zgenhostid(8)): four bytes in the order of the machine.
const hostIDFile = "/etc/hostid"

// poolHost is a store whose pool belongs to the host of an ID; 0 is none's.
type poolHost interface {
	HostID(ctx context.Context) (uint32, error)
}

// systemID is what a system has of a hostid.
type systemID struct {
	file  []byte // its /etc/hostid; nil if there is none
	param uint32 // what its modprobe.d gives the module spl, which outranks the file; 0 is nothing
}

// id is the four bytes that count, or what is in their place.
func (h systemID) id() []byte {
	if h.param != 0 {
		return binary.NativeEndian.AppendUint32(nil, h.param)
	}
	return h.file
}

// sameHostid refuses a hostid that would make the pool another host's, for the
// boot environment at dir or, once it has imported the pool, for all that do
// not have it: no initramfs of theirs would find its root any more. inside is
// its initrd; nil where none is used.
func (s *Session) sameHostid(ctx context.Context, dir string, inside *boot.Initrd) error {
	if s.Store.Caps().Kind != "zfs" {
		return nil
	}
	args := s.State.Loader.Args
	if s.State.Loader.Kind == "zfsbootmenu" {
		// It gives each the pool's, or what its properties say (zbm.set_hostid).
		args = append(slices.Clone(args), strings.Fields(string(s.Cmdline))...)
	}
	if slices.ContainsFunc(args, isHostID) {
		return nil // the same for all, whatever any file says
	}
	ours, err := readHostID(s.Root)
	if err != nil {
		return err
	}
	theirs, err := readHostID(dir)
	if err != nil {
		return err
	}
	if err := sameSystemID(ours, theirs); err != nil {
		return err
	}
	if slices.ContainsFunc(args, givesHostID) {
		return nil // the same for all initrds
	}
	if err := initrdHostID(theirs, inside); err != nil {
		return err
	}
	imports := importsAs(theirs, inside)
	if pool, ok := s.Store.(poolHost); ok && inside != nil && len(imports) == 4 {
		id, err := pool.HostID(ctx)
		if err != nil {
			s.Report.Warn("cannot see whether the pool is this host's: %v", err)
		} else if err := poolHostID(imports, id); err != nil {
			return err
		}
	}
	return nil
}

func readHostID(dir string) (h systemID, err error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return h, err
	}
	defer root.Close()
	if h.file, err = root.ReadFileLimit(hostIDFile, 1<<10); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	files := boot.Modprobe{}
	for _, d := range boot.ModprobeDirs {
		list, err := root.ReadDir(d)
		if err != nil {
			continue
		}
		for _, f := range list {
			name := path.Join(d, f.Name)
			if path.Ext(name) != ".conf" {
				continue
			}
			if files[name], err = root.ReadFileLimit(name, 1<<20); err != nil {
				delete(files, name) // modprobe would not read it either
			}
		}
	}
	h.param = files.HostID()
	return h, nil
}

func sameSystemID(ours, theirs systemID) error {
	switch {
	case bytes.Equal(ours.id(), theirs.id()):
		return nil
	case ours.param != 0 || theirs.param != 0:
		return errors.New("its hostid (spl_hostid in modprobe.d, or else /etc/hostid) is not that of the running system, and the pool would be another host's for one of them; make them equal")
	}
	return errors.New("/etc/hostid in it is not that of the running system, and the pool would be another host's for one of them; make them equal")
}

// isHostID says whether a kernel argument sets the hostid for as long as the
// kernel runs: modprobe gives it to the module, behind what its files say.
func isHostID(arg string) bool {
	value, is := strings.CutPrefix(arg, "spl.spl_hostid=")
	return is && boot.ParamHostID(value) != 0
}

// givesHostID says whether a kernel argument has the hooks of dracut and
// mkinitcpio put a hostid into their initrd.
func givesHostID(arg string) bool {
	value, is := strings.CutPrefix(arg, "spl_hostid=")
	return is && value != ""
}

// initrdHostID compares what a root and its initrd have. Where a root has none,
// dracut gives the initrd what hostid(1) says. What modprobe gives the module in
// the initrd stays; what it would in the root comes too late.
func initrdHostID(root systemID, inside *boot.Initrd) error {
	switch {
	case inside == nil, inside.Modprobe.HostID() != 0, root.param != 0 && inside.Unread:
		return nil
	case root.file == nil, bytes.Equal(root.file, inside.HostID):
		return nil
	case inside.HostID == nil && inside.Unread:
		return nil // it may be where nobody here can look
	case inside.HostID == nil:
		return errors.New("its initrd has no /etc/hostid, and its root has: the pool would be another host's; make the initrd again in it (update-initramfs -u)")
	}
	return errors.New("/etc/hostid in its initrd is not that in its root, and the pool would be another host's; make the initrd again in it (update-initramfs -u)")
}

// importsAs is the hostid with which the pool is imported in an initrd that
// initrdHostID found nothing wrong with; nil if there is none, or nobody knows.
func importsAs(root systemID, inside *boot.Initrd) []byte {
	switch {
	case inside == nil:
		return nil
	case inside.Modprobe.HostID() != 0:
		return systemID{param: inside.Modprobe.HostID()}.id()
	case root.param != 0 && inside.Unread:
		return root.id()
	case root.file == nil:
		return inside.HostID
	}
	return root.file
}

// poolHostID compares what a boot environment has with the pool. A pool that has
// none is anybody's.
func poolHostID(id []byte, pool uint32) error {
	if is := binary.NativeEndian.Uint32(id); pool != 0 && is != pool {
		return fmt.Errorf("its hostid is %08x and the pool is the host %08x's: its initramfs would not import it; write that one (zgenhostid -f %08[2]x) and make the initrd again (update-initramfs -u), here and in it", is, pool)
	}
	return nil
}
