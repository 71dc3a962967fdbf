package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	gozfs "github.com/mistifyio/go-zfs/v4"

	"beadm/be"
)

// Adopt gives a boot environment a UUID and makes it one that nothing mounts
// by itself. What is mounted stays so.
func (s *Store) Adopt(ctx context.Context, name string) (be.BE, error) {
	err := s.adopt(ctx, name)
	if err != nil {
		return be.BE{}, problem(err, "cannot adopt boot environment %s", name)
	}
	return s.listed(ctx, name)
}

func (s *Store) adopt(ctx context.Context, name string) error {
	t, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	d := t.by[s.dataset(name)]
	id := uuid(d)
	if id == "" {
		id = be.NewUUID()
	}
	bootTree, boot, err := s.bootToAdopt(ctx, d.name, id)
	if err != nil {
		return err
	}
	// It is found by that even if a cut comes before all else is set.
	if boot != "" && bootTree.by[boot].local(propOf) != string(id) {
		if err := s.set(ctx, boot, setting{propOf, string(id)}); err != nil {
			return err
		}
	}
	// Before the UUID: what has one is trusted to stay where it is.
	for _, d := range t.parts(s.dataset(name)) {
		if d.value("canmount") == "on" {
			if err := s.set(ctx, d.name, setting{"canmount", "noauto"}); err != nil {
				return err
			}
		}
	}
	var missing []setting
	for _, prop := range []string{propUUID, propLibbeUUID} {
		if d.local(prop) != string(id) {
			missing = append(missing, setting{prop, string(id)})
		}
	}
	if boot != "" && d.local(propBoot) != parent(boot) {
		missing = append(missing, setting{propBoot, parent(boot)})
	}
	if len(missing) > 0 {
		if err := s.set(ctx, d.name, missing...); err != nil {
			return err
		}
	}
	if boot == "" {
		return nil
	}
	// What the root does not name yet stays what mounts itself: without that and
	// with this, nothing would mount it.
	return s.tieBoot(ctx, bootTree, boot)
}

// set sets properties, several of them in one transaction.
func (s *Store) set(ctx context.Context, ds string, list ...setting) error {
	if len(list) == 1 {
		return s.library(ctx, fmt.Sprintf("zfs set %s=%s %s", list[0].name, list[0].value, ds), func() error {
			return (&gozfs.Dataset{Name: ds}).SetProperty(list[0].name, list[0].value)
		})
	}
	argv := []string{"zfs", "set"}
	for _, p := range list {
		argv = append(argv, p.name+"="+p.value)
	}
	return s.change(ctx, append(argv, ds)...)
}

// Create clones every file system of the source. The new root carries
// org.beadm:incomplete from its first transaction to the very last one of
// Create, which takes it away: until then it is Incomplete.
func (s *Store) Create(ctx context.Context, opts be.CreateOptions) (be.BE, error) {
	b, err := s.create(ctx, s, opts)
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}

// create clones what is in source, which may be s itself.
func (s *Store) create(ctx context.Context, source *Store, opts be.CreateOptions) (b be.BE, err error) {
	t, given, marks, err := s.begin(ctx, opts)
	if err != nil {
		return b, err
	}
	top := s.dataset(opts.Name)
	var made cloned
	defer func() {
		if err == nil {
			return
		}
		undoing, cancel := settled(ctx)
		defer cancel()
		if undo := s.undoCreate(undoing, top, made); undo != nil {
			err = be.E(be.Recovery, "%w; and undoing it failed: %w; destroy %s to finish", err, undo, opts.Name)
		}
	}()
	if opts.From == "" {
		list := merge([]setting{{"canmount", "noauto"}, {"mountpoint", "/"}}, given, marks)
		if err := s.change(ctx, withSettings([]string{"zfs", "create"}, list, top)...); err != nil {
			return b, err
		}
	} else {
		if source == s {
			err = s.sweepAuto(ctx, t, opts.Snapshot)
		} else {
			t, err = source.scan(ctx)
		}
		if err != nil {
			return b, err
		}
		made, err = s.clone(ctx, source, t, opts, top, given, marks)
		if err != nil {
			return b, err
		}
	}
	if err := s.change(ctx, "zfs", "inherit", propIncomplete, top); err != nil {
		return b, err
	}
	return s.listed(ctx, opts.Name)
}

