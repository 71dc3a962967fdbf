package btrfs

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

func snapshotProblem(err error, name, snap string) error {
	if errors.Is(err, unix.ENOENT) {
		return be.E(be.NotFound, "there is no snapshot %s@%s: see beadm list -s", name, snap)
	}
	return err
}

// Snapshot makes a read-only snapshot of the boot environment and of what is
// nested in it.
func (s *Store) Snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	e, err := s.find(name)
	if err == nil && e.uuid == "" {
		if err = s.adopt(e); err == nil {
			e, err = s.find(name)
		}
	}
	if err == nil {
		err = s.snapshot(ctx, e, snap, false)
	}
	if err != nil {
		return be.Snapshot{}, problem(err, "cannot make snapshot %s@%s", name, snap)
	}
	list, err := s.Snapshots(ctx, name)
	if err != nil {
		return be.Snapshot{}, err
	}
	for _, sn := range list {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return be.Snapshot{}, fmt.Errorf("cannot make snapshot %s@%s: it is gone", name, snap)
}

func (s *Store) snapshot(ctx context.Context, e entry, snap string, auto bool) error {
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	text, _, err := fstab(fd)
	if err != nil {
		return fmt.Errorf("reading the fstab of %s: %w", e.be, err)
	}
	mounted := fstabMounts(text)
	keep := func(path string) bool { return belongs(path, mounted) }
	return s.snapshotTree(ctx, fd, s.beroot, string(e.uuid), snap, auto, keep)
}

// snapshotTree makes a snapshot in the directory of an owner: the UUID of a
// boot environment or the name of a volume. It is writable and without its
// mark until it is whole, so that one cut off is seen, and swept by the next.
func (s *Store) snapshotTree(ctx context.Context, src int, in base, owner, snap string, auto bool, keep func(string) bool) (err error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return err
	}
	all, err := s.subdir(in.fd(), snapshotsDir)
	if err != nil {
		return err
	}
	defer unix.Close(all)
	dir, err := s.subdir(all, owner)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := s.sweepUnfinished(in, owner, dir); err != nil {
		return err
	}
	if fd, err := beneath(dir, snap); err == nil {
		unix.Close(fd)
		return be.E(be.InUse, "it exists already; choose another name")
	}
	defer func() {
		if err == nil {
			return
		}
		if undo := s.deleteTree(dir, snap); undo != nil {
			err = errors.Join(err, undo)
		}
	}()
	if err := s.copyTree(ctx, src, dir, snap, "", keep); err != nil {
		return err
	}
	return s.seal(dir, snap, auto)
}

// seal makes a snapshot and what is nested in it read-only, itself last.
func (s *Store) seal(dir int, snap string, auto bool) error {
	fd, err := beneath(dir, snap)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	id, err := subvolumeID(fd)
	if err != nil {
		return err
	}
	woods, err := s.scan()
	if err != nil {
		return err
	}
	if err := s.sealNested(woods, fd, id); err != nil {
		return err
	}
	mark := woods.byID[id].uuid
	if auto {
		mark += " auto"
	}
	// What is nested is committed before the mark says that it is.
	if err := s.sync(); err != nil {
		return err
	}
	if err := s.setAttr(fd, snapshotAttr, mark); err != nil {
		return err
	}
	return s.do(func() error { return setReadOnly(fd, true) }, "make snapshot %s read-only", snap)
}

func (s *Store) sealNested(woods *forest, fd int, id uint64) error {
	for _, child := range woods.children[id] {
		path, err := inodePath(s.fd(), id, child.dir)
		if err != nil {
			return err
		}
		inner, err := beneath(fd, join(path, child.name))
		if err != nil {
			return err
		}
		err = s.sealNested(woods, inner, child.id)
		if err == nil {
			err = s.do(func() error { return setReadOnly(inner, true) }, "make %s read-only", child.name)
		}
		unix.Close(inner)
		if err != nil {
			return err
		}
	}
	return nil
}

