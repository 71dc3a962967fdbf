package zfs

import (
	"context"

	"beadm/be"
)

// Parts lists the file systems of a boot environment.
func (s *Store) Parts(ctx context.Context, name string) ([]be.Part, error) {
	t, err := s.scan(ctx)
	if err == nil && t.by[s.dataset(name)] == nil {
		err = be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.root)
	}
	var mounted mountTable
	if err == nil {
		mounted, err = readMounts()
	}
	if err != nil {
		return nil, problem(err, "cannot list what boot environment %s consists of", name)
	}
	top := s.dataset(name)
	at := map[string]string{}
	for _, spot := range spots(t, top) {
		at[spot.d.name] = "/" + spot.rel
	}
	var list []be.Part
	for _, d := range t.parts(top) {
		p := be.Part{Location: d.name, Path: at[d.name], Created: d.created(), Space: d.number("used")}
		for _, other := range t.names {
			if below := t.by[other]; parent(other) == d.name && below.value("type") != "snapshot" {
				p.Space -= below.number("used")
			}
		}
		if origin := d.value("origin"); origin != "-" {
			p.Origin = origin
		}
		if d.name == s.now {
			p.Mountpoint = s.cfg.Root
		} else if m := mounted.of(d.name); len(m) > 0 {
			p.Mountpoint = m[0].dir
		}
		list = append(list, p)
	}
	return list, nil
}