// begin reads the store for a new boot environment, and says what its root is
// given and what marks it as ours, and as incomplete.
func (s *Store) begin(ctx context.Context, opts be.CreateOptions) (t *tree, given, marks []setting, err error) {
	if err := checkNewName(opts.Name); err != nil {
		return nil, nil, nil, err
	}
	if given, err = s.parseProperties(ctx, opts); err != nil {
		return nil, nil, nil, err
	}
	if t, err = s.scan(ctx); err != nil {
		return nil, nil, nil, err
	}
	if d := t.by[s.dataset(opts.Name)]; d != nil {
		if d.local(propIncomplete) != "" {
			return nil, nil, nil, be.E(be.InUse, "an unfinished one of that name is there; destroy it first")
		}
		return nil, nil, nil, be.E(be.InUse, "it exists already; choose another name")
	}
	id := opts.UUID
	if id == "" {
		id = be.NewUUID()
	}
	marks = []setting{{propUUID, string(id)}, {propLibbeUUID, string(id)}, {propIncomplete, "create"}}
	if opts.Description != "" {
		marks = append(marks, setting{propDescription, escape(opts.Description)})
	}
	return t, given, marks, nil
}

// cloned is what clone made that is not below the new root.
type cloned struct {
	snaps []string // automatic snapshots
	boot  string   // what a /boot of another pool is called, once it may be there
	id    string   // and whose it is then
}

// clone makes the new datasets of what is in source, whose tree t is. It returns
// what it made, also when it fails.
func (s *Store) clone(ctx context.Context, source *Store, t *tree, opts be.CreateOptions, top string, given, marks []setting) (made cloned, err error) {
	if err := source.check(t, opts.From); err != nil {
		return made, err
	}
	from := source.dataset(opts.From)
	parts := t.parts(from)
	boot, newBoot, err := s.bootClone(source, t, from, opts.Name)
	if err != nil {
		return made, err
	}
	snap := opts.Snapshot
	if snap == "" {
		if snap = opts.AutoSnapshot; snap == "" {
			snap = "beadm-" + time.Now().UTC().Format("2006-01-02-150405.000")
		}
		if err := be.CheckSnapshotName(snap); err != nil {
			return made, err
		}
		if d := t.by[from+"@"+snap]; d != nil && !isSpare(t, d) {
			return made, be.E(be.InUse, "the snapshot %s@%s exists already", opts.From, snap)
		}
		// One transaction for all of a pool.
		for _, ds := range slices.Backward(t.tops(from)) {
			if err := s.snapshotAuto(ctx, &made, ds+"@"+snap); err != nil {
				return made, err
			}
		}
	} else {
		if err := be.CheckSnapshotName(snap); err != nil {
			return made, err
		}
		sn := t.by[from+"@"+snap]
		if sn == nil {
			return made, be.E(be.NotFound, "there is no snapshot %s@%s; see beadm list -s", opts.From, snap)
		}
		// What is younger than the snapshot was not in it.
		parts = slices.DeleteFunc(parts, func(d *dataset) bool { return !within(d.name, boot) && t.by[d.name+"@"+snap] == nil })
		switch {
		case boot == "" || t.bootWith(from, snap) != nil:
			parts = slices.DeleteFunc(parts, func(d *dataset) bool { return t.by[d.name+"@"+snap] == nil })
		case sn.local(propAuto) != joint || !isSpare(t, sn):
			return made, be.E(be.NotFound, "the snapshot %s@%s has no /boot: when it was made that was not there, or not a part of %s", opts.From, snap, opts.From)
		default:
			// Just taken with those of others, as one instant of their pool, by a store
			// that did not see this one's.
			if err := s.snapshotAuto(ctx, &made, boot+"@"+snap); err != nil {
				return made, err
			}
		}
	}
	settings, err := s.localSettings(ctx, from)
	if err != nil {
		return made, err
	}
	altroot, err := s.altroot(ctx, s.pool)
	if err != nil {
		return made, err
	}
	bootAltroot := ""
	if boot != "" {
		of, err := s.localSettings(ctx, boot)
		if err != nil {
			return made, err
		}
		maps.Copy(settings, of)
		pool, _, _ := strings.Cut(boot, "/")
		if bootAltroot, err = s.altroot(ctx, pool); err != nil {
			return made, err
		}
		marks = append(marks, setting{propBoot, parent(boot)})
	}
	var sealed []setting // what a /boot has of its root
	theirs, ours := t.by[from].value("mountpoint"), ""
	if source != s {
		if ours, err = s.mountpoint(ctx); err != nil {
			return made, err
		}
	}
	// What is as deep goes together: each waits for the pool's transaction, and
	// they for the same. The root, with its marks, is there before all else.
	var levels [][][]string
	for _, d := range parts {
		rest := strings.TrimPrefix(d.name, from)
		to, level := top+rest, strings.Count(rest, "/")
		list := cloneSettings(settings[d.name], d.value("canmount"), altroot)
		if !within(d.name, from) {
			rest = strings.TrimPrefix(d.name, boot)
			to, level = newBoot+rest, strings.Count(rest, "/")+1
			list = cloneSettings(settings[d.name], d.value("canmount"), bootAltroot)
		}
		for i, p := range list {
			// What is below another store's roots there is below ours here.
			if ours != "" && path.IsAbs(theirs) && p.name == "mountpoint" && path.IsAbs(p.value) {
				list[i].value = rebased(p.value, theirs, ours)
			}
		}
		if (d.name == from || d.name == boot) && isReadOnly(d) {
			list = append(list, setting{"readonly", "on"})
		}
		switch d.name {
		case from:
			list = merge(list, given, marks)
			if at := slices.Index(list, setting{"readonly", "on"}); at >= 0 {
				sealed = list[at : at+1]
			}
		case boot:
			made.boot, made.id = newBoot, valueOf(marks, propUUID)
			list = merge(list, sealed, []setting{{propOf, made.id}, {propIgnore, "on"}})
		}
		for len(levels) <= level {
			levels = append(levels, nil)
		}
		levels[level] = append(levels[level], withSettings([]string{"zfs", "clone"}, list, d.name+"@"+snap, to))
	}
	for _, level := range levels {
		if err := s.changeTogether(ctx, level); err != nil {
			return made, err
		}
	}
	return made, nil
}

