package btrfs

import (
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What openSUSE installs, and what snapper rolled back to, runs from one of
// snapper's snapshots. That one is adopted where it is; but new boot environments
// are made at the top level, where snapper cleans nothing up. Which subvolumes
// outside it are boot environments, the top level says itself: a mark alone could
// be a guest's, in a snapshot of its own.

// isTop says that the BE root is the top level.
func (s *Store) isTop() bool { return s.beroot.id == fsTreeID && s.beroot.inode == firstFree }

// outside are the subvolumes outside the BE root that are boot environments, by
// their paths from there: those that were adopted, and one of snapper's that runs.
func (s *Store) outside(woods *forest) ([]*subvolume, error) {
	if !s.isTop() {
		return nil, nil
	}
	noted, err := getAttr(s.beroot.fd(), outsideAttr)
	if err != nil {
		return nil, err
	}
	var found, list []*subvolume
	for _, uuid := range strings.Fields(noted) {
		found = append(found, woods.byUUID(uuid))
	}
	now := woods.byID[s.nowID]
	if !slices.Contains(found, now) {
		found = append(found, now)
	}
	for _, sv := range found {
		if sv == nil || sv.id == fsTreeID || sv.parent == s.beroot.id && sv.dir == s.beroot.inode {
			continue
		}
		at, err := s.dirPath(woods, sv.id, firstFree)
		if errors.Is(err, unix.ENOENT) { // deleted since the scan
			continue
		}
		if err != nil {
			return nil, err
		}
		if sv == now && snapperNumber(at) == "" && !slices.Contains(strings.Fields(noted), sv.uuid) {
			continue // of a store in another directory
		}
		here := *sv
		here.name = at
		list = append(list, &here)
	}
	return list, nil
}

// noteOutside has the BE root know a boot environment outside it, and forget those
// that are gone or are in it now.
func (s *Store) noteOutside(uuid string) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	list, err := s.outside(woods)
	if err != nil {
		return err
	}
	var uuids []string
	for _, sv := range list {
		if sv.uuid != uuid {
			uuids = append(uuids, sv.uuid)
		}
	}
	uuids = append(uuids, uuid)
	slices.Sort(uuids)
	return s.setAttr(s.beroot.fd(), outsideAttr, strings.Join(uuids, " "))
}

// holder opens the directory in which the entry of that name is, on no condition
// by a link, and returns its name there.
func (s *Store) holder(name string) (dir int, base string, err error) {
	parent, base := path.Split(name)
	dir, err = beneath(s.beroot.fd(), strings.Trim(parent, "/"))
	return dir, base, err
}

// move renames an entry. What it is called afterwards nothing else is.
func (s *Store) move(from, to string) error {
	return s.do(func() error { return s.renameEntry(from, to) }, "rename %s to %s", from, to)
}

func (s *Store) renameEntry(from, to string) error {
	fromDir, old, err := s.holder(from)
	if err != nil {
		return err
	}
	defer unix.Close(fromDir)
	toDir, name, err := s.holder(to)
	if err != nil {
		return err
	}
	defer unix.Close(toDir)
	return unix.Renameat2(fromDir, old, toDir, name, unix.RENAME_NOREPLACE)
}

// moveBack is move that undoes one, if there is something to undo.
func (s *Store) moveBack(from, to string) error {
	err := s.renameEntry(from, to)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
