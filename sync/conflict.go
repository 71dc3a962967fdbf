package reconcile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/account"
	"beadm/sync/manifest"
)

// OpenConflict is a file that a switch found changed on both sides and that
// nobody decided yet. The incoming side is in place.
type OpenConflict struct {
	Item
	From be.UUID   `json:"from,omitempty"` // the outgoing boot environment
	At   time.Time `json:"at,omitzero"`
	// What the outgoing side changed, and what it made of it; nil: absent.
	Base     *manifest.Entry `json:"base,omitempty"`
	NoBase   bool            `json:"no_base,omitempty"` // Base is not known
	Outgoing *manifest.Entry `json:"outgoing,omitempty"`
	// The directories above it there, for where they are not here.
	Above []*manifest.Entry `json:"above,omitempty"`
}

// Account says that the file is merged by record: only single records of it
// are in conflict.
func (c OpenConflict) Account() bool {
	_, ok := account.KindOf(string(c.Path))
	return ok
}

// stillOpen is an open conflict at a path whose next change began at what is
// here. Where fits is false that change is not in Outgoing.
type stillOpen struct {
	OpenConflict
	fits bool
}

// openThen is what is undecided once the plan is carried out: what was and what
// it leaves undecided, without what it brings in step.
func (p *planner) openThen() []OpenConflict {
	k := &known{Conflicts: slices.Clone(p.to.Conflicts)}
	k.Conflicts = slices.DeleteFunc(k.Conflicts, func(c OpenConflict) bool {
		m := p.moved[c.Path]
		if s, open := p.still[c.Path]; open && m != nil && !manifest.Same(m.After, s.Outgoing) {
			return false
		}
		return (m != nil || p.settled[c.Path]) && !c.Account()
	})
	for i, c := range k.Conflicts {
		if s, open := p.still[c.Path]; open {
			k.Conflicts[i] = s.OpenConflict
		}
	}
	for _, item := range (Report{Items: p.items}).Conflicts() {
		name := string(item.Path)
		c := OpenConflict{Item: item, From: p.sw.From, At: time.Now().UTC(),
			Base: p.base.Get(name), Outgoing: p.newest.Get(name), NoBase: !p.base.Covers(name)}
		if four, decided := p.carried[item.Path]; decided {
			c.Base, c.Outgoing, c.NoBase = four.Old, four.New, four.NoBase
		}
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if e := p.directory(dir); e != nil {
				c.Above = append(c.Above, e)
			}
		}
		if i := k.conflict(name); i >= 0 {
			k.Conflicts[i] = c
		} else {
			k.Conflicts = append(k.Conflicts, c)
		}
	}
	return k.Conflicts
}

func (k *known) conflict(path string) int {
	return slices.IndexFunc(k.Conflicts, func(c OpenConflict) bool { return string(c.Path) == path })
}

// Conflicts are those open in a boot environment, sorted by path.
func (a *Archive) Conflicts(uuid be.UUID) ([]OpenConflict, error) {
	x, err := a.load()
	if err != nil {
		return nil, err
	}
	list := slices.Clone(x.know(uuid).Conflicts)
	slices.SortFunc(list, func(a, b OpenConflict) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return list, nil
}

// Conflict is the one open at a path. It fails with NotFound if there is none.
func (a *Archive) Conflict(uuid be.UUID, path string) (OpenConflict, error) {
	x, err := a.load()
	if err != nil {
		return OpenConflict{}, err
	}
	k := x.know(uuid)
	i := k.conflict(path)
	if i < 0 {
		return OpenConflict{}, be.E(be.NotFound, "%s is not in conflict: beadm sync conflicts lists what is", rooted.Printable(path))
	}
	return k.Conflicts[i], nil
}

// Sides is the content of a conflict's three sides. Known is false of a side
// whose content was not kept; Entry is nil where the file is absent.
type Sides struct {
	Base, Outgoing, Incoming Side
}

// Side is one of them.
type Side struct {
	Entry *manifest.Entry
	Known bool
	Data  []byte // of a regular file
}

// maxShown bounds what is read of a side.
const maxShown = manifest.Inline

// Sides reads the sides of a conflict in the boot environment whose root is
// dir.
func (a *Archive) Sides(c OpenConflict, dir string) (Sides, error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return Sides{}, fmt.Errorf("cannot read %s: %w", rooted.Printable(string(c.Path)), err)
	}
	defer root.Close()
	var s Sides
	t := manifest.Taker{Store: a.store, Shared: a.Shared, Most: a.Most}
	if s.Incoming.Entry, err = t.Entry(root, string(c.Path)); err != nil {
		return Sides{}, fmt.Errorf("cannot read %s: %w", rooted.Printable(string(c.Path)), err)
	}
	s.Incoming.Known = true
	if e := s.Incoming.Entry; e != nil && e.Type == manifest.File {
		s.Incoming.Data, err = root.ReadFileLimit(string(c.Path), maxShown)
		s.Incoming.Known = err == nil
	}
	s.Base.Entry, s.Outgoing.Entry = c.Base, c.Outgoing
	for _, side := range []*Side{&s.Base, &s.Outgoing} {
		switch e := side.Entry; {
		case e == nil:
			side.Known = side == &s.Outgoing
		case e.Type != manifest.File:
			side.Known = true
		case e.Stored && e.Size <= maxShown:
			side.Data, err = a.store.Read(e.Hash)
			side.Known = err == nil
		}
	}
	return s, nil
}

