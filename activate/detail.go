package activate

import (
	"context"

	"beadm/be"
)

// Detail looks up what the listed boot environments consist of, with parts, and
// what snapshots there are of them, with snapshots, oldest first. An incomplete
// one has none that anybody can use.
func (t *Target) Detail(ctx context.Context, list []Listed, parts, snapshots bool) error {
	if r, ok := t.Store.(be.Rememberer); ok {
		r.Remember(true)
		defer r.Remember(false)
	}
	lister, _ := t.Store.(be.PartLister)
	for i := range list {
		l := &list[i]
		if parts {
			if lister == nil {
				l.Parts = []be.Part{{Location: l.Location, Path: "/", Mountpoint: l.Mountpoint, Space: l.Space, Created: l.Created, Origin: l.Origin}}
			} else {
				var err error
				if l.Parts, err = lister.Parts(ctx, l.Name); err != nil && be.KindOf(err) != be.NotFound { // destroyed meanwhile
					return err
				}
			}
		}
		if snapshots && !l.Incomplete && t.Store.Caps().Snapshots {
			var err error
			if l.Snapshots, err = t.Store.Snapshots(ctx, l.Name); err != nil && be.KindOf(err) != be.NotFound {
				return err
			}
		}
	}
	return nil
}

// IsSetUp says whether beadm setup was ever run here and what it made can be
// read: without it nothing is changed.
func (t *Target) IsSetUp(ctx context.Context) bool {
	s, err := t.Look(ctx)
	if err != nil {
		return false
	}
	defer s.Close()
	return s.Dir != nil
}
