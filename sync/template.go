package reconcile

import (
	"context"
	"fmt"
	"maps"

	"beadm/be"
	"beadm/sync/manifest"
)

// FromTemplate records that created was cloned from a template: a root that is
// patched but never runs, from which others are made again and again. template
// is the clone or its snapshot, before anything in it was changed. The first
// Reconcile into created brings all by which the outgoing one, however often it
// ran, differs from the template that it was made from itself; what the
// templates differ by is this one's news.
func (a *Archive) FromTemplate(ctx context.Context, created be.UUID, template Snapshot) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	m, err := a.take(ctx, a.store, template, created, nil)
	if err != nil {
		return err
	}
	id, err := a.store.Save(m)
	if err != nil {
		return err
	}
	x.BEs[created] = &known{Template: id, Fresh: true, Had: map[string]had{}}
	return a.save(x)
}

// sinceTemplate is what the outgoing one changed since it was made from its
// template, and the common base, for the first switch into a boot environment
// made from a newer one. There is none if the outgoing one came from elsewhere.
func (a *Archive) sinceTemplate(x *index, sw Switch, to *manifest.Manifest) (list []part, base *manifest.Manifest, note string, err error) {
	from, k := x.know(sw.From), x.know(sw.To)
	if !k.Fresh || from.Template == "" || sw.Mode == SecurityOnly {
		return nil, nil, "", nil
	}
	if base, err = a.store.Load(from.Template); err == nil {
		list, err = a.withoutFailed(x, sw, base, to)
	}
	if manifest.Lost(err) {
		return nil, nil, fmt.Sprintf("the record of the template that %s was made from, or of a run of it that failed, is lost (%v)", sw.From, err), nil
	}
	if err != nil {
		return nil, nil, "", err
	}
	return list, base, "", nil
}

// withoutFailed is all that turned base into to, of the runs that failed only
// what took rights away.
func (a *Archive) withoutFailed(x *index, sw Switch, base, to *manifest.Manifest) (list []part, err error) {
	from := base
	for _, r := range x.Runs {
		if r.BE != sw.From || !r.Failed || r.End == "" || sw.Mode == Aside {
			continue
		}
		start, err := a.store.Load(r.Start)
		if err != nil {
			return nil, err
		}
		end, err := a.store.Load(r.End)
		if err != nil {
			return nil, err
		}
		list = append(list, part{from: from, to: start}, part{run: r, from: start, to: end, security: true})
		from = end
	}
	return append(list, part{from: from, to: to}), nil
}

// hasHad notes that a boot environment made from a template has had what the
// outgoing one had, and its runs, the present one up to a mark.
func (k *known) hasHad(x *index, sw Switch, mark manifest.ID) {
	k.Had = maps.Clone(x.know(sw.From).Had)
	for _, r := range x.Runs {
		switch {
		case r.BE != sw.From:
		case r.Failed && sw.Mode != Aside:
			k.Had[r.ID] = hadSecurity
		case r.End != "":
			k.Had[r.ID] = hadAll
		case mark != "":
			k.Had[r.ID] = had(mark)
		}
	}
	k.Fresh = sw.Upto == Live // all of it again: what comes by then has no mark
}