// mountpoint is where the roots of this store say that they are: that of what runs,
// or of any.
func (s *Store) mountpoint(ctx context.Context) (string, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return "", err
	}
	at := "/"
	for _, d := range s.environments(t) {
		if v := d.value("mountpoint"); path.IsAbs(v) && (at == "/" || d.name == s.now) {
			at = v
		}
	}
	return at, nil
}

// snapshotAuto makes an automatic snapshot of a dataset and all below it, and
// counts it among what was made, also if the command failed after it.
func (s *Store) snapshotAuto(ctx context.Context, made *cloned, snap string) error {
	err := s.change(ctx, "zfs", "snapshot", "-r", "-o", propAuto+"=create", snap)
	if err == nil || s.madeIfThere(ctx, snap) != "" {
		made.snaps = append(made.snaps, snap)
	}
	return err
}

// localSettings are those that a dataset and those below it have of their own.
func (s *Store) localSettings(ctx context.Context, top string) (map[string][]setting, error) {
	out, err := s.output(ctx, "zfs", "get", "-Hp", "-r", "-t", "filesystem", "-s", "local,received", "-o", "name,property,source,value", "all", top)
	if err != nil {
		return nil, err
	}
	return parseLocal(out, top)
}

// valueOf is that of one of the settings.
func valueOf(list []setting, name string) string {
	i := slices.IndexFunc(list, func(p setting) bool { return p.name == name })
	if i < 0 {
		return ""
	}
	return list[i].value
}

// madeIfThere is the snapshot if a failed command left it all the same.
func (s *Store) madeIfThere(ctx context.Context, snap string) string {
	undoing, cancel := settled(ctx)
	defer cancel()
	if t, err := s.read(undoing, "snapshot", 0, snap, propAuto); err == nil && t.by[snap] != nil && t.by[snap].local(propAuto) != "" {
		return snap
	}
	return ""
}

// undoCreate removes what a Create made that failed.
func (s *Store) undoCreate(ctx context.Context, top string, made cloned) error {
	// Only what carries the mark of this very operation: nothing else of that
	// name can be ours to destroy.
	t, err := s.read(ctx, "filesystem", 0, top, propIncomplete)
	switch {
	case be.KindOf(err) == be.NotFound:
		err = nil
	case err == nil && t.by[top] != nil && t.by[top].local(propIncomplete) == "create":
		if err = s.undoBoot(ctx, made); err == nil {
			err = s.change(ctx, "zfs", "destroy", "-r", top)
		}
	}
	for _, snap := range slices.Backward(made.snaps) {
		err = errors.Join(err, s.change(ctx, "zfs", "destroy", "-r", snap))
	}
	return err
}

// undoBoot removes the /boot that a Create made, of another pool.
func (s *Store) undoBoot(ctx context.Context, made cloned) error {
	if made.boot == "" {
		return nil
	}
	t, err := s.read(ctx, "filesystem", 0, made.boot, propOf)
	switch {
	case be.KindOf(err) == be.NotFound:
		return nil
	case err == nil && t.by[made.boot] != nil && t.by[made.boot].local(propOf) == made.id:
		err = s.change(ctx, "zfs", "destroy", "-r", made.boot)
	}
	return err
}