// Take is how a conflict is decided.
type Take string

// The ways. TakeFile is the content of a file that the caller gives.
const (
	TakeOutgoing Take = "outgoing"
	TakeIncoming Take = "incoming"
	TakeFile     Take = "file"
)

// Decision is what Resolve is asked for.
type Decision struct {
	BE   be.UUID
	Root string // of it
	Path string
	Take Take
	File func() (io.ReadCloser, error) // of TakeFile
}

// CheckDecision says why a conflict cannot be decided so.
func (a *Archive) CheckDecision(c OpenConflict, take Take) error {
	name := rooted.Printable(string(c.Path))
	switch {
	case take == TakeIncoming:
		return nil
	case c.Account():
		return be.E(be.Usage, "%s is merged record by record: change the record in it as usual, then give --take incoming", name)
	case take == TakeFile:
		return nil
	case c.Outgoing == nil && c.From == "":
		return be.E(be.NotFound, "the outgoing side of %s was not kept: put the file in place yourself, then give --take incoming", name)
	case c.Outgoing == nil || c.Outgoing.Type == manifest.Link, c.Outgoing.Type == manifest.File && c.Outgoing.Stored:
		return nil
	}
	return be.E(be.NotFound, "the outgoing side of %s, a %s, is not kept: put it in place yourself, then give --take incoming", name, c.Outgoing.Type)
}

// Resolve ends a conflict. What it replaces is kept beside it, under the name
// returned, unless the two are the same. Cut at any point, it can be done
// again; what it did is durable when it returns. In a boot environment that
// runs it counts as that one's own change.
func (a *Archive) Resolve(d Decision) (kept string, err error) {
	x, err := a.load()
	if err != nil {
		return "", err
	}
	k := x.know(d.BE)
	i := k.conflict(d.Path)
	if i < 0 {
		return "", be.E(be.NotFound, "%s is not in conflict: beadm sync conflicts lists what is", rooted.Printable(d.Path))
	}
	c := k.Conflicts[i]
	if err := a.CheckDecision(c, d.Take); err != nil {
		return "", err
	}
	if d.Take != TakeIncoming {
		if kept, err = a.replace(c, d); err != nil {
			return "", fmt.Errorf("cannot resolve %s: %w", rooted.Printable(d.Path), err)
		}
	}
	if d.Take == TakeOutgoing && k.Base != "" {
		// Both sides have had it: what changes it next is no conflict.
		base, err := a.store.Load(k.Base)
		if err != nil && !manifest.Lost(err) {
			return "", err
		}
		if err == nil {
			if k.Base, err = a.store.Save(base.With(map[string]*manifest.Entry{d.Path: c.Outgoing})); err != nil {
				return "", err
			}
		}
	}
	k.Conflicts = slices.Delete(k.Conflicts, i, i+1)
	return kept, a.save(x)
}

