package reconcile

import (
	"bytes"
	"errors"
	"slices"

	"beadm/be/rooted"
	"beadm/sync/account"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// planAccounts merges the account files, all together, and returns the paths
// that it decided.
func (p *planner) planAccounts() (done map[string]bool, err error) {
	done = map[string]bool{}
	now := map[account.Kind]*manifest.Entry{}
	bases := map[account.Kind]*manifest.Entry{}
	var kinds []account.Kind
	cur := account.Database{}
	if _, listed := p.newest.List.Match(masterPasswd); p.goos == "freebsd" && listed {
		done["/etc/passwd"] = true // made of master.passwd
	}
	for _, kind := range account.Kinds {
		path := kind.Path()
		if done[path] {
			continue
		}
		rule, listed := p.newest.List.Match(path)
		if !listed || rule.Action == synclist.Keep || rule.Action == synclist.Force {
			continue
		}
		if shared, err := p.taker.InShared(p.root, path); err != nil {
			return nil, err
		} else if shared {
			continue
		}
		e, err := p.taker.Entry(p.root, path)
		if err != nil {
			return nil, err
		}
		base := p.base.Get(path)
		if m := p.pending(path, e); m != nil {
			base = m.Base
			p.moved[manifest.Text(path)] = m
		}
		there := p.newest.Get(path)
		switch {
		case e == nil && there != nil && there.Type == manifest.File && base == nil:
			cur[kind] = account.Parse(kind, nil) // came into being there
		case e == nil && there == nil:
			continue
		case e == nil || e.Type != manifest.File || there != nil && there.Type != manifest.File:
			continue // as any other path
		default:
			data, err := p.root.ReadFileLimit(path, maxAccount)
			if err != nil {
				return nil, err
			}
			cur[kind] = account.Parse(kind, data)
		}
		p.seen[path] = e
		now[kind], bases[kind] = e, base
		kinds = append(kinds, kind)
		done[path] = true
	}
	if len(kinds) == 0 {
		return done, nil
	}

	out, gone, err := database(p.store, p.newest, kinds)
	if err != nil {
		return nil, err
	}
	for _, kind := range gone {
		p.say(kind.Path(), Conflict, manifest.ErrContent.Error())
	}
	deltas, gone, err := accountDeltas(p.store, p.parts, kinds)
	if err != nil {
		return nil, err
	}
	var res, baseAfter account.Database
	var events []account.Event
	lost := slices.ContainsFunc(p.parts, func(part part) bool { return part.lost && !part.security })
	base := account.Database{}
	for _, kind := range kinds {
		e := bases[kind]
		if e == nil || e.Type != manifest.File || !e.Stored {
			continue
		}
		data, err := p.store.Read(e.Hash)
		if errors.Is(err, manifest.ErrContent) {
			gone = append(gone, kind)
			continue
		}
		if err != nil {
			return nil, err
		}
		base[kind] = account.Parse(kind, data)
	}
	for _, kind := range kinds {
		if !slices.Contains(gone, kind) {
			continue
		}
		// As where there is no base, but for this file only.
		base[kind] = cur[kind]
		if out[kind] == nil {
			continue
		}
		d := account.Unison(account.Database{kind: out[kind]}, cur)
		if p.aside {
			d = d.Security()
		}
		deltas[kind] = d[kind]
		p.note("the record of what " + kind.Path() + " was like is gone or damaged: both sides are united")
	}
	if p.base == nil && !p.aside || lost {
		res, events = account.Unite(out, cur)
		baseAfter = res
	} else {
		if p.base == nil {
			base = cur // nothing of this side is known to be its own
		}
		res, events = account.Merge(deltas, out, base, cur)
		// The base moves by what was done, not to what came out: what this
		// side changed itself stays known as its own.
		baseAfter = account.Moved(deltas, base, cur, res)
	}
	records := map[account.Kind][]account.Event{}
	for _, e := range events {
		// A name is anybody's; the report is for a terminal.
		e.Name, e.Detail = rooted.Printable(e.Name), rooted.Printable(e.Detail)
		records[e.File] = append(records[e.File], e)
	}
	for _, kind := range kinds {
		if err := p.planAccount(kind, now[kind], bases[kind], cur[kind], res[kind], baseAfter[kind], len(deltas[kind]) > 0, records[kind]); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func (p *planner) planAccount(kind account.Kind, now, base *manifest.Entry, cur, res, baseAfter *account.File, changed bool, records []account.Event) error {
	path := kind.Path()
	c, err := compose(p.store, p.parts, path, false)
	if err != nil {
		return err
	}
	var e manifest.Entry
	if now != nil {
		e = *now
		// Metadata is carried where only the other side changed it.
		if c.old != nil && c.new != nil && !manifest.SameMeta(c.old, c.new) && base != nil && manifest.SameMeta(base, now) {
			e = *now.WithMetaOf(c.new)
		}
	} else {
		e = *p.newest.Get(path)
	}
	data := res.Bytes()
	rewrite := !bytes.Equal(data, cur.Bytes())
	if now == nil && !rewrite {
		return nil
	}
	action := Merged
	switch {
	case rewrite || !manifest.SameMeta(&e, now):
		if !rewrite { // byte for byte, whatever the last line ends in
			p.ops = append(p.ops, &op{kind: opMeta, path: path, entry: &e, vital: true})
			break
		}
		p.write(path, &e, data).vital = true
	case len(records) > 0:
		action = Conflict
	default:
		action = ""
	}
	if action != "" {
		reason := "its records are merged"
		switch {
		case action == Conflict:
			reason = "records of it are left as they are here"
		case !rewrite:
			reason = "mode, owner or attributes changed there"
		}
		p.say(path, action, reason).Records = records
	}
	if !changed && !rewrite && manifest.SameMeta(&e, now) {
		return nil
	}
	b := e
	baseData := baseAfter.Bytes()
	if b.Hash, err = p.store.PutBytes(baseData); err != nil {
		return err
	}
	b.Size, b.Stored, b.Path, b.Type = int64(len(baseData)), true, manifest.Text(path), manifest.File
	p.moved[manifest.Text(path)] = &moved{Path: manifest.Text(path), After: &e, Base: &b, Consumed: c.new}
	return nil
}
