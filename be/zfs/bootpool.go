package zfs

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"beadm/be"
)

// bootPath is where a boot environment's file system of another pool belongs in it.
const bootPath = "boot"

// propIgnore has zfs-mount-generator(8) make no unit for a dataset.
const propIgnore = "org.openzfs.systemd:ignore"

// noBoot is what the root's half of a snapshot has as propBoot that was made
// while the pool with its /boot was not there.
const noBoot = "none"

// bootPatience is for how long the pool with a /boot may take to answer.
const bootPatience = 30 * time.Second

// tops are the root of a boot environment and, where that is in another pool,
// its /boot: all of it is at and below them.
func (t *tree) tops(top string) []string {
	if boot := t.boots[top]; boot != "" {
		return []string{top, boot}
	}
	return []string{top}
}

// holds reports whether a dataset belongs to a boot environment. Snapshots do not.
func (t *tree) holds(top, ds string) bool {
	return slices.ContainsFunc(t.tops(top), func(one string) bool { return within(ds, one) })
}

// bootOf is the root of the boot environment that ds is the /boot of, or empty.
func (t *tree) bootOf(ds string) string {
	for top, boot := range t.boots {
		if boot == ds {
			return top
		}
	}
	return ""
}

// bootThere says why what needs all of a boot environment cannot be done: the
// pool with its /boot is not imported.
func (t *tree) bootThere(top string) error {
	if holder := t.away[top]; holder != "" {
		pool, _, _ := strings.Cut(holder, "/")
		if why := t.why[holder]; why != "" {
			return be.E(be.NoStore, "its /boot is in %s, which cannot be read: %s; if that is lost: zfs inherit %s %s", holder, why, propBoot, top)
		}
		return be.E(be.NoStore, "its /boot is in %s, which is not there; import the pool: zpool import -N %s; if that is lost: zfs inherit %s %s", holder, pool, propBoot, top)
	}
	return nil
}

// bootGone says so of a /boot that was in a pool which is there.
func (t *tree) bootGone(top string) error {
	holder := t.by[top].local(propBoot)
	if holder == "" || t.boots[top] != "" || t.away[top] != "" {
		return nil
	}
	return be.E(be.NotFound, "its /boot was in %s, and is gone; if it is in the root now: zfs inherit %s %s", holder, propBoot, top)
}

// bootWith is the /boot's half of a snapshot of the root, or nil.
func (t *tree) bootWith(top, snap string) *dataset {
	root := t.by[top+"@"+snap]
	if root == nil || root.local(propBoot) == noBoot || t.boots[top] == "" {
		return nil
	}
	return t.by[t.boots[top]+"@"+snap]
}

// isHalf reports whether a snapshot is a /boot's half of one whose root's half is
// not there, or was made later without it.
func (t *tree) isHalf(d *dataset) bool {
	ds, snap := d.split()
	top := t.bootOf(ds)
	return snap != "" && top != "" && d.local(propOf) != "" && t.bootWith(top, snap) == nil
}

// addBoots adds to a tree with roots what they say that their /boot is in, and
// finds which is whose. Where none says so it asks nothing. A pool that is not
// imported is no error here: a boot begins so.
func (s *Store) addBoots(ctx context.Context, t *tree, types string, props ...string) error {
	holders := map[string]bool{} // whether it is there
	for _, top := range s.environments(t) {
		holder := top.local(propBoot)
		if holder == "" {
			continue
		}
		there, known := holders[holder]
		if !known {
			var err error
			if there, err = s.addHolder(ctx, t, holder, types, props...); err != nil {
				return err
			}
			holders[holder] = there
		}
		if !there {
			if t.away == nil {
				t.away = map[string]string{}
			}
			t.away[top.name] = holder
		}
	}
	for holder, there := range holders {
		if there {
			s.matchBoots(t, holder)
		}
	}
	return nil
}

// addHolder adds all that is below one dataset with boots.
func (s *Store) addHolder(ctx context.Context, t *tree, holder, types string, props ...string) (there bool, err error) {
	pool, _, below := strings.Cut(holder, "/")
	if !below || pool == s.pool || !datasetRule.MatchString(holder) {
		return false, nil // none of those that adopt writes
	}
	// What is wrong with that pool must not stop what the root's can do.
	asking, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	err = checkPool(pool)
	var boots *tree
	if err == nil {
		boots, err = s.read(asking, types, -1, holder, props...)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		if imported(pool) && be.KindOf(err) != be.NotFound {
			if t.why == nil {
				t.why = map[string]string{}
			}
			t.why[holder] = err.Error()
		}
		return false, nil
	}
	for _, name := range boots.names {
		if t.by[name] == nil {
			t.by[name] = boots.by[name]
			t.names = append(t.names, name)
		}
	}
	slices.Sort(t.names)
	if !slices.Contains(s.bootPools, pool) {
		s.bootPools = append(s.bootPools, pool)
	}
	return true, nil
}

