package dir

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// snapshot is a copy of a boot environment or of a volume, made whole by the
// mark that it gets last.
type snapshot struct {
	owner, name string
	whole, auto bool // auto: Create made it
	guid        string
	created     time.Time
}

func (sn snapshot) path() string { return snapshotPath(sn.owner, sn.name) }

func snapshotPath(owner, name string) string { return snapshotsDir + "/" + owner + "/" + name }

func noSnapshot(name, snap string) error {
	return be.E(be.NotFound, "there is no snapshot %s@%s: see beadm list -s", name, snap)
}

// allSnapshots are those of all owners, unfinished ones too.
func (s *Store) allSnapshots() ([]snapshot, error) {
	owners, err := namesIn(s.fd(), snapshotsDir)
	if err != nil {
		return nil, problem(err, "cannot read the snapshots in %s", s.path)
	}
	var list []snapshot
	for _, owner := range owners {
		some, err := s.snapshotsOf(owner)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

// snapshotsOf are those of one owner, oldest first.
func (s *Store) snapshotsOf(owner string) ([]snapshot, error) {
	if owner == "" {
		return nil, nil
	}
	names, err := namesIn(s.fd(), snapshotsDir+"/"+owner)
	if err != nil {
		return nil, problem(err, "cannot read the snapshots in %s", s.path)
	}
	var list []snapshot
	for _, name := range names {
		sn := snapshot{owner: owner, name: name}
		fd, err := beneath(s.fd(), sn.path())
		if errors.Is(err, unix.ENOENT) {
			continue // gone since
		}
		if err != nil {
			return nil, problem(err, "cannot look at snapshot %s", name)
		}
		text, err := attr(fd, snapshotAttr)
		unix.Close(fd)
		if err != nil {
			return nil, problem(err, "cannot look at snapshot %s", name)
		}
		if f := strings.Fields(text); len(f) >= 2 {
			sn.whole, sn.guid, sn.auto = true, f[0], len(f) > 2 && f[2] == "auto"
			sn.created, _ = time.Parse(time.RFC3339Nano, f[1])
		}
		list = append(list, sn)
	}
	slices.SortStableFunc(list, func(a, b snapshot) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.name, b.name))
	})
	return list, nil
}

// openSnapshot opens a whole one, and says what its GUID is.
func (s *Store) openSnapshot(owner, name, snap string) (*os.File, string, error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return nil, "", err
	}
	list, err := s.snapshotsOf(owner)
	if err != nil {
		return nil, "", err
	}
	for _, sn := range list {
		if sn.name == snap && sn.whole {
			f, err := s.openEntry(sn.path())
			return f, sn.guid, err
		}
	}
	return nil, "", noSnapshot(name, snap)
}

// Snapshot makes a copy.
func (s *Store) Snapshot(ctx context.Context, name, snap string) (be.Snapshot, error) {
	e, err := s.findOwned(name)
	if err == nil {
		err = s.snapshotOf(ctx, e, snap, false)
	}
	if err != nil {
		return be.Snapshot{}, problem(err, "cannot make snapshot %s@%s", name, snap)
	}
	return s.oneOf(string(e.uuid), name, snap)
}

func (s *Store) oneOf(owner, name, snap string) (be.Snapshot, error) {
	list, err := s.wholeOnes(owner, name)
	for _, sn := range list {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return be.Snapshot{}, cmp.Or(err, noSnapshot(name, snap))
}

func (s *Store) snapshotOf(ctx context.Context, e entry, snap string, auto bool) error {
	src, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer src.Close()
	live, err := s.inUse(e)
	if err != nil {
		return err
	}
	return s.makeSnapshot(ctx, src, string(e.uuid), e.be, snap, live, auto)
}

// makeSnapshot copies an open directory. One that is cut off has no mark, and is
// swept by the next.
func (s *Store) makeSnapshot(ctx context.Context, src *os.File, owner, what, snap string, live, auto bool) (err error) {
	if err := be.CheckSnapshotName(snap); err != nil {
		return err
	}
	list, err := s.snapshotsOf(owner)
	if err != nil {
		return err
	}
	for _, sn := range list {
		if !sn.whole {
			if err := s.removeTree(sn.path()); err != nil {
				return err
			}
		} else if sn.name == snap {
			return be.E(be.InUse, "it exists already; choose another name")
		}
	}
	// Only root may enter: setuid programs of years ago are in there.
	for _, dir := range []string{snapshotsDir, snapshotsDir + "/" + owner} {
		fd, err := beneath(s.fd(), dir)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := s.mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	path := snapshotPath(owner, snap)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.destroySnapshot(owner, snap))
		}
	}()
	if err := s.copyTo(ctx, src, what, path, live); err != nil {
		return err
	}
	dir, err := s.openEntry(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// The copy is on the disk before the mark says that it is whole.
	if err := s.sync(); err != nil {
		return err
	}
	mark := string(be.NewUUID()) + " " + now()
	if auto {
		mark += " auto"
	}
	if err := s.setAttr(int(dir.Fd()), snapshotAttr, mark); err != nil {
		return err
	}
	return s.sync()
}

