package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// entry is a boot environment found on disk.
type entry struct {
	*subvolume
	be      string // its name
	uuid    be.UUID
	open    bool // it is read-only, and writable for now
	partial bool
}

// staysReadOnly says that it is read-only but for the time that something of
// beadm's is written to it.
func (e entry) staysReadOnly() bool { return e.readOnly || e.open }

// scan reads all subvolumes of the file system.
func (s *Store) scan() (*forest, error) {
	items, err := search(s.fd(), rootTreeID, fsTreeID, lastFree)
	if err != nil {
		return nil, problem(err, "cannot read the subvolumes of file system %s", s.fsid)
	}
	return plant(items)
}

// dirPath is the path of a directory from the top level.
func (s *Store) dirPath(woods *forest, subvol, inode uint64) (string, error) {
	path := ""
	for {
		part, err := inodePath(s.fd(), subvol, inode)
		if err != nil {
			return "", err
		}
		path = strings.Trim(part+"/"+path, "/")
		if subvol == fsTreeID {
			return path, nil
		}
		sv := woods.byID[subvol]
		if sv == nil {
			return "", fmt.Errorf("subvolume %d is gone", subvol)
		}
		path = strings.Trim(sv.name+"/"+path, "/")
		subvol, inode = sv.parent, sv.dir
	}
}

// entries finds the boot environments in the BE root, in no order. One that was
// deleted since the scan is none.
func (s *Store) entries(woods *forest) ([]entry, error) {
	var list, adopted []entry
	for _, sv := range woods.held(s.beroot.id, s.beroot.inode) {
		switch name, is := strings.CutPrefix(sv.name, bePrefix); {
		case is:
			if be.CheckName(name) != nil {
				continue
			}
			uuid, open, err := s.marksOf(sv)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, err
			}
			list = append(list, entry{subvolume: sv, be: name, uuid: uuid, open: open})
		case strings.HasPrefix(sv.name, partialPrefix):
			name := strings.TrimPrefix(sv.name, partialPrefix)
			if be.CheckName(name) != nil {
				continue
			}
			uuid, open, err := s.marksOf(sv)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, err
			}
			list = append(list, entry{subvolume: sv, be: name, uuid: uuid, open: open, partial: true})
		case sv.name == stateVolume || sv.name == shareVolume:
		default:
			uuid, open, err := s.marksOf(sv)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if uuid != "" || sv.id == s.nowID {
				adopted = append(adopted, entry{subvolume: sv, be: shownName(sv.name), uuid: uuid, open: open})
			}
		}
	}
	outside, err := s.outside(woods)
	if err != nil {
		return nil, problem(err, "cannot see which boot environments are outside %s", s.Location())
	}
	for _, sv := range outside {
		uuid, open, err := s.marksOf(sv)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if uuid != "" || sv.id == s.nowID {
			adopted = append(adopted, entry{subvolume: sv, be: outsideName(sv.name), uuid: uuid, open: open})
		}
	}
	for _, e := range adopted {
		for taken(list, e.be) {
			e.be += ".orig"
		}
		list = append(list, e)
	}
	return list, nil
}

func taken(list []entry, name string) bool {
	for _, e := range list {
		if e.be == name {
			return true
		}
	}
	return false
}

// find finds a whole boot environment by name.
func (s *Store) find(name string) (entry, error) {
	woods, err := s.scan()
	if err != nil {
		return entry{}, err
	}
	return s.findIn(woods, name)
}

func (s *Store) findIn(woods *forest, name string) (entry, error) {
	list, err := s.entries(woods)
	if err != nil {
		return entry{}, err
	}
	partial := false
	for _, e := range list {
		if e.be == name && !e.partial {
			return e, nil
		}
		partial = partial || e.be == name
	}
	if partial {
		return entry{}, be.E(be.InUse, "boot environment %s is incomplete: an operation on it did not finish; destroy it", name)
	}
	return entry{}, be.E(be.NotFound, "there is no boot environment %s in %s: see beadm list", name, s.Location())
}

// openEntry opens the root directory of a subvolume in the BE root, or of one
// outside by its path.
func (s *Store) openEntry(name string) (int, error) {
	return beneath(s.beroot.fd(), name)
}

