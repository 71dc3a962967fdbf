// Package bootenv is what the loaders of FreeBSD and illumos have in common:
// they boot the dataset that the pool's property bootfs names, or once the one
// that a key in the boot environment area of the pool's label names, which
// they take away first (bootonce; libzfsbootenv of both systems).
//
// They list the boot environments themselves and read no file of ours. What
// is kept beside the label are user properties in the pool:
//
//	org.beadm:loader  of POOL/ROOT: the loader that setup has set up
//	org.beadm:trial   of POOL/ROOT: the record of the trial
//	org.beadm:entry   of a boot environment: it has an entry
//
// The token alone decides what boots. Whoever comes back must know that there
// was one, and the loader leaves no trace of it: that is what the record is
// for.
//
// Neither loader looks whether it could really take the token away
// (stand/libsa/zfs/zfs.c, zfs_get_bootonce: the result of the write is not
// looked at): beadm boot does, in the trial, and takes it itself then.
//
// None of this has ever run on FreeBSD or illumos.
package bootenv

import (
	"context"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/be"
)

// Config says which loader it is.
type Config struct {
	Name   string // of the loader: "freebsd", "illumos"
	BERoot string // POOL/ROOT

	// Label is the command that shows and changes the pool's boot environment
	// area, up to its options: zfsbootcfg, eeprom -b.
	Label []string
	Key   string // of the token: "freebsd:bootonce"

	// Colons: names of boot environments may have some.
	Colons bool

	// Menu, if set, lists a dataset in the loader's menu under a title, or
	// takes it off if that is empty, for persons alone: what boots by itself
	// does not depend on it. effect has the change done.
	Menu func(ctx context.Context, ds, title string, effect func(what string, do func() error) error) error

	// Told is what the loader told the kernel of a token that it took.
	Told func(ctx context.Context) (Told, error)

	// Ready says as an error why a trial could not end in the default here.
	Ready func(ctx context.Context) error

	// Run, if nil, is Exec.
	Run Run

	// Step, if set, is called before and after every effect; its error ends
	// the work there, as a power cut would.
	Step func(effect string) error
}

// Loader is one of the two. It implements boot.Loader.
type Loader struct{ cfg Config }

var _ boot.Loader = (*Loader)(nil)

// New touches nothing.
func New(cfg Config) *Loader {
	if cfg.Run == nil {
		cfg.Run = Exec
	}
	return &Loader{cfg}
}

// Name is Config.Name.
func (l *Loader) Name() string { return l.cfg.Name }

func (l *Loader) pool() string {
	pool, _, _ := strings.Cut(l.cfg.BERoot, "/")
	return pool
}

func (l *Loader) run(ctx context.Context, argv ...string) (string, error) {
	return l.cfg.Run(ctx, argv...)
}

// effect runs a command that changes something.
func (l *Loader) effect(ctx context.Context, argv ...string) error {
	return l.do(strings.Join(argv, " "), func() error {
		_, err := l.run(ctx, argv...)
		return err
	})
}

func (l *Loader) do(what string, f func() error) error {
	if l.cfg.Step != nil {
		if err := l.cfg.Step("before " + what); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	if l.cfg.Step != nil {
		return l.cfg.Step("after " + what)
	}
	return nil
}

func tokenOf(ds string) string { return "zfs:" + ds + ":" }

// Dataset is the one in the value of a token, or empty: boot1.efi leaves the
// colon at its end out.
func Dataset(token string) string {
	ds, ok := strings.CutPrefix(strings.TrimSpace(token), "zfs:")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(ds, ":")
}

// token is the dataset that boots once; empty if there is none.
func (l *Loader) token(ctx context.Context) (string, error) {
	out, err := l.run(ctx, append(slices.Clone(l.cfg.Label), "-z", l.pool(), "-p")...)
	if err != nil {
		return "", problem(be.Unbootable, err, "cannot read the label of pool %s", l.pool())
	}
	pairs, ok := parseLabel(out)
	if !ok {
		return "", be.E(be.Unbootable, "cannot read the label of pool %s: %s says %q", l.pool(), l.cfg.Label[0], out)
	}
	value := pairs[l.cfg.Key]
	if value == "" {
		return "", nil
	}
	ds := Dataset(value)
	if ds == "" {
		return "", be.E(be.Unbootable, "the label of pool %s holds %s = %q, which is not beadm's: take it away first", l.pool(), l.cfg.Key, value)
	}
	return ds, nil
}

// writeToken writes the whole value, an empty one takes the key away. The
// option -k is no way to do it: in a label that holds no list yet, or GRUB's
// environment, what it adds is lost (lzbe_add_pair leaves the version as it
// is; lzbe_set_boot_device, which this ends in, makes it a list).
func (l *Loader) writeToken(ctx context.Context, value string) error {
	if err := l.effect(ctx, append(slices.Clone(l.cfg.Label), "-z", l.pool(), value)...); err != nil {
		return problem(be.Unbootable, err, "cannot write the label of pool %s", l.pool())
	}
	return nil
}

// Probe says why a token could not be consumed, or the machine not come back.
func (l *Loader) Probe(ctx context.Context) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	if _, err := l.state(ctx, d); err != nil {
		return err
	}
	if d.recErr != nil {
		return d.recErr
	}
	if l.cfg.Ready != nil {
		return l.cfg.Ready(ctx)
	}
	return nil
}

