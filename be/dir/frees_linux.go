package dir

import (
	"context"
	"errors"

	"beadm/be"
)

// Frees looks at each file of what would go and, where copies share their
// blocks, of all others in the store.
func (s *Store) Frees(ctx context.Context, names []string) (be.Frees, error) {
	entries, snaps, err := s.both()
	var doomed map[string]bool
	if err == nil {
		doomed, err = s.doomed(entries, snaps, names)
	}
	var frees be.Frees
	if err == nil {
		frees, err = s.weights().frees(ctx, doomed, s.everything(entries, snaps))
	}
	return frees, problem(err, "cannot see what destroying would free")
}

// Spaces weighs all that is in the store once.
func (s *Store) Spaces(ctx context.Context) (map[string]int64, error) {
	spaces := map[string]int64{}
	entries, snaps, err := s.both()
	if err != nil {
		return nil, err
	}
	w, all := s.weights(), s.everything(entries, snaps)
	for _, e := range entries {
		doomed, err := s.doomed(entries, snaps, []string{e.be})
		var frees be.Frees
		if err == nil {
			frees, err = w.frees(ctx, doomed, all)
		}
		if err != nil {
			return nil, problem(err, "cannot see what boot environment %s holds", e.be)
		}
		if !frees.AtLeast {
			spaces[e.be] = frees.Bytes
		}
	}
	return spaces, nil
}

func (s *Store) both() ([]entry, []snapshot, error) {
	entries, err := s.entries()
	snaps, snapErr := s.allSnapshots()
	return entries, snaps, errors.Join(err, snapErr)
}

// everything are the paths in the BE root of all that may share blocks.
func (s *Store) everything(entries []entry, snaps []snapshot) []string {
	paths := []string{stateVolume, shareVolume}
	for _, e := range entries {
		paths = append(paths, e.name)
	}
	for _, sn := range snaps {
		paths = append(paths, sn.path())
	}
	return paths
}

// doomed are the paths in the BE root that would go with boot environments and
// snapshots, all of them: with the snapshots of theirs, and with automatic ones
// that nothing else was cloned from.
func (s *Store) doomed(entries []entry, snaps []snapshot, names []string) (map[string]bool, error) {
	gone := map[string]bool{}
	for _, name := range names {
		of, snap, isSnap := be.SplitSnapshot(name)
		found := false
		for _, e := range entries {
			if e.be != of {
				continue
			}
			if !isSnap {
				found = true
				gone[e.name] = true
			}
			for _, sn := range snaps {
				if sn.owner == string(e.uuid) && (!isSnap || sn.name == snap && sn.whole && !e.partial) {
					found = true
					gone[sn.path()] = true
				}
			}
		}
		switch {
		case !found && isSnap:
			return nil, noSnapshot(of, snap)
		case !found:
			return nil, s.missing(name)
		}
	}
	needed, freed := map[string]bool{}, map[string]bool{} // origins, by GUID
	for _, e := range entries {
		guid, err := s.originOf(e)
		if err != nil {
			return nil, err
		}
		if gone[e.name] {
			freed[guid] = true
		} else {
			needed[guid] = true
		}
	}
	for _, sn := range snaps {
		if sn.whole && sn.auto && freed[sn.guid] && !needed[sn.guid] {
			gone[sn.path()] = true
		}
	}
	return gone, nil
}