// marksOf reads the UUID of a boot environment, empty if the mark is not there
// or was copied from another subvolume, and whether it is read-only but open.
// The error is ENOENT if it was deleted since the scan.
func (s *Store) marksOf(sv *subvolume) (uuid be.UUID, open bool, err error) {
	fd, err := s.openEntry(sv.name)
	if err != nil {
		return "", false, fmt.Errorf("cannot open subvolume %s: %w", s.beroot.join(sv.name), err)
	}
	defer unix.Close(fd)
	mark, err := getAttr(fd, markAttr)
	if err != nil {
		return "", false, err
	}
	opened, err := getAttr(fd, openAttr)
	if err != nil {
		return "", false, err
	}
	open = opened == sv.uuid && !sv.readOnly
	own, text, _ := strings.Cut(mark, " ")
	if own != sv.uuid || own == "" {
		return "", open, nil
	}
	if uuid, err = be.ParseUUID(text); err != nil {
		return "", open, nil
	}
	return uuid, open, nil
}

// getAttr is empty where the attribute is not there.
func getAttr(fd int, attr string) (string, error) {
	b := make([]byte, 64<<10)
	n, err := unix.Fgetxattr(fd, attr, b)
	if errors.Is(err, unix.ENODATA) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", attr, err)
	}
	return string(b[:n]), nil
}

// list describes the boot environments. What they hold takes Spaces to say.
func (s *Store) list() ([]be.BE, *forest, error) {
	woods, err := s.scan()
	if err != nil {
		return nil, nil, err
	}
	entries, err := s.entries(woods)
	if err != nil {
		return nil, nil, err
	}
	table, err := mounttable.Read()
	if err != nil {
		return nil, nil, err
	}
	var list []be.BE
	for _, e := range entries {
		b, err := s.describe(woods, e, table)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, b)
	}
	sort.Slice(list, func(i, j int) bool {
		if !list[i].Created.Equal(list[j].Created) {
			return list[i].Created.Before(list[j].Created)
		}
		return list[i].Name < list[j].Name
	})
	return list, woods, nil
}

// errGone: it was deleted since the scan.
var errGone = errors.New("it is gone")

func (s *Store) describe(woods *forest, e entry, table mounttable.Table) (be.BE, error) {
	b := be.BE{
		Name: e.be, UUID: e.uuid, Policy: "static", Space: be.SpaceUnknown,
		Location: "/" + s.beroot.join(e.name), Created: e.created,
		Running: e.id == s.nowID, ReadOnly: e.staysReadOnly(), Incomplete: e.partial,
	}
	if b.Running {
		b.Mountpoint = s.cfg.Root
	} else if m := s.mountsOf(table, s.beroot.join(e.name)); len(m) > 0 {
		b.Mountpoint = m[0].Mountpoint
	}
	if origin := woods.byUUID(e.parentUUID); origin != nil {
		name, snap, err := s.snapshotName(woods, origin)
		if err != nil && !errors.Is(err, unix.ENOENT) { // the origin was deleted since
			return b, err
		}
		if name != "" {
			b.Origin = name + "@" + snap
		}
	}
	if e.uuid == "" { // its attributes are another one's
		return b, nil
	}
	fd, err := s.openEntry(e.name)
	if errors.Is(err, unix.ENOENT) {
		return b, errGone
	}
	if err != nil {
		return b, fmt.Errorf("cannot open boot environment %s: %w", e.be, err)
	}
	defer unix.Close(fd)
	if b.Description, err = getAttr(fd, descriptionAttr); err != nil {
		return b, err
	}
	policy, err := getAttr(fd, policyAttr)
	if policy != "" {
		b.Policy = policy
	}
	return b, err
}

// exclusive is the bytes that each subvolume holds alone, where quotas count.
func (s *Store) exclusive() (map[uint64]int64, error) {
	items, err := search(s.fd(), quotaTreeID, 0, 0)
	if err != nil {
		return nil, err
	}
	held := map[uint64]int64{}
	for _, it := range items {
		if it.kind == qgroupInfo && len(it.data) >= 32 && it.offset>>48 == 0 {
			held[it.offset] = int64(binary.LittleEndian.Uint64(it.data[24:]))
		}
	}
	return held, nil
}

// listed is the one of that name out of list.
func (s *Store) listed(name string) (be.BE, error) {
	list, _, err := s.list()
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range list {
		if b.Name == name {
			return b, nil
		}
	}
	return be.BE{}, be.E(be.NotFound, "there is no boot environment %s in %s: see beadm list", name, s.Location())
}

// stamp is a time as snapshots without a name of their own are called.
func stamp() string { return "beadm-" + time.Now().UTC().Format("2006-01-02-150405.000") }
