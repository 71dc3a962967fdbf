package bootenv

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/be"
)

// User properties. As all of ours they count only where their source is local.
const (
	propUUID   = "org.beadm:uuid"   // of a boot environment; its store's
	propEntry  = "org.beadm:entry"  // of a boot environment: its ID, if it has an entry
	propLoader = "org.beadm:loader" // of what holds them: the loader that was set up
	propTrial  = "org.beadm:trial"  // of what holds them: the record of the trial
)

var props = []string{propUUID, propEntry, propLoader, propTrial}

// nameRule is what a loader can be told by "zfs:NAME:": gptzfsboot cuts at
// blanks. A colon is one loader's matter (Config.Colons).
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_.:-]+)+$`)

// record is what we remember of a token, apart from the label, from which the
// loader takes it without a trace. Both cannot be written at once: it is
// unsettled before and settled after, and what a cut leaves unsettled counts
// as not tried.
type record struct {
	id      string
	settled bool
	was     string // unsettled: the one whose token was there before, if any
}

func (r record) text() string {
	switch {
	case r.id == "":
		return "none"
	case !r.settled:
		return r.id + "?" + r.was
	}
	return r.id
}

// of says whether a token of id may be the one that was recorded.
func (r record) of(id string) bool { return id != "" && (id == r.id || id == r.was) }

func parseRecord(s string) (record, error) {
	if s == "" || s == "none" {
		return record{}, nil
	}
	id, was, unsettled := strings.Cut(s, "?")
	if !boot.ValidID(id) || was != "" && !boot.ValidID(was) {
		return record{}, be.E(be.Unbootable, "the property %s is damaged: %q; zfs set it to none", propTrial, s)
	}
	return record{id, !unsettled, was}, nil
}

// datasets is what the pool says of ours.
type datasets struct {
	loader  string
	record  record
	recErr  error
	entries map[string]string // ID to dataset
	ids     map[string]string // dataset to the ID of its own UUID
}

func (d datasets) sorted() []string {
	ids := []string{}
	for id := range d.entries {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// read asks for all that there is in one command.
func (l *Loader) read(ctx context.Context) (datasets, error) {
	d := datasets{entries: map[string]string{}, ids: map[string]string{}}
	out, err := l.run(ctx, "zfs", "get", "-Hp", "-d", "1", "-t", "filesystem", "-o", "name,property,source,value", strings.Join(props, ","), l.cfg.BERoot)
	if err != nil {
		return d, problem(be.NoStore, err, "cannot read the boot environments of %s", l.cfg.BERoot)
	}
	local := map[string]map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if len(f) != 4 || !slices.Contains(props, f[1]) {
			return d, be.E(be.Unbootable, "cannot read the boot environments of %s: zfs get says %q", l.cfg.BERoot, line)
		}
		if local[f[0]] == nil {
			local[f[0]] = map[string]string{}
		}
		if _, twice := local[f[0]][f[1]]; twice {
			// A newline in somebody's value made a line of its own.
			return d, be.E(be.Unbootable, "cannot read the boot environments of %s: %s has two values of %s", l.cfg.BERoot, f[0], f[1])
		}
		if f[2] != "local" {
			f[3] = ""
		}
		local[f[0]][f[1]] = f[3]
	}
	for ds, p := range local {
		if len(p) != len(props) {
			return d, be.E(be.Unbootable, "cannot read the boot environments of %s: the answer for %s is not whole", l.cfg.BERoot, ds)
		}
		if ds == l.cfg.BERoot {
			d.loader = p[propLoader]
			d.record, d.recErr = parseRecord(p[propTrial])
			continue
		}
		uuid, err := be.ParseUUID(p[propUUID])
		if err != nil {
			continue
		}
		d.ids[ds] = uuid.ID()
		// A clone may have its source's: not its own.
		if p[propEntry] == uuid.ID() {
			d.entries[uuid.ID()] = ds
		}
	}
	return d, nil
}

// installed reads, and fails with NoStore where this loader was not set up.
func (l *Loader) installed(ctx context.Context) (datasets, error) {
	d, err := l.read(ctx)
	if err == nil && d.loader != l.cfg.Name {
		err = be.E(be.NoStore, "the loader of %s is not set up for boot environments: run beadm setup", l.cfg.Name)
	}
	return d, err
}

// set gives a property another value, in one transaction of the pool, which is
// on the disk when the command returns.
func (l *Loader) set(ctx context.Context, ds, prop, value string) error {
	if err := l.effect(ctx, "zfs", "set", prop+"="+value, ds); err != nil {
		return problem(be.Other, err, "cannot write %s of %s", prop, ds)
	}
	return nil
}

func (l *Loader) setRecord(ctx context.Context, r record) error {
	return l.set(ctx, l.cfg.BERoot, propTrial, r.text())
}

// bootfs is the dataset that the pool's loader boots by default; empty: none.
func (l *Loader) bootfs(ctx context.Context) (string, error) {
	out, err := l.run(ctx, "zpool", "get", "-Hp", "-o", "value", "bootfs", l.pool())
	if err != nil {
		return "", problem(be.Unbootable, err, "cannot read what pool %s boots by default", l.pool())
	}
	ds := strings.TrimSpace(out)
	if ds == "-" {
		return "", nil
	}
	return ds, nil
}

// entryDataset is the dataset of an entry as the store names it.
func (l *Loader) entryDataset(e boot.Entry) (string, error) {
	ds := e.Root.Label + strings.TrimSuffix(e.Root.Prefix, "@")
	parent := ds[:max(0, strings.LastIndexByte(ds, '/'))]
	if e.Root.FS != "zfs" || parent != l.cfg.BERoot {
		return "", be.E(be.Unbootable, "cannot make an entry for %s: the loader boots datasets below %s alone", e.ID, l.cfg.BERoot)
	}
	return ds, nil
}

// sayable refuses a dataset whose name the loader would misunderstand.
func (l *Loader) sayable(ds string) error {
	if !nameRule.MatchString(ds) || len(ds) > 240 || !l.cfg.Colons && strings.Contains(ds, ":") {
		return be.E(be.Unbootable, "the loader cannot be told the name %q: rename it, with letters, digits and _ . - alone", ds)
	}
	return nil
}
