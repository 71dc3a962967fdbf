package reconcile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"beadm/sync/account"
	"beadm/sync/lines"
	"beadm/sync/manifest"
)

// part is a stretch of one run that the incoming boot environment lacks.
type part struct {
	run      *run
	from, to *manifest.Manifest
	security bool // only what takes rights away
	lost     bool // its start is lost: from knows nothing
}

// parts lists what the incoming lacks, in order. now is the outgoing's
// present state where its run still lasts, newest the last known one. notes
// says what of the records is lost.
func (a *Archive) parts(x *index, sw Switch, now, newest *manifest.Manifest) (list []part, notes []string, err error) {
	k := x.know(sw.To)
	for _, r := range x.Runs {
		if r.BE == sw.To {
			continue // its own
		}
		aside := sw.Mode == Aside && r.Failed && r.BE == sw.From
		h := k.Had[r.ID]
		if h == hadAll || h == hadSecurity && !aside {
			continue
		}
		p := part{run: r, security: (r.Failed || sw.Mode == SecurityOnly) && !aside}
		switch {
		case r.End != "":
			p.to, err = a.store.Load(r.End)
			if manifest.Lost(err) && r.BE == sw.From {
				p.to, err = newest, nil // read again, or what is known of it else
			} else if manifest.Lost(err) {
				notes = append(notes, fmt.Sprintf("the record of what %s changed while it ran is lost (%v): carry it with sync run --from where it is", r.BE, err))
				p.to, err = nil, nil
			}
		case r.BE == sw.From && now != nil:
			p.to = now
		default:
			continue // its end was not recorded: owed
		}
		if err != nil {
			return nil, nil, err
		}
		if p.to == nil {
			continue
		}
		from := r.Start
		if id, ok := h.mark(); ok {
			from = id
		}
		p.from, err = a.store.Load(from)
		if manifest.Lost(err) {
			notes = append(notes, fmt.Sprintf("the record of what %s was like before it ran is lost (%v): where the two differ its files are taken, and those here are kept beside them", r.BE, err))
			p.from, p.lost, err = &manifest.Manifest{}, true, nil
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, p)
	}
	return list, notes, nil
}

// change is one path composed over all parts.
type change struct {
	old, new *manifest.Entry
	unknown  bool              // old is not known: the list did not name the path then
	aside    bool              // something of it is not delivered by a security part
	apart    []*manifest.Entry // what earlier runs made, to which later changes do not fit
	steps    []step            // part by part
	// A later step began at another content than the earlier ones had come to,
	// its boot environment having one of its own: text is merged step by step.
	mixed bool
}

type step struct{ old, new *manifest.Entry }

// then adds what turned old into new.
func (c *change) then(store *manifest.Store, p string, old, new *manifest.Entry, merge bool) error {
	c.steps = append(c.steps, step{old, new})
	if len(c.steps) == 1 {
		c.old, c.new = old, new
		return nil
	}
	x := c.new
	next, ok, err := after(store, p, x, old, new, merge)
	if err != nil {
		return err
	}
	if !ok {
		c.apart = append(c.apart, x)
	}
	c.new = next
	// A step that comes to where the first began has changed something all the
	// same, unless it took back what those before it did.
	switch {
	case manifest.Same(x, old):
	case x == nil || old == nil || new == nil || c.old == nil || next == nil:
		if manifest.Same(c.old, next) {
			c.old = old
		}
	default:
		if !manifest.SameContent(x, old) && !manifest.SameContent(old, new) {
			if c.mixed = true; manifest.SameContent(c.old, next) {
				c.old = old.WithMetaOf(c.old)
			}
		}
		if !manifest.SameMeta(x, old) && !manifest.SameMeta(old, new) && manifest.SameMeta(c.old, next) {
			c.old = c.old.WithMetaOf(old)
		}
	}
	return nil
}

// compose sums up what the parts did to a path. Content and metadata count
// apart: a part that left one of them alone says nothing about it. merge says
// that text is composed by its lines: a later part that began elsewhere,
// because its boot environment had a package's version, brings its change and
// not that version.
func compose(store *manifest.Store, parts []part, p string, merge bool) (change, error) {
	var c change
	for _, part := range parts {
		old, new := part.from.Get(p), part.to.Get(p)
		if !part.to.Covers(p) {
			continue // off the list at the end: nothing is known of its end
		}
		if !part.from.Covers(p) {
			if part.security || new == nil {
				continue
			}
			old, c.unknown = nil, true
		}
		if manifest.Same(old, new) {
			continue
		}
		if part.security {
			less, all, err := securityOf(store, p, old, new)
			if err != nil {
				return c, err
			}
			c.aside = c.aside || !all
			if new = less; manifest.Same(old, new) {
				continue
			}
		}
		if err := c.then(store, p, old, new, merge); err != nil {
			return c, err
		}
	}
	return c, nil
}

// after is entry x with what turned old into new done to it; ok is false where
// the two do not fit together, and new is all that is left.
func after(store *manifest.Store, p string, x, old, new *manifest.Entry, merge bool) (_ *manifest.Entry, ok bool, err error) {
	if new == nil || old == nil {
		return new, true, nil
	}
	if x == nil { // removed in one run, and changed in a later one that had it
		return new, !merge && !manifest.SameContent(old, new), nil
	}
	if manifest.SameContent(old, new) { // only metadata
		return x.WithMetaOf(new), true, nil
	}
	e := new
	if merge && !manifest.SameContent(x, old) && !manifest.SameContent(x, new) {
		text, fits, err := composeText(store, p, x, old, new)
		if err != nil {
			return nil, false, err
		}
		if ok = fits; ok {
			e = text
		}
	} else {
		ok = true
	}
	if manifest.SameMeta(old, new) {
		e = e.WithMetaOf(x)
	}
	return e, ok, nil
}

