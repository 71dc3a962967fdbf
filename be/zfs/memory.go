package zfs

import (
	"maps"
	"slices"
)

// memory is what was read since the last change, by the dataset it was asked
// of: POOL/ROOT with all below it, or a volume, of which nothing that is asked
// changes while it is there. nil remembers nothing.
type memory struct {
	trees map[string]*tree
	apart bool // all of them at once was tried
}

// Remember starts with an empty memory, or ends it. It is for one goroutine.
func (s *Store) Remember(on bool) {
	s.memory = nil
	if on {
		s.memory = &memory{trees: map[string]*tree{}}
	}
}

// forget is for what a change may have made wrong: all that was read of top.
func (m *memory) forget(top string) {
	if m != nil {
		delete(m.trees, top)
	}
}

// tree is the remembered one of top, or what read says, which is remembered
// unless it is an error. Nobody changes it.
func (m *memory) tree(top string, read func() (*tree, error)) (*tree, error) {
	if m == nil {
		return read()
	}
	if t := m.trees[top]; t != nil {
		return t, nil
	}
	t, err := read()
	if err == nil {
		m.trees[top] = t
	}
	return t, err
}

// clone is one to change.
func (t *tree) clone() *tree {
	return &tree{by: maps.Clone(t.by), names: slices.Clone(t.names), boots: maps.Clone(t.boots), away: maps.Clone(t.away), why: maps.Clone(t.why)}
}

// below is a tree of its own with the datasets of these types that belong to
// top, snapshots among them.
func (t *tree) below(top string, types ...string) *tree {
	out := t.clone()
	out.names = nil
	maps.DeleteFunc(out.by, func(name string, d *dataset) bool {
		ds, _ := d.split()
		return !t.holds(top, ds) || !slices.Contains(types, d.value("type"))
	})
	for _, name := range t.names {
		if out.by[name] != nil {
			out.names = append(out.names, name)
		}
	}
	return out
}
