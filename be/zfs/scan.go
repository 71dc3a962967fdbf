package zfs

import (
	"context"
	"sort"
	"strings"

	"beadm/be"
)

// scanned are the properties that a look at the whole store takes.
var scanned = []string{
	"type", "guid", "creation", "createtxg", "used", "usedbydataset", "written", "origin", "clones", "userrefs",
	"mountpoint", "canmount", "readonly", "atime", "relatime", "setuid", "devices", "exec",
	propUUID, propLibbeUUID, propDescription, propPolicy, propIncomplete, propAuto, propSealed, propBoot, propOf,
}

// scan reads everything below POOL/ROOT in one command. What it returns is the
// caller's to change.
func (s *Store) scan(ctx context.Context) (*tree, error) {
	s.readTogether(ctx)
	t, err := s.memory.tree(s.root, func() (*tree, error) { return s.readAll(ctx) })
	if err != nil {
		return nil, err
	}
	return t.clone(), nil
}

func (s *Store) readAll(ctx context.Context) (*tree, error) {
	t, err := s.read(ctx, "filesystem,volume,snapshot", -1, s.root, scanned...)
	if err != nil {
		if be.KindOf(err) == be.NotFound {
			return nil, be.E(be.NoStore, "no ZFS boot environments in %s: %w", s.root, err)
		}
		return nil, err
	}
	s.knowGUID(t)
	return t, s.addBoots(ctx, t, "filesystem,volume,snapshot", scanned...)
}

func (s *Store) knowGUID(t *tree) {
	if d := t.by[s.root]; d != nil {
		s.guid = d.value("guid")
	}
}

// readTogether has the memory, if it is empty, know POOL/ROOT and both volumes
// by one command: to start one takes longer than all that it says. If it fails,
// as it does where there is a volume missing, each is asked for by itself.
func (s *Store) readTogether(ctx context.Context) {
	if s.memory == nil || len(s.memory.trees) > 0 || s.memory.apart {
		return
	}
	s.memory.apart = true
	tops := []string{s.root}
	for _, v := range []be.Volume{be.StateVolume, be.ShareVolume} {
		ds, err := s.volume(v)
		if err != nil || within(ds, s.root) {
			return
		}
		tops = append(tops, ds)
	}
	argv := []string{"zfs", "get", "-Hp", "-o", "name,property,source,value", "-t", "filesystem,volume,snapshot", "-r", strings.Join(scanned, ",")}
	all, err := s.get(ctx, scanned, append(argv, tops...), tops...)
	if err != nil {
		return
	}
	for _, top := range tops {
		t := &tree{by: map[string]*dataset{}}
		for _, name := range all.names {
			if ofTop(name, top) {
				t.by[name] = all.by[name]
				t.names = append(t.names, name)
			}
		}
		if t.by[top] == nil {
			clear(s.memory.trees)
			return
		}
		s.memory.trees[top] = t
	}
	if s.addBoots(ctx, s.memory.trees[s.root], "filesystem,volume,snapshot", scanned...) != nil {
		clear(s.memory.trees)
		return
	}
	s.knowGUID(s.memory.trees[s.root])
}

// environments are the root datasets of all boot environments.
func (s *Store) environments(t *tree) []*dataset {
	var list []*dataset
	for _, name := range t.names {
		d := t.by[name]
		if d.value("type") == "filesystem" && parent(name) == s.root && be.CheckName(strings.TrimPrefix(name, s.root+"/")) == nil {
			list = append(list, d)
		}
	}
	return list
}

// parts are the file systems of a boot environment, the root first, parents
// before children.
func (t *tree) parts(top string) []*dataset {
	var list []*dataset
	for _, one := range t.tops(top) {
		for _, name := range t.names {
			if d := t.by[name]; within(name, one) && d.value("type") == "filesystem" {
				list = append(list, d)
			}
		}
	}
	return list
}

// snapshots are those of one dataset, oldest first: by transaction, as many
// can be made in one second.
func (t *tree) snapshots(ds string) []*dataset {
	var list []*dataset
	for _, name := range t.names {
		if strings.HasPrefix(name, ds+"@") {
			list = append(list, t.by[name])
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].number("createtxg") < list[j].number("createtxg") })
	return list
}

// find is a whole boot environment.
func (s *Store) find(ctx context.Context, name string) (*tree, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	return t, s.check(t, name)
}

// check says why name is no boot environment to work with.
func (s *Store) check(t *tree, name string) error {
	d := t.by[s.dataset(name)]
	if d == nil || d.value("type") != "filesystem" {
		return be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.root)
	}
	if d.local(propIncomplete) != "" {
		return be.E(be.InUse, "boot environment %s is incomplete: an operation on it did not finish; destroy it", name)
	}
	return nil
}

// uuid is the boot environment's own, or empty.
func uuid(d *dataset) be.UUID {
	for _, prop := range []string{propUUID, propLibbeUUID} {
		if u, err := be.ParseUUID(d.local(prop)); err == nil {
			return u
		}
	}
	return ""
}

// List describes the boot environments. Space is what each uses and what the
// snapshot that it was cloned from holds for it.
func (s *Store) List(ctx context.Context) ([]be.BE, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, problem(err, "cannot list the boot environments in %s", s.root)
	}
	list, err := s.list(t)
	return list, problem(err, "cannot list the boot environments in %s", s.root)
}

func (s *Store) list(t *tree) ([]be.BE, error) {
	mounted, err := readMounts()
	if err != nil {
		return nil, err
	}
	var list []be.BE
	for _, d := range s.environments(t) {
		b := be.BE{
			Name: strings.TrimPrefix(d.name, s.root+"/"), UUID: uuid(d), Policy: "static",
			Description: unescape(d.local(propDescription)), Location: d.name,
			Created: d.created(), Space: d.number("used"),
			Running: d.name == s.now, ReadOnly: isReadOnly(d),
			Incomplete: d.local(propIncomplete) != "",
		}
		if p := d.local(propPolicy); p != "" {
			b.Policy = p
		}
		if b.Running {
			b.Mountpoint = s.cfg.Root
		} else if m := mounted.of(d.name); len(m) > 0 {
			b.Mountpoint = m[0].dir
		}
		if boot := t.by[t.boots[d.name]]; boot != nil {
			b.Space += boot.number("used")
		}
		for _, part := range t.parts(d.name) {
			if o := t.by[part.value("origin")]; o != nil {
				b.Space += o.number("used")
			}
		}
		if origin := d.value("origin"); parent(origin) == s.root {
			b.Origin = strings.TrimPrefix(origin, s.root+"/")
		}
		list = append(list, b)
	}
	sort.Slice(list, func(i, j int) bool {
		if !list[i].Created.Equal(list[j].Created) {
			return list[i].Created.Before(list[j].Created)
		}
		return list[i].Name < list[j].Name
	})
	return list, nil
}

// listed is one boot environment as List describes it.
func (s *Store) listed(ctx context.Context, name string) (be.BE, error) {
	list, err := s.List(ctx)
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range list {
		if b.Name == name {
			return b, nil
		}
	}
	return be.BE{}, be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.root)
}
