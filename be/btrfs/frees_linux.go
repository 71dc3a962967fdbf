package btrfs

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/refs"
)

// Frees reads the trees of what would go, takes away what related subvolumes
// refer to as well, and has the kernel say of every extent that is left who
// refers to it: that also finds copies by reflink, wherever they are. It counts
// extents as they are on the disk, compressed and whole, and metadata once, as
// quotas do, with or without them.
func (s *Store) Frees(ctx context.Context, names []string) (be.Frees, error) {
	frees, err := s.frees(ctx, names)
	return frees, problem(err, "cannot see what destroying would free")
}

func (s *Store) frees(ctx context.Context, names []string) (be.Frees, error) {
	unknown := be.Frees{AtLeast: true}
	woods, err := s.scan()
	if err != nil {
		return unknown, err
	}
	gone, err := s.doomed(woods, names)
	if err != nil {
		return unknown, err
	}
	// What is not written yet has no extent. A full file system may refuse.
	synced := unix.Syncfs(s.fd()) == nil
	family := woods.families()
	extents, leaves, full := map[uint64]uint64{}, map[leaf]uint64{}, fill{}
	for id := range gone {
		sv := woods.byID[id]
		full.blocks += sv.used
		err := s.walk(ctx, sv, family[id],
			func(at, bytes uint64) { extents[at] = bytes },
			func(at leaf, bytes uint64) { leaves[at] = bytes; full.items += bytes })
		if errors.Is(err, context.DeadlineExceeded) {
			return unknown, nil
		}
		if err != nil {
			return unknown, err
		}
	}
	known := true
	for _, sv := range s.related(woods, family, gone) {
		if len(extents) <= fewExtents && metadata(full, leaves) <= littleMetadata {
			break // to ask for these takes less
		}
		err := s.walk(ctx, sv, family[sv.id],
			func(at, _ uint64) { delete(extents, at) },
			func(at leaf, _ uint64) { delete(leaves, at) })
		if errors.Is(err, context.DeadlineExceeded) {
			known = false
			break
		}
		if err != nil {
			return unknown, err
		}
	}
	frees := be.Frees{AtLeast: !known || !synced}
	if known {
		frees.Bytes = metadata(full, leaves)
	}
	mine := func(root uint64) bool { return gone[root] || woods.byID[root] == nil }
	alone, err := s.alone(ctx, extents, mine)
	frees.Bytes += alone.Bytes
	frees.AtLeast = frees.AtLeast || alone.AtLeast
	return frees, err
}

// So few extents are asked for one by one, and so little metadata is taken for
// not shared, before more subvolumes are read to find out.
const (
	fewExtents     = 2000
	littleMetadata = 256 << 10
)

func metadata(full fill, leaves map[leaf]uint64) int64 {
	var items uint64
	for _, bytes := range leaves {
		items += bytes
	}
	return full.of(items)
}

// alone is how much of the extents only subvolumes refer to of which in says
// yes, the large ones first.
func (s *Store) alone(ctx context.Context, extents map[uint64]uint64, in func(root uint64) bool) (be.Frees, error) {
	type extent struct{ at, bytes uint64 }
	var list []extent
	for at, bytes := range extents {
		list = append(list, extent{at, bytes})
	}
	slices.SortFunc(list, func(a, b extent) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.at, b.at)) })
	var frees be.Frees
	of := new(refs.Owners)
	for _, e := range list {
		if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
			frees.AtLeast = true
			return frees, nil
		} else if err != nil {
			return frees, err
		}
		yes, known, err := of.Only(s.fd(), e.at, in)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return frees, err
		case yes && known:
			frees.Bytes += int64(e.bytes)
		case yes:
			frees.AtLeast = true
		}
	}
	return frees, nil
}

// doomed are the subvolumes that would go with boot environments and snapshots,
// all of them: with what is nested in them, and with automatic snapshots that
// nothing else was cloned from.
func (s *Store) doomed(woods *forest, names []string) (map[uint64]bool, error) {
	gone := map[uint64]bool{}
	entries, err := s.entries(woods)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		of, snap, isSnap := be.SplitSnapshot(name)
		found := false
		for _, e := range entries {
			if e.be != of {
				continue
			}
			for _, sv := range s.snapshotsOf(woods, e.uuid) {
				if !isSnap || sv.name == snap && !e.partial {
					found = true
					woods.mark(gone, sv)
				}
			}
			if !isSnap {
				found = true
				woods.mark(gone, e.subvolume)
			}
		}
		if !found {
			return nil, be.E(be.NotFound, "there is no %s in %s: see beadm list", name, s.Location())
		}
	}
	for _, e := range entries {
		if origin := woods.byUUID(e.parentUUID); origin != nil && gone[e.id] && !gone[origin.id] && woods.onlyFor(origin, gone) {
			auto, err := s.isAuto(woods, origin)
			if err != nil {
				return nil, err
			}
			if auto {
				woods.mark(gone, origin)
			}
		}
	}
	return gone, nil
}

// mark adds a subvolume and what is nested in it.
func (f *forest) mark(set map[uint64]bool, sv *subvolume) {
	for _, part := range f.nested(sv) {
		set[part.id] = true
	}
}

// onlyFor reports whether all that was cloned from a snapshot is in the set.
func (f *forest) onlyFor(origin *subvolume, set map[uint64]bool) bool {
	for _, sv := range f.byID {
		if sv.parentUUID == origin.uuid && !set[sv.id] {
			return false
		}
	}
	return true
}

// related are subvolumes that may share something with those that would go,
// those first that are likely to share most.
func (s *Store) related(woods *forest, family map[uint64]uint64, gone map[uint64]bool) []*subvolume {
	families, near := map[uint64]bool{}, map[string]bool{}
	orphan := false
	for id := range gone {
		sv := woods.byID[id]
		families[family[id]] = true
		near[sv.uuid], near[sv.parentUUID] = true, true
		orphan = orphan || lost(woods, sv)
	}
	distance := func(sv *subvolume) int {
		switch {
		case near[sv.uuid], near[sv.parentUUID] && sv.parentUUID != "":
			return 0
		case families[family[sv.id]]:
			return 1
		}
		return 2
	}
	var list []*subvolume
	for id, sv := range woods.byID {
		if !gone[id] && (families[family[id]] || orphan || lost(woods, sv)) {
			list = append(list, sv)
		}
	}
	slices.SortFunc(list, func(a, b *subvolume) int {
		return cmp.Or(cmp.Compare(distance(a), distance(b)), cmp.Compare(a.id, b.id))
	})
	return list
}

// lost reports whether what a subvolume is a snapshot of is gone: nobody knows
// any more whom it shares with.
func lost(woods *forest, sv *subvolume) bool {
	return sv.parentUUID != "" && woods.byUUID(sv.parentUUID) == nil
}