// subdir opens a directory that only root may enter, and makes it if it is
// not there: setuid programs of years ago are in the snapshots below.
func (s *Store) subdir(dir int, name string) (int, error) {
	fd, err := beneath(dir, name)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	err = s.do(func() error { return unix.Mkdirat(dir, name, 0o700) }, "make directory %s", name)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return beneath(dir, name)
}

// snapshotMark reads what makes a subvolume a whole snapshot of ours.
func snapshotMark(fd int, sv *subvolume) (whole, auto bool, err error) {
	mark, err := getAttr(fd, snapshotAttr)
	if err != nil {
		return false, false, err
	}
	own, rest, _ := strings.Cut(mark, " ")
	whole = own != "" && own == sv.uuid
	return whole, whole && rest == "auto", nil
}

// sweepUnfinished deletes what snapshots that were cut off left in the
// directory of an owner: nothing lists them, and they would hold space for ever.
func (s *Store) sweepUnfinished(in base, owner string, dir int) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	for _, sv := range heldBy(woods, in, owner) {
		fd, err := beneath(dir, sv.name)
		if err != nil {
			return err
		}
		whole, _, err := snapshotMark(fd, sv)
		unix.Close(fd)
		if err != nil {
			return err
		}
		if !whole {
			if err := s.deleteTree(dir, sv.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// heldBy lists the subvolumes in the snapshot directory of an owner.
func heldBy(woods *forest, in base, owner string) []*subvolume {
	if owner == "" {
		return nil
	}
	fd, err := beneath(in.fd(), snapshotsDir+"/"+owner)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return nil
	}
	list := woods.held(in.id, st.Ino)
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// snapshotsOf are the snapshots of a boot environment, unfinished ones too.
func (s *Store) snapshotsOf(woods *forest, uuid be.UUID) []*subvolume {
	return heldBy(woods, s.beroot, string(uuid))
}

func snapshotPath(owner, snap string) string {
	return snapshotsDir + "/" + owner + "/" + snap
}

func openSnapshot(in base, owner, snap string) (int, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return -1, err
	}
	return beneath(in.fd(), snapshotPath(owner, snap))
}

// Snapshots lists the whole ones, oldest first.
func (s *Store) Snapshots(ctx context.Context, name string) ([]be.Snapshot, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, problem(err, "cannot list the snapshots of boot environment %s", name)
	}
	list, err := s.wholeOnes(s.beroot, string(e.uuid), name)
	for i := range list {
		if list[i].Space == 0 { // not even quotas know
			list[i].Space = be.SpaceUnknown
		}
	}
	return list, problem(err, "cannot list the snapshots of boot environment %s", name)
}

func (s *Store) wholeOnes(in base, owner, name string) ([]be.Snapshot, error) {
	woods, err := s.scan()
	if err != nil {
		return nil, err
	}
	held, err := s.exclusive()
	if err != nil {
		return nil, err
	}
	var list []be.Snapshot
	for _, sv := range heldBy(woods, in, owner) {
		fd, err := openSnapshot(in, owner, sv.name)
		if err != nil {
			return nil, err
		}
		whole, _, err := snapshotMark(fd, sv)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		if whole {
			list = append(list, be.Snapshot{BE: name, Name: sv.name, GUID: sv.uuid, Created: sv.created, Space: s.snapshotSpace(woods, held, sv)})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Created.Before(list[j].Created) })
	return list, nil
}

// DestroySnapshot deletes a snapshot and what is nested in it. Nothing of
// btrfs depends on it: clones keep what they share.
func (s *Store) DestroySnapshot(ctx context.Context, name, snap string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.existing(s.beroot, string(e.uuid), name, snap)
	}
	if err == nil {
		err = s.destroySnapshot(s.beroot, string(e.uuid), snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", name, snap)
}

func (s *Store) existing(in base, owner, name, snap string) error {
	if err := be.CheckSnapshotName(snap); err != nil {
		return err
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if err := s.notMounted(table, in.join(snapshotPath(owner, snap))); err != nil {
		return err
	}
	fd, err := openSnapshot(in, owner, snap)
	if owner == "" {
		err = unix.ENOENT
	}
	if err != nil {
		return snapshotProblem(err, name, snap)
	}
	return unix.Close(fd)
}

// destroySnapshot deletes a snapshot that nobody has mounted; one that is not
// there is fine.
func (s *Store) destroySnapshot(in base, owner, snap string) error {
	dir, err := beneath(in.fd(), snapshotsDir+"/"+owner)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := beneath(dir, snap)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Without its mark it counts for nothing, and what is nested in it can go
	// one by one. The next snapshot, or the destroying of its owner, takes
	// away what a power cut leaves.
	err = s.do(func() error { return setReadOnly(fd, false) }, "make snapshot %s writable", snap)
	if err == nil {
		err = s.setAttr(fd, snapshotAttr, "")
	}
	if errors.Is(err, unix.ENOSPC) {
		// As with boot environments: it still deletes what goes in one step.
		if id, e := subvolumeID(fd); e == nil && !s.hasChildren(id) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return s.deleteTree(dir, snap)
}

// dropSnapshotDir removes an owner's directory, which must be empty.
func (s *Store) dropSnapshotDir(in base, owner string) error {
	err := s.do(func() error {
		return unix.Unlinkat(in.fd(), snapshotsDir+"/"+owner, unix.AT_REMOVEDIR)
	}, "remove directory %s/%s", snapshotsDir, owner)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// snapshotName says which snapshot of which boot environment a subvolume is;
// empty if it is none.
func (s *Store) snapshotName(woods *forest, sv *subvolume) (name, snap string, err error) {
	if sv.parent != s.beroot.id {
		return "", "", nil
	}
	path, err := s.dirPath(woods, sv.parent, sv.dir)
	if err != nil {
		return "", "", err
	}
	owner, is := strings.CutPrefix(path, s.beroot.join(snapshotsDir)+"/")
	if !is {
		return "", "", nil
	}
	entries, err := s.entries(woods)
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		if string(e.uuid) == owner {
			return e.be, sv.name, nil
		}
	}
	return "", "", nil
}

// autoOrigin is the automatic snapshot that a boot environment was cloned
// from, if nothing else was, and it is nobody's but ours to remove.
func (s *Store) autoOrigin(woods *forest, e entry) (*subvolume, error) {
	origin := woods.byUUID(e.parentUUID)
	if origin == nil {
		return nil, nil
	}
	for _, sv := range woods.byID {
		if sv.parentUUID == origin.uuid && sv.id != e.id {
			return nil, nil
		}
	}
	auto, err := s.isAuto(woods, origin)
	if err != nil || !auto {
		return nil, err
	}
	return origin, nil
}

// isAuto reports whether a subvolume is a snapshot that Create made.
func (s *Store) isAuto(woods *forest, sv *subvolume) (bool, error) {
	path, err := s.dirPath(woods, sv.parent, sv.dir)
	if err != nil {
		return false, err
	}
	if !strings.HasPrefix(path, s.beroot.join(snapshotsDir)+"/") {
		return false, nil
	}
	fd, err := beneath(s.fd(), join(path, sv.name))
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	_, auto, err := snapshotMark(fd, sv)
	return auto, err
}

// sweepAuto deletes automatic snapshots that no clone came of: those of a
// Create or a Destroy that was cut off.
func (s *Store) sweepAuto(woods *forest) error {
	entries, err := s.entries(woods)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, sv := range s.snapshotsOf(woods, e.uuid) {
			auto, err := s.isAuto(woods, sv)
			if err != nil {
				return err
			}
			if auto && !woods.hasCopies(sv) {
				if err := s.destroySnapshot(s.beroot, string(e.uuid), sv.name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