// altroot is where a rescue system imported a pool. zfs puts it before every
// mount point that it names, and would put it there once more.
func (s *Store) altroot(ctx context.Context, pool string) (string, error) {
	out, err := s.output(ctx, "zpool", "get", "-Hp", "-o", "value", "altroot", pool)
	if out = strings.TrimSuffix(out, "\n"); err != nil || !strings.HasPrefix(out, "/") {
		return "", err // "-": there is none
	}
	return strings.TrimRight(out, "/"), nil
}

// cloneSettings is what a clone is given to be like its source: a clone has
// no local properties. What is one boot environment's own stays behind.
func cloneSettings(source []setting, canmount, altroot string) []setting {
	var list []setting
	for _, p := range source {
		switch {
		case slices.Contains(fixed, p.name), p.name == "canmount":
		case strings.HasPrefix(p.name, "org.beadm:"), p.name == propLibbeUUID:
		case p.name == "mountpoint" && within(p.value, altroot):
			list = append(list, setting{p.name, "/" + strings.TrimPrefix(strings.TrimPrefix(p.value, altroot), "/")})
		default:
			list = append(list, p)
		}
	}
	if canmount != "off" {
		canmount = "noauto"
	}
	return append(list, setting{"canmount", canmount})
}

// merge makes one list of several; a later one wins.
func merge(lists ...[]setting) []setting {
	values := map[string]string{}
	for _, list := range lists {
		for _, p := range list {
			values[p.name] = p.value
		}
	}
	var all []setting
	for name, value := range values {
		all = append(all, setting{name, value})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

func withSettings(argv []string, list []setting, rest ...string) []string {
	for _, p := range list {
		argv = append(argv, "-o", p.name+"="+p.value)
	}
	return append(argv, rest...)
}

// checkNewName refuses the one character that be.CheckName allows and that no
// dataset's name can have.
func checkNewName(name string) error {
	if strings.Contains(name, "+") {
		return be.E(be.Usage, "the name of a dataset cannot hold a +; choose another name")
	}
	return nil
}

// Rename renames the dataset, then its /boot in another pool: by the UUID that
// stays its own if a cut comes between. What is mounted stays where it is; bootfs
// follows. Who else names it, loader entries first, is the caller's to change.
func (s *Store) Rename(ctx context.Context, from, to string) error {
	return problem(s.rename(ctx, from, to), "cannot rename boot environment %s to %s", from, to)
}

func (s *Store) rename(ctx context.Context, from, to string) error {
	if err := checkNewName(to); err != nil {
		return err
	}
	t, err := s.find(ctx, from)
	if err == nil {
		err = t.bootThere(s.dataset(from))
	}
	if err != nil {
		return err
	}
	boot, newBoot := t.boots[s.dataset(from)], ""
	if boot != "" {
		if newBoot = parent(boot) + "/" + to; newBoot != boot && t.by[newBoot] != nil {
			return be.E(be.InUse, "%s exists already, for its /boot; choose another name, or rename that", newBoot)
		}
	}
	if from != to {
		if t.by[s.dataset(to)] != nil {
			return be.E(be.InUse, "%s exists already; choose another name", to)
		}
		if err := s.moveTo(ctx, s.dataset(from), s.dataset(to)); err != nil {
			return err
		}
	}
	if boot != newBoot {
		if err := s.moveTo(ctx, boot, newBoot); err != nil {
			if from == to {
				return err
			}
			undoing, cancel := settled(ctx)
			defer cancel()
			return errors.Join(err, s.moveTo(undoing, s.dataset(to), s.dataset(from)))
		}
	}
	if s.now == s.dataset(from) {
		s.now = s.dataset(to)
	}
	return nil
}

// Describe replaces the description.
func (s *Store) Describe(ctx context.Context, name, text string) error {
	_, err := s.find(ctx, name)
	if err == nil {
		if text == "" {
			err = s.change(ctx, "zfs", "inherit", propDescription, s.dataset(name))
		} else {
			err = s.set(ctx, s.dataset(name), setting{propDescription, escape(text)})
		}
	}
	return problem(err, "cannot describe boot environment %s", name)
}

// Free is what is available to POOL/ROOT.
func (s *Store) Free(ctx context.Context) (int64, error) {
	d, err := gozfs.GetDataset(s.root)
	if err != nil {
		return 0, problem(err, "cannot read what is free in %s", s.root)
	}
	return int64(d.Avail), nil
}