// Snapshots lists the whole ones, oldest first.
func (s *Store) Snapshots(ctx context.Context, name string) ([]be.Snapshot, error) {
	e, err := s.find(name)
	if err != nil {
		return nil, problem(err, "cannot list the snapshots of boot environment %s", name)
	}
	list, err := s.wholeOnes(string(e.uuid), name)
	for i := range list {
		list[i].Space = be.SpaceUnknown
	}
	return list, err
}

func (s *Store) wholeOnes(owner, name string) ([]be.Snapshot, error) {
	all, err := s.snapshotsOf(owner)
	if err != nil {
		return nil, err
	}
	var list []be.Snapshot
	for _, sn := range all {
		if sn.whole {
			list = append(list, be.Snapshot{BE: name, Name: sn.name, GUID: sn.guid, Created: sn.created})
		}
	}
	return list, nil
}

// DestroySnapshot deletes a snapshot. Nothing depends on it: clones keep what
// they share.
func (s *Store) DestroySnapshot(ctx context.Context, name, snap string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.dropSnapshot(string(e.uuid), name, snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", name, snap)
}

func (s *Store) dropSnapshot(owner, name, snap string) error {
	f, _, err := s.openSnapshot(owner, name, snap)
	if err != nil {
		return err
	}
	f.Close()
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if err := s.free(table, snapshotPath(owner, snap)); err != nil {
		return err
	}
	return s.destroySnapshot(owner, snap)
}

// destroySnapshot deletes one that nobody has mounted; one that is not there is
// fine. Without its mark it counts for nothing from the start.
func (s *Store) destroySnapshot(owner, snap string) error {
	fd, err := beneath(s.fd(), snapshotPath(owner, snap))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := attr(fd, snapshotAttr)
	if err == nil && text != "" {
		if err = s.setAttr(fd, snapshotAttr, ""); err == nil {
			err = s.sync()
		}
	}
	unix.Close(fd)
	if err != nil {
		return err
	}
	return s.removeTree(snapshotPath(owner, snap))
}

// dropOwner removes an owner's directory, which must be empty.
func (s *Store) dropOwner(owner string) error {
	path := snapshotsDir + "/" + owner
	fd, err := beneath(s.fd(), path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	unix.Close(fd)
	return s.do(func() error { return unix.Unlinkat(s.fd(), path, unix.AT_REMOVEDIR) }, "remove directory %s", path)
}

// origins are the names of all snapshots of boot environments, by GUID.
func (s *Store) origins(entries []entry) (map[string]string, error) {
	names := map[string]string{}
	for _, e := range entries {
		list, err := s.snapshotsOf(string(e.uuid))
		if err != nil {
			return nil, err
		}
		for _, sn := range list {
			if sn.whole {
				names[sn.guid] = e.be + "@" + sn.name
			}
		}
	}
	return names, nil
}

func (s *Store) originOf(e entry) (string, error) {
	fd, err := beneath(s.fd(), e.name)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return attr(fd, originAttr)
}

// autoOrigin is the automatic snapshot that a boot environment was cloned from,
// if nothing else was.
func (s *Store) autoOrigin(e entry, entries []entry, snaps []snapshot) (*snapshot, error) {
	guid, err := s.originOf(e)
	if err != nil || guid == "" {
		return nil, err
	}
	for _, other := range entries {
		if other.inode == e.inode {
			continue
		}
		if its, err := s.originOf(other); err != nil || its == guid {
			return nil, err
		}
	}
	for _, sn := range snaps {
		if sn.auto && sn.guid == guid {
			return &sn, nil
		}
	}
	return nil, nil
}

// sweepAuto deletes automatic snapshots that no clone came of: those of a Create
// or a Destroy that was cut off.
func (s *Store) sweepAuto(ctx context.Context, entries []entry) error {
	used := map[string]bool{}
	for _, e := range entries {
		guid, err := s.originOf(e)
		if err != nil {
			return err
		}
		used[guid] = true
	}
	for _, e := range entries {
		list, err := s.snapshotsOf(string(e.uuid))
		if err != nil {
			return err
		}
		for _, sn := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if sn.whole && sn.auto && !used[sn.guid] {
				if err := s.destroySnapshot(sn.owner, sn.name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