// matchBoots goes by the UUID. Only what has none is its by the name: a cut came
// between the two properties that adopt sets.
func (s *Store) matchBoots(t *tree, holder string) {
	if t.boots == nil {
		t.boots = map[string]string{}
	}
	tops := map[string]string{} // by UUID
	for _, top := range s.environments(t) {
		if id := uuid(top); id != "" && top.local(propBoot) == holder {
			tops[string(id)] = top.name
		}
	}
	for _, name := range t.names {
		d := t.by[name]
		if parent(name) != holder || d.value("type") != "filesystem" {
			continue
		}
		if top := tops[d.local(propOf)]; top != "" && t.boots[top] == "" {
			t.boots[top] = name
		}
	}
	for _, top := range tops {
		own := t.by[holder+"/"+strings.TrimPrefix(top, s.root+"/")]
		if t.boots[top] == "" && own != nil && own.value("type") == "filesystem" && own.local(propOf) == "" && t.by[top].local(propIncomplete) == "" {
			t.boots[top] = own.name
		}
	}
}

// bootToAdopt is the dataset of another pool that is mounted on /boot of what
// runs, if it stands beside others as those of boot environments do,
// POOL/BOOT/NAME, and is nobody else's. The mount table tells that: a link there
// leads nowhere.
func (s *Store) bootToAdopt(ctx context.Context, top string, id be.UUID) (*tree, string, error) {
	if top != s.now {
		return nil, "", nil
	}
	ds, err := s.onBoot()
	if err != nil || ds == "" || parent(parent(ds)) == "" {
		return nil, "", err
	}
	t, err := s.read(ctx, "filesystem", -1, ds, "type", "canmount", propOf, propIgnore)
	if err != nil {
		return nil, "", err
	}
	if of := t.by[ds].local(propOf); of != "" && of != string(id) {
		return nil, "", nil
	}
	return t, ds, nil
}

// onBoot is the dataset of another pool that is mounted on /boot of what runs, or
// empty. No command is needed.
func (s *Store) onBoot() (string, error) {
	root, err := filepath.EvalSymlinks(s.cfg.Root)
	if err != nil {
		return "", err
	}
	table, err := readMounts()
	if err != nil {
		return "", err
	}
	at, ds := filepath.Join(root, bootPath), ""
	for _, m := range table {
		if m.dir == at {
			ds = m.source
		}
	}
	if pool, _, _ := strings.Cut(ds, "/"); ds == "" || pool == s.pool || strings.Contains(ds, "@") {
		return "", nil
	}
	// What is mounted may be a directory in it.
	if now, err := datasetAt(at); err != nil || now != ds {
		return "", err
	}
	return ds, nil
}

// tieBoot has nothing mount a /boot by itself.
func (s *Store) tieBoot(ctx context.Context, t *tree, boot string) error {
	for _, d := range t.parts(boot) {
		var list []setting
		if d.value("canmount") == "on" {
			list = append(list, setting{"canmount", "noauto"})
		}
		if d.name == boot && d.local(propIgnore) != "on" {
			list = append(list, setting{propIgnore, "on"})
		}
		if len(list) > 0 {
			if err := s.set(ctx, d.name, list...); err != nil {
				return err
			}
		}
	}
	return nil
}

// bootClone is where the /boot of a boot environment that is cloned goes; both are
// empty where it is in the root.
func (s *Store) bootClone(source *Store, t *tree, from, name string) (boot, to string, err error) {
	holder := t.by[from].local(propBoot)
	if holder == "" {
		return "", "", nil
	}
	if err := t.bootThere(from); err != nil {
		return "", "", err
	}
	boot = t.boots[from]
	switch to = holder + "/" + name; {
	case boot == "":
		return "", "", t.bootGone(from)
	case source != s:
		return "", "", be.E(be.NoStore, "its /boot is %s, of another pool, and is cloned within %s only", boot, source.root)
	case t.by[to] != nil && t.bootOf(to) != "":
		owner := strings.TrimPrefix(t.bootOf(to), s.root+"/")
		return "", "", be.E(be.InUse, "%s is the /boot of %s; choose another name", to, owner)
	case t.by[to] != nil:
		return "", "", be.E(be.InUse, "%s exists already, and is no /boot of a boot environment here; choose another name, or destroy or rename that", to)
	}
	return boot, to, nil
}

// bootMounted is the /boot that is mounted in a boot environment or in a snapshot
// of it, or empty. It asks only if there is something of another pool.
func (s *Store) bootMounted(ctx context.Context, table mountTable, top string) (string, error) {
	for _, root := range table {
		if ds, _, _ := strings.Cut(root.source, "@"); ds != top {
			continue
		}
		for _, m := range table {
			pool, _, _ := strings.Cut(m.source, "/")
			if m.dir != filepath.Join(root.dir, bootPath) || pool == s.pool {
				continue
			}
			t, err := s.scan(ctx)
			if err != nil {
				return "", err
			}
			return t.boots[top], nil
		}
	}
	return "", nil
}

// BootPool is the pool of the /boot of what CompleteMounts was last asked for, if
// that is another than the root's.
func (s *Store) BootPool() (pool string, mounted bool) { return s.late.pool, s.late.mounted }

// late is what CompleteMounts saw of a /boot in another pool.
type late struct {
	pool    string
	mounted bool
}

// noteBoot keeps what BootPool says.
func (s *Store) noteBoot(t *tree, top string) {
	s.late = late{}
	d := t.by[top]
	if d == nil || d.local(propBoot) == "" {
		return
	}
	s.late.pool, _, _ = strings.Cut(d.local(propBoot), "/")
	s.late.mounted = t.boots[top] != ""
}

var _ be.BootPooler = (*Store)(nil)