// State asks the pool, and where nothing else can tell, what the loader told
// the kernel.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	d, err := l.installed(ctx)
	if err != nil {
		return boot.State{}, err
	}
	return l.state(ctx, d)
}

func (l *Loader) state(ctx context.Context, d datasets) (boot.State, error) {
	var s boot.State
	token, err := l.token(ctx)
	if err != nil {
		return s, err
	}
	switch {
	case token != "":
		s.Trial = d.ids[token] // another's is none of ours; it goes with the next Arm
	case d.recErr != nil:
		// Probe reports it: the token rules.
	case d.record.settled:
		s.Tried = d.record.id
	case d.record.id != "" && l.cfg.Told != nil:
		// Unsettled and gone: it was tried if this very boot is the trial.
		if told, err := l.cfg.Told(ctx); err == nil && d.record.of(d.ids[told.Dataset]) {
			s.Tried = d.ids[told.Dataset]
		}
	}
	bootfs, err := l.bootfs(ctx)
	if err != nil {
		return s, err
	}
	s.Default = d.ids[bootfs]
	if s.Default == "" || d.entries[s.Default] != bootfs {
		return s, be.E(be.Unbootable, "pool %s boots %q by default, which is no boot environment with an entry: run beadm setup", l.pool(), bootfs)
	}
	return s, nil
}

// Install writes the mark that says so last.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := boot.CheckID(def.ID); err != nil {
		return err
	}
	d, err := l.read(ctx)
	if err != nil {
		return err
	}
	if d.entries[def.ID] == "" {
		if err := l.put(ctx, d, def); err != nil {
			return err
		}
		if d, err = l.read(ctx); err != nil {
			return err
		}
	}
	bootfs, err := l.bootfs(ctx)
	if err != nil {
		return err
	}
	if id := d.ids[bootfs]; id == "" || d.entries[id] != bootfs {
		if err := l.setBootfs(ctx, d.entries[def.ID]); err != nil {
			return err
		}
	}
	return l.set(ctx, l.cfg.BERoot, propLoader, l.cfg.Name)
}

// Put marks the dataset, and lists it where the loader does not find it by
// itself.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	return l.put(ctx, d, e)
}

func (l *Loader) put(ctx context.Context, d datasets, e boot.Entry) error {
	ds, err := l.entryDataset(e)
	if err != nil {
		return err
	}
	if err := l.sayable(ds); err != nil {
		return err
	}
	if d.ids[ds] != e.ID {
		return be.E(be.Unbootable, "cannot make an entry for %s: %s is not the dataset of it", e.ID, ds)
	}
	if l.cfg.Menu != nil {
		title := e.Title
		if title == "" {
			title = ds
		}
		if err := l.cfg.Menu(ctx, ds, title, l.do); err != nil {
			return be.E(be.Other, "cannot list %s in the loader's menu: %w", ds, err)
		}
	}
	return l.set(ctx, ds, propEntry, e.ID)
}

