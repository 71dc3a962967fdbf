package dir

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"beadm/be"
	"beadm/be/mounttable"
)

// Destroy takes the proper name away first: from then on it is Incomplete, and
// a second Destroy finishes.
func (s *Store) Destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	report, err := s.destroy(ctx, name, dryRun)
	return report, problem(err, "cannot destroy boot environment %s", name)
}

func (s *Store) destroy(ctx context.Context, name string, dryRun bool) (report be.DestroyReport, err error) {
	report.AtLeast = true // see Frees
	entries, err := s.entries()
	if err != nil {
		return report, err
	}
	var mine []entry
	for _, e := range entries {
		if e.be == name {
			mine = append(mine, e)
		}
	}
	if len(mine) == 0 {
		return report, s.missing(name)
	}
	table, err := mounttable.Read()
	if err != nil {
		return report, err
	}
	snaps, err := s.allSnapshots()
	if err != nil {
		return report, err
	}
	for _, e := range mine {
		if err := s.mayGo(e, table); err != nil {
			return report, err
		}
	}
	doomed, err := s.doomed(entries, snaps, []string{name})
	if err != nil {
		return report, err
	}
	for path := range doomed {
		sn := slices.IndexFunc(snaps, func(sn snapshot) bool { return sn.path() == path })
		if sn < 0 {
			report.Removes = append(report.Removes, filepath.Join(s.path, path))
			continue
		}
		if err := s.free(table, path); err != nil {
			return report, err
		}
		if snaps[sn].whole {
			report.Removes = append(report.Removes, ownerName(entries, snaps[sn].owner)+"@"+snaps[sn].name)
		}
	}
	slices.Sort(report.Removes)
	if dryRun {
		return report, nil
	}
	// A partial one of the same name stands in the way of the first step.
	slices.SortStableFunc(mine, func(a, b entry) int {
		switch {
		case a.partial == b.partial:
			return 0
		case a.partial:
			return -1
		}
		return 1
	})
	for _, e := range mine {
		if err := s.remove(ctx, e); err != nil {
			return report, err
		}
	}
	return report, nil
}

func ownerName(entries []entry, uuid string) string {
	for _, e := range entries {
		if string(e.uuid) == uuid {
			return e.be
		}
	}
	return "?"
}

func (s *Store) remove(ctx context.Context, e entry) error {
	if !e.partial {
		partial := partialPrefix + e.be
		if err := s.move(e.name, partial); err != nil {
			return err
		}
		// Durable before anything of it goes: after a power cut it must not be
		// offered whole.
		if err := s.sync(); err != nil {
			return errors.Join(err, s.undoMove(partial, e.name))
		}
		e.name, e.partial = partial, true
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	snaps, err := s.allSnapshots()
	if err != nil {
		return err
	}
	origin, err := s.autoOrigin(e, entries, snaps)
	if err != nil {
		return err
	}
	for _, sn := range snaps {
		if sn.owner != string(e.uuid) || sn.owner == "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.destroySnapshot(sn.owner, sn.name); err != nil {
			return err
		}
	}
	if e.uuid != "" {
		if err := s.dropOwner(string(e.uuid)); err != nil {
			return err
		}
	}
	// The clone before its origin: the origin is found through the clone. One
	// that a power cut leaves behind is swept by the next Create.
	if err := s.removeTree(e.name); err != nil {
		return err
	}
	if origin != nil {
		if err := s.destroySnapshot(origin.owner, origin.name); err != nil {
			return err
		}
	}
	return s.sync()
}

// mayGo says why a boot environment cannot be destroyed.
func (s *Store) mayGo(e entry, table mounttable.Table) error {
	if e.inode == s.now {
		return be.E(be.InUse, "it is running")
	}
	if err := s.free(table, e.name); err != nil {
		return err
	}
	if pid := processIn(e.inode); pid != 0 {
		return be.E(be.InUse, "process %d has it as its root directory; stop that first", pid)
	}
	return nil
}

// free says where something of what is at path in the BE root is mounted, or
// something in it.
func (s *Store) free(table mounttable.Table, path string) error {
	if m := s.in.mountsWithin(table, path); len(m) > 0 {
		return be.E(be.InUse, "it is mounted at %s; unmount it first", m[0].Mountpoint)
	}
	if m := table.Below(filepath.Join(s.path, path)); len(m) > 0 {
		return be.E(be.InUse, "something is mounted in it, at %s; unmount that first", m[0].Mountpoint)
	}
	return nil
}
