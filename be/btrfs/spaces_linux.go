package btrfs

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// census is who refers to what: of each extent and each leaf, how large it is
// and in which of the sets all are that refer to it.
type census struct {
	extents map[uint64]tally
	leaves  map[leaf]tally
	full    fill
	sets    [][]uint64 // of subvolumes, sorted; the first is empty
	grown   map[growth]int
}

type tally struct {
	bytes uint64
	set   int
}

type growth struct {
	set int
	id  uint64
}

// with is the set that set becomes with one more.
func (c *census) with(set int, id uint64) int {
	if slices.Contains(c.sets[set], id) {
		return set
	}
	if known, ok := c.grown[growth{set, id}]; ok {
		return known
	}
	all := append(slices.Clone(c.sets[set]), id)
	slices.Sort(all)
	// Subvolumes are counted one after another and always in the same order, so
	// there is one way only to each set.
	c.sets = append(c.sets, all)
	c.grown[growth{set, id}] = len(c.sets) - 1
	return len(c.sets) - 1
}

func (c *census) extent(at, bytes, id uint64) {
	c.extents[at] = tally{bytes, c.with(c.extents[at].set, id)}
}

func (c *census) leaf(at leaf, bytes, id uint64) {
	c.full.items += bytes
	c.leaves[at] = tally{bytes, c.with(c.leaves[at].set, id)}
}

// Spaces reads the tree of every subvolume of the boot environments, and of
// those that are related to them, once.
func (s *Store) Spaces(ctx context.Context) (map[string]int64, error) {
	spaces, err := s.spaces(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return spaces, nil
	}
	return spaces, problem(err, "cannot measure the boot environments in %s", s.Location())
}

func (s *Store) spaces(ctx context.Context) (map[string]int64, error) {
	woods, err := s.scan()
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(woods)
	if err != nil {
		return nil, err
	}
	type doomed struct {
		name    string
		gone    map[uint64]bool
		extents map[uint64]uint64
		items   uint64
	}
	var list []*doomed
	all := map[uint64]bool{}
	for _, e := range entries {
		gone, err := s.doomed(woods, []string{e.be})
		if err != nil {
			return nil, err
		}
		list = append(list, &doomed{name: e.be, gone: gone, extents: map[uint64]uint64{}})
		for id := range gone {
			all[id] = true
		}
	}
	family := woods.families()
	c := &census{extents: map[uint64]tally{}, leaves: map[leaf]tally{}, sets: [][]uint64{nil}, grown: map[growth]int{}}
	read := s.related(woods, family, all)
	for id := range all {
		read = append(read, woods.byID[id])
	}
	for _, sv := range read {
		c.full.blocks += sv.used
		err := s.walk(ctx, sv, family[sv.id],
			func(at, bytes uint64) { c.extent(at, bytes, sv.id) },
			func(at leaf, bytes uint64) { c.leaf(at, bytes, sv.id) })
		if err != nil {
			return nil, err
		}
	}
	// whose says of a set which boot environments hold all of it.
	whose := make([][]*doomed, len(c.sets))
	for i, set := range c.sets {
		for _, d := range list {
			if !slices.ContainsFunc(set, func(id uint64) bool { return !d.gone[id] }) {
				whose[i] = append(whose[i], d)
			}
		}
	}
	for at, t := range c.extents {
		for _, d := range whose[t.set] {
			d.extents[at] = t.bytes
		}
	}
	for _, t := range c.leaves {
		for _, d := range whose[t.set] {
			d.items += t.bytes
		}
	}
	// The quickest first: time may be short.
	slices.SortFunc(list, func(a, b *doomed) int { return cmp.Compare(len(a.extents), len(b.extents)) })
	spaces := map[string]int64{}
	for _, d := range list {
		data, err := s.alone(ctx, d.extents, func(root uint64) bool { return d.gone[root] || woods.byID[root] == nil })
		if err != nil {
			return spaces, err
		}
		if !data.AtLeast {
			spaces[d.name] = data.Bytes + c.full.of(d.items)
		}
	}
	return spaces, nil
}

// snapshotSpace is what quotas say that a snapshot holds with what is nested in
// it; without them nothing cheap knows, and it is 0.
func (s *Store) snapshotSpace(woods *forest, held map[uint64]int64, sv *subvolume) (bytes int64) {
	for _, part := range woods.nested(sv) {
		bytes += held[part.id]
	}
	return bytes
}