// Remove takes the mark away. A dataset that is gone has none.
func (l *Loader) Remove(ctx context.Context, id string) error {
	if err := boot.CheckID(id); err != nil {
		return err
	}
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	s, err := l.state(ctx, d)
	if err != nil {
		return err
	}
	switch id {
	case s.Default:
		return be.E(be.InUse, "%s is what pool %s boots by default", id, l.pool())
	case s.Trial:
		return be.E(be.InUse, "%s is armed: it boots next", id)
	}
	ds := d.entries[id]
	if ds == "" {
		return nil
	}
	if l.cfg.Menu != nil {
		if err := l.cfg.Menu(ctx, ds, "", l.do); err != nil {
			return be.E(be.Other, "cannot take %s off the loader's menu: %w", ds, err)
		}
	}
	if err := l.effect(ctx, "zfs", "inherit", propEntry, ds); err != nil {
		return problem(be.Other, err, "cannot remove the entry of %s", ds)
	}
	return nil
}

// Entries lists the IDs that have an entry and a dataset.
func (l *Loader) Entries(ctx context.Context) ([]string, error) {
	d, err := l.installed(ctx)
	if err != nil {
		return nil, err
	}
	return d.sorted(), nil
}

// CheckEntry compares where the root is now with where the loader finds it.
// The kernel is in it.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	ds, err := l.entry(d, id)
	if err != nil {
		return err
	}
	is, err := l.entryDataset(boot.Entry{ID: id, Root: root})
	if err == nil && is != ds {
		err = be.E(be.Unbootable, "the loader would start %s for %s, whose root is %s", ds, id, is)
	}
	return err
}

// CheckEntryWhole is CheckEntry: the kernel is in the root, and not the loader's.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.CheckEntry(ctx, id, root)
}

func (l *Loader) entry(d datasets, id string) (string, error) {
	if err := boot.CheckID(id); err != nil {
		return "", err
	}
	ds := d.entries[id]
	if ds == "" {
		return "", be.E(be.NotFound, "the loader has no entry for %s", id)
	}
	return ds, l.sayable(ds)
}

// Arm writes the token between two records of it.
func (l *Loader) Arm(ctx context.Context, id string) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	ds, err := l.entry(d, id)
	if err != nil {
		return err
	}
	if err := l.Probe(ctx); err != nil {
		return err
	}
	was, err := l.token(ctx)
	if err != nil {
		return err
	}
	// A cut from here on leaves the token as it was, or the new one, and a
	// record that says nobody knows: that is not tried.
	if err := l.setRecord(ctx, record{id: id, was: d.ids[was]}); err != nil {
		return err
	}
	if err := l.writeToken(ctx, tokenOf(ds)); err != nil {
		return err
	}
	if have, err := l.token(ctx); err != nil || have != ds {
		return be.E(be.Unbootable, "the token of %s was written but is not there: the label of pool %s cannot be trusted with it", id, l.pool())
	}
	// This transaction puts the label's blocks out of the disks' caches, too.
	return l.setRecord(ctx, record{id: id, settled: true})
}

// Disarm says first that nobody knows: a token that is gone under a settled
// record would be one that was consumed.
func (l *Loader) Disarm(ctx context.Context) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	token, err := l.token(ctx)
	if err != nil || token == "" {
		return err
	}
	if d.recErr == nil && d.record.settled {
		if err := l.setRecord(ctx, record{id: d.record.id}); err != nil {
			return err
		}
	}
	if err := l.writeToken(ctx, ""); err != nil {
		return err
	}
	if have, err := l.token(ctx); err != nil || have != "" {
		return be.E(be.Unbootable, "the token in the label of pool %s does not go", l.pool())
	}
	return l.setRecord(ctx, record{})
}

// SetDefault takes a token back before the one write that changes what boots,
// and forgets a consumed one behind it.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	ds, err := l.entry(d, id)
	if err != nil {
		return err
	}
	if err := l.Disarm(ctx); err != nil {
		return err
	}
	if err := l.setBootfs(ctx, ds); err != nil {
		return err
	}
	return l.setRecord(ctx, record{})
}

func (l *Loader) setBootfs(ctx context.Context, ds string) error {
	if err := l.effect(ctx, "zpool", "set", "bootfs="+ds, l.pool()); err != nil {
		return problem(be.Unbootable, err, "cannot make %s what pool %s boots by default", ds, l.pool())
	}
	return nil
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	d, err := l.installed(ctx)
	if err != nil {
		return err
	}
	token, err := l.token(ctx)
	if err != nil || token != "" || d.recErr == nil && d.record == (record{}) {
		return err
	}
	return l.setRecord(ctx, record{})
}

// Tidy has nothing to do: nothing here is half written.
func (l *Loader) Tidy(ctx context.Context) error { return nil }