// replace puts what was decided in place.
func (a *Archive) replace(c OpenConflict, d Decision) (kept string, err error) {
	root, err := rooted.Open(d.Root)
	if err != nil {
		return "", err
	}
	defer root.Close()
	t := manifest.Taker{Store: a.store, Shared: a.Shared, Most: a.Most}
	if shared, err := t.InShared(root, d.Path); err != nil {
		return "", err
	} else if shared {
		return "", errors.New("it is in the shared dataset now: give --take incoming, which only ends the conflict")
	}
	now, err := t.Entry(root, d.Path)
	if err != nil {
		return "", err
	}
	if now != nil && now.Type != manifest.File && now.Type != manifest.Link {
		return "", fmt.Errorf("it is no file or link there now, but of type %s: move it away, then give this again", now.Type)
	}
	want := c.Outgoing
	open := func() (io.ReadCloser, error) { return a.store.Open(want.Hash) }
	if d.Take == TakeFile {
		if want = now; want == nil || want.Type != manifest.File {
			want = c.Outgoing
		}
		if want == nil || want.Type != manifest.File {
			return "", errors.New("neither side is a file whose mode and owner it could have: put it in place yourself, then give --take incoming")
		}
		open = d.File
	} else if manifest.Same(now, want) {
		return "", nil
	}
	if now != nil && now.Type == manifest.File && (want == nil || d.Take == TakeFile || !manifest.SameContent(now, want)) {
		if kept, err = a.keepBeside(root, d.Path, now); err != nil {
			return "", err
		}
	}
	if now != nil && now.Type == manifest.Link {
		if kept, err = a.keepLink(root, d.Path, now); err != nil {
			return "", err
		}
	}
	above := func(dir string) *manifest.Entry {
		i := slices.IndexFunc(c.Above, func(e *manifest.Entry) bool { return string(e.Path) == dir })
		if i < 0 {
			return nil
		}
		return c.Above[i]
	}
	if want != nil {
		if _, err := makeParents(root, d.Path, above, want.Mode); err != nil {
			return kept, err
		}
	}
	switch {
	case want == nil:
		if err := a.effect("remove " + d.Path); err != nil {
			return kept, err
		}
		if err := root.Remove(d.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, err
		}
	case want.Type == manifest.Link:
		s, err := root.StageSymlink(string(want.Target), d.Path, int(want.UID), int(want.GID))
		if err := a.name(root, s, d.Path, err); err != nil {
			return kept, err
		}
	default:
		in, err := open()
		if err != nil {
			return kept, err
		}
		defer in.Close()
		sum := sha256.New()
		attr := want.Attr()
		if d.Take == TakeFile {
			attr.Mtime = time.Time{} // what goes by it must see a change
		}
		s, err := root.Stage(d.Path, io.TeeReader(in, sum), attr)
		if err == nil && d.Take == TakeOutgoing && hex.EncodeToString(sum.Sum(nil)) != want.Hash {
			s.Discard()
			return kept, errors.New("what was kept of the outgoing side is damaged: give --take incoming, or --take with a file")
		}
		if err := a.name(root, s, d.Path, err); err != nil {
			return kept, err
		}
	}
	err = root.SyncFSAt(path.Dir(d.Path))
	if want == nil && errors.Is(err, fs.ErrNotExist) { // nor its directory
		return kept, root.SyncFS()
	}
	return kept, err
}

// name gives a staged file its name once its content is durable.
func (a *Archive) name(root *rooted.Root, s *rooted.Staged, p string, err error) error {
	if err != nil {
		return err
	}
	if err := root.SyncFSAt(path.Dir(p)); err != nil {
		s.Discard()
		return err
	}
	if err := a.effect("rename " + p); err != nil {
		return err
	}
	if err := s.Commit(); err != nil {
		s.Discard()
		return err
	}
	return nil
}

// keepLink keeps a link that is about to be replaced.
func (a *Archive) keepLink(root *rooted.Root, p string, now *manifest.Entry) (string, error) {
	sum := sha256.Sum256([]byte(now.Target))
	name := besideName(p, hex.EncodeToString(sum[:]))
	if target, err := root.Readlink(name); err == nil && target == string(now.Target) {
		return name, nil // by a Resolve that was cut
	}
	s, err := root.StageSymlink(string(now.Target), name, int(now.UID), int(now.GID))
	return name, a.name(root, s, name, err)
}

// keepBeside copies what is about to be replaced to a name of its own, not more
// readable than it was.
func (a *Archive) keepBeside(root *rooted.Root, p string, now *manifest.Entry) (string, error) {
	name := besideName(p, now.Hash)
	if info, err := root.Lstat(name); err == nil && info.IsRegular() && info.Size == now.Size {
		return name, nil // by a Resolve that was cut
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	in, err := root.OpenNoFollow(p)
	if err != nil {
		return "", err
	}
	defer in.Close()
	attr := rooted.Attr{Mode: fs.FileMode(now.Mode & 0o600), Mtime: now.Mtime, Xattrs: map[string][]byte{}}
	s, err := root.Stage(name, in, attr)
	return name, a.name(root, s, name, err)
}