// composeText does to the text of x what turned old into new.
func composeText(store *manifest.Store, p string, x, old, new *manifest.Entry) (_ *manifest.Entry, ok bool, err error) {
	var texts [3][]byte
	for i, e := range []*manifest.Entry{old, new, x} {
		if e.Type != manifest.File || !e.Stored || e.Size > maxText {
			return nil, false, nil
		}
		if texts[i], err = store.Read(e.Hash); err != nil {
			return nil, false, err
		}
	}
	merged, ok := mergeLines(p, texts[0], texts[1], texts[2])
	if !ok {
		return nil, false, nil
	}
	e := *new
	e.Tail, e.Heads, e.Begins = nil, nil, nil
	if e.Hash, err = store.PutBytes(merged); err != nil {
		return nil, false, err
	}
	e.Size = int64(len(merged))
	return &e, true, nil
}

// mergeLines does to cur what turned old into new, as the path asks for.
func mergeLines(p string, old, new, cur []byte) ([]byte, bool) {
	if _, unordered := grants(p); unordered {
		return lines.Set(old, new, cur), true
	}
	return lines.Merge(old, new, cur)
}

// grants says whether a path gives rights by its lines, and whether their
// order means nothing.
func grants(p string) (yes, unordered bool) {
	base, dir := path.Base(p), path.Dir(p)
	switch {
	case base == "authorized_keys", base == "authorized_keys2":
		return true, true
	case base == "sudoers", path.Base(dir) == "sudoers.d":
		return true, false
	}
	return false, false
}

// securityOf is the part of old → new that takes rights away: keys, and
// sudoers files or lines where nothing else changed. all is false if
// something else is left out.
func securityOf(store *manifest.Store, p string, old, new *manifest.Entry) (_ *manifest.Entry, all bool, err error) {
	yes, unordered := grants(p)
	switch {
	case !yes || old == nil:
		return old, false, nil
	case new == nil:
		return nil, true, nil
	case old.Type != manifest.File || new.Type != manifest.File || !old.Stored || !new.Stored:
		return old, false, nil
	}
	was, err := store.Read(old.Hash)
	if err != nil {
		return nil, false, err
	}
	is, err := store.Read(new.Hash)
	if err != nil {
		return nil, false, err
	}
	less := lines.Removed(was, is)
	if !unordered && string(less) != string(is) {
		return old, false, nil // half a rule is none
	}
	e := *old
	if e.Hash, err = store.PutBytes(less); err != nil {
		return nil, false, err
	}
	e.Size, e.Mtime = int64(len(less)), new.Mtime
	return &e, string(less) == string(is) && manifest.SameMeta(old, new), nil
}

// changedPaths are all paths that differ in some part.
func changedPaths(parts []part) []string {
	set := map[string]bool{}
	for _, part := range parts {
		for _, m := range []*manifest.Manifest{part.from, part.to} {
			for _, e := range m.Entries {
				p := string(e.Path)
				if !set[p] && !manifest.Same(part.from.Get(p), part.to.Get(p)) {
					set[p] = true
				}
			}
		}
	}
	list := make([]string, 0, len(set))
	for p := range set {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// database reads the account files of a manifest, of the kinds asked for; lost
// are those whose content the store holds no more.
func database(store *manifest.Store, m *manifest.Manifest, kinds []account.Kind) (db account.Database, lost []account.Kind, err error) {
	db = account.Database{}
	for _, kind := range kinds {
		e := m.Get(kind.Path())
		if e == nil || e.Type != manifest.File || !e.Stored {
			continue
		}
		data, err := store.Read(e.Hash)
		if errors.Is(err, manifest.ErrContent) {
			lost = append(lost, kind)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		db[kind] = account.Parse(kind, data)
	}
	return db, lost, nil
}

// accountDeltas composes what the parts did to the account files. What they did
// to those that are lost is not known and not in it.
func accountDeltas(store *manifest.Store, parts []part, kinds []account.Kind) (sum account.Deltas, lost []account.Kind, err error) {
	sum = account.Deltas{}
	for _, p := range parts {
		old, gone, err := database(store, p.from, kinds)
		if err != nil {
			return nil, nil, err
		}
		new, goneToo, err := database(store, p.to, kinds)
		if err != nil {
			return nil, nil, err
		}
		for _, kind := range append(gone, goneToo...) {
			delete(old, kind)
			delete(new, kind)
			lost = append(lost, kind)
		}
		d := account.DiffAll(old, new)
		if p.security {
			d = d.Security()
		}
		sum = sum.Then(d)
	}
	return sum, lost, nil
}

// besideName is where a version of a path that is not in place is kept: the
// name begins with a dot, which sudo, cron and run-parts pass over.
func besideName(p, hash string) string {
	dir, base := path.Split(p)
	if len(base) > 200 {
		base = base[:200]
	}
	return dir + manifest.OurPrefix + "kept-" + hash[:min(8, len(hash))] + "-" + strings.TrimPrefix(base, ".")
}
