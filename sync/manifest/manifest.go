package manifest

import (
	"sort"
	"time"

	"beadm/be"
	"beadm/sync/synclist"
)

// Version is the format written; Load reads it and the one before.
const Version = 1

// Inline is up to which size the content of every file is stored.
const Inline = 1 << 20

// Manifest is the files on the list of one boot environment at one moment.
type Manifest struct {
	Version int           `json:"version"`
	BE      be.UUID       `json:"be"`
	Taken   time.Time     `json:"taken"`
	AsOf    time.Time     `json:"as_of,omitzero"` // a moment before the tree was as it is described
	Boot    string        `json:"boot,omitempty"` // in which that was
	List    synclist.List `json:"list"`           // in force there and then
	Note    string        `json:"note,omitempty"` // why List is not what the BE's file says
	Shared  []Text        `json:"shared"`         // on the list, but in the shared dataset
	Entries []*Entry      `json:"entries"`
	// Above are the directories above them that the list does not name, as they
	// were: what has to be made where they are not is made so.
	Above []*Entry `json:"above,omitempty"`

	index map[string]*Entry
	above map[string]*Entry
}

// Directory returns what the directory at path was, by the list or above what
// that names; nil if it is not known.
func (m *Manifest) Directory(path string) *Entry {
	if m == nil {
		return nil
	}
	e := m.index[path]
	if e == nil {
		e = m.above[path]
	}
	if e == nil || e.Type != Dir {
		return nil
	}
	return e
}

// Get returns the entry of a path, nil if it was not there.
func (m *Manifest) Get(path string) *Entry {
	if m == nil {
		return nil
	}
	return m.index[path]
}

// Covers says whether the manifest would hold the path if it had been there.
func (m *Manifest) Covers(path string) bool {
	if m == nil {
		return false
	}
	_, ok := m.List.Match(path)
	return ok
}

// With returns a copy in which the paths of set are what set says, nil being
// absence.
func (m *Manifest) With(set map[string]*Entry) *Manifest {
	c := *m
	c.Entries = nil
	for _, e := range m.Entries {
		if _, replaced := set[string(e.Path)]; !replaced {
			c.Entries = append(c.Entries, e)
		}
	}
	for _, e := range set {
		if e != nil {
			// It may be another boot environment's: its inode says nothing.
			there := *e
			there.Ino, there.Ctime, there.Links = 0, time.Time{}, ""
			c.Entries = append(c.Entries, &there)
		}
	}
	c.reindex()
	return &c
}

func (m *Manifest) reindex() {
	sort.Slice(m.Entries, func(i, j int) bool { return m.Entries[i].Path < m.Entries[j].Path })
	m.index = make(map[string]*Entry, len(m.Entries))
	for _, e := range m.Entries {
		m.index[string(e.Path)] = e
	}
	m.above = make(map[string]*Entry, len(m.Above))
	for _, e := range m.Above {
		m.above[string(e.Path)] = e
	}
}
