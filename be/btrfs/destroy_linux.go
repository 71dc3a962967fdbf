package btrfs

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// Destroy takes the proper name away first: from then on it is Incomplete,
// and a second Destroy finishes.
func (s *Store) Destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	report, err := s.destroy(ctx, name, dryRun)
	if err != nil {
		return report, problem(err, "cannot destroy boot environment %s", name)
	}
	return report, nil
}

func (s *Store) destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	var report be.DestroyReport
	woods, err := s.scan()
	if err != nil {
		return report, err
	}
	entries, err := s.entries(woods)
	if err != nil {
		return report, err
	}
	table, err := mounttable.Read()
	if err != nil {
		return report, err
	}
	report.AtLeast = true
	found := false
	for _, e := range entries {
		if e.be != name {
			continue
		}
		found = true
		if err := s.mayGo(woods, e, table); err != nil {
			return report, err
		}
		report.Removes = append(report.Removes, "/"+s.beroot.join(e.name))
		for _, sv := range s.snapshotsOf(woods, e.uuid) {
			if err := s.notMounted(table, s.beroot.join(snapshotPath(string(e.uuid), sv.name))); err != nil {
				return report, err
			}
			report.Removes = append(report.Removes, name+"@"+sv.name)
		}
		origin, err := s.autoOrigin(woods, e)
		if err != nil {
			return report, err
		}
		if origin != nil {
			owner, snap, err := s.snapshotName(woods, origin)
			if err != nil {
				return report, err
			}
			if owner != name {
				report.Removes = append(report.Removes, owner+"@"+snap)
			}
		}
	}
	if !found {
		return report, be.E(be.NotFound, "there is no boot environment %s in %s: see beadm list", name, s.Location())
	}
	sort.Strings(report.Removes)
	if dryRun {
		return report, nil
	}
	// A partial one of the same name stands in the way of the first step.
	sort.Slice(entries, func(i, j int) bool { return entries[i].partial && !entries[j].partial })
	for _, e := range entries {
		if e.be == name {
			if err := s.remove(ctx, e); err != nil {
				return report, err
			}
		}
	}
	return report, nil
}

func (s *Store) remove(ctx context.Context, e entry) error {
	if !e.partial {
		partial := partialPrefix + e.be
		err := s.move(e.name, partial)
		switch {
		case err == nil:
			// Committed before anything of it goes: after a power cut it must
			// not be offered whole.
			if err := s.sync(); err != nil {
				return errors.Join(err, s.moveBack(partial, e.name))
			}
			e.name, e.partial = partial, true
		case errors.Is(err, unix.ENOSPC) && !s.hasChildren(e.id):
			// A file system full of metadata takes no new name, but it deletes,
			// out of its global reserve. That is one step: nothing is ever
			// half gone.
		default:
			return err
		}
	}
	woods, err := s.scan()
	if err != nil {
		return err
	}
	origin, err := s.autoOrigin(woods, e)
	if err != nil {
		return err
	}
	for _, sv := range s.snapshotsOf(woods, e.uuid) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.destroySnapshot(s.beroot, string(e.uuid), sv.name); err != nil {
			return err
		}
	}
	if e.uuid != "" {
		if err := s.dropSnapshotDir(s.beroot, string(e.uuid)); err != nil {
			return err
		}
	}
	// The clone before its origin: the origin is found through the clone.
	// One that a power cut leaves behind is swept by the next Create.
	dir, base, err := s.holder(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := s.deleteTree(dir, base); err != nil {
		return err
	}
	if origin != nil {
		if woods, err = s.scan(); err != nil {
			return err
		}
		if woods.byID[origin.id] != nil {
			path, err := s.dirPath(woods, origin.parent, origin.dir)
			if err != nil {
				return err
			}
			fd, err := beneath(s.fd(), path)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := s.deleteTree(fd, origin.name); err != nil {
				return err
			}
		}
	}
	return s.sync()
}

func (s *Store) hasChildren(id uint64) bool {
	woods, err := s.scan()
	return err != nil || len(woods.children[id]) > 0
}

// mayGo says why a boot environment cannot be destroyed.
func (s *Store) mayGo(woods *forest, e entry, table mounttable.Table) error {
	if e.id == s.nowID {
		return be.E(be.InUse, "it is running")
	}
	if err := s.notMounted(table, s.beroot.join(e.name)); err != nil {
		return err
	}
	items, err := search(s.fd(), rootTreeID, rootDirID, rootDirID)
	if err != nil {
		return err
	}
	if defaultSubvolume(items) == e.id {
		return be.E(be.InUse, "it is the default subvolume of the file system; make another one that with btrfs subvolume set-default")
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	text, _, err := fstab(fd)
	if err != nil {
		return fmt.Errorf("reading its fstab: %w", err)
	}
	return s.checkNested(woods, e.id, "", fstabMounts(text))
}

// checkNested makes sure that no subvolume goes with the boot environment
// that is no part of it. An empty one is no loss.
func (s *Store) checkNested(woods *forest, id uint64, prefix string, mounted []string) error {
	for _, child := range woods.children[id] {
		dir, err := inodePath(s.fd(), id, child.dir)
		if err != nil {
			return err
		}
		path := join(prefix, join(dir, child.name))
		if !belongs(path, mounted) {
			empty, err := s.isEmpty(woods, child)
			if err != nil {
				return err
			}
			if !empty {
				return be.E(be.InUse, "subvolume %s inside it is no part of it; move it elsewhere or delete it first", path)
			}
		}
		if err := s.checkNested(woods, child.id, path, mounted); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) isEmpty(woods *forest, sv *subvolume) (bool, error) {
	path, err := s.dirPath(woods, sv.id, firstFree)
	if err != nil {
		return false, err
	}
	fd, err := beneath(s.fd(), path)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Getdents(fd, b)
	if err != nil {
		return false, err
	}
	_, _, names := unix.ParseDirent(b[:n], -1, nil)
	return len(names) == 0, nil
}

func (s *Store) notMounted(table mounttable.Table, path string) error {
	if m := s.mountsWithin(table, path); len(m) > 0 {
		return be.E(be.InUse, "it is mounted at %s; unmount it first", m[0].Mountpoint)
	}
	return nil
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "/" + b
}
