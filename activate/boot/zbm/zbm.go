// Package zbm makes boot environments bootable with ZFSBootMenu.
//
// ZFSBootMenu starts the kernel in a boot environment's own /boot, by default
// of the one that the pool property bootfs names (zfsbootmenu(7)). What is ours
// are properties of datasets, and, while a trial is armed, a boot option of the
// firmware:
//
//	bootfs                        the default
//	org.zfsbootmenu:commandline   of a boot environment: what was there, our arguments, beadm.be=ID
//	org.beadm:zbm-id              of a boot environment: it has an entry, by this ID
//	org.beadm:zbm-args            what of its commandline is ours
//	org.beadm:zbm-trial           the arguments of a trial
//	org.beadm:zbm-record          of POOL/ROOT: what we know of the last trial
//	Boot####, BootNext            the token: the image of ZFSBootMenu that started this system, told
//	                              by its load options to start the trial at once, with its arguments
//
// The firmware deletes BootNext before it follows it. Nothing that stays says
// that a boot is a trial, so nobody makes one by a pick from the menu. The token
// alone decides what boots; the record is for us, and says before and after
// that it is unsettled: what a cut leaves so counts as not tried.
//
// Only properties that are local to a dataset are believed: others are
// inherited, or came with a stream from elsewhere.
//
// Nothing of this was run with ZFSBootMenu: it is built by its documentation,
// and by the model in the tests.
package zbm

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/partition"
	"beadm/be"
)

// Properties of datasets.
const (
	propCommandline = "org.zfsbootmenu:commandline"
	propID          = "org.beadm:zbm-id"
	propArgs        = "org.beadm:zbm-args"
	propTrial       = "org.beadm:zbm-trial"
	propRecord      = "org.beadm:zbm-record"
)

// Datasets are what is read of a pool at one time: the local values of our
// properties and of org.zfsbootmenu:commandline on the parent of the boot
// environments, on all above that up to the pool, and on all directly below it.
type Datasets struct {
	Bootfs string // empty: none
	Local  map[string]map[string]string
}

// Pool reads and sets properties. What it changes is durable when it returns.
type Pool interface {
	Read(ctx context.Context) (Datasets, error)
	// Set sets all of them at once; an empty value makes a property inherited
	// again, after the others.
	Set(ctx context.Context, dataset string, properties map[string]string) error
	SetBootfs(ctx context.Context, dataset string) error
	// Sync puts everything written so far where a loader reads it.
	Sync(ctx context.Context) error
}

// Variables are those of the firmware. Read's error is fs.ErrNotExist if there
// is none of that name; Write replaces a value as a whole.
type Variables interface {
	Read(v efivar.Var) ([]byte, error)
	Write(v efivar.Var, data []byte) error
	Delete(v efivar.Var) error
	Names() ([]efivar.Var, error)
	Present() error  // says why there are none: only without it fs.ErrNotExist means anything
	Writable() error // says why none can be written
}

// Config says where the boot environments are.
type Config struct {
	// Root is the parent of the boot environments, POOL/ROOT.
	Root string

	// Pool, if nil, is asked by zfs(8) and zpool(8).
	Pool Pool

	// Variables, if nil, are those of efivarfs at its usual place.
	Variables Variables

	// ESPs are where the ESP may be mounted; nil is /efi, /boot/efi and /boot.
	// Drives, if nil, is partition.Drives.
	ESPs   []string
	Drives func(esp string) ([]efivar.HardDrive, error)

	// Disk does the effects: Step and nothing else of it is used.
	Disk durable.Disk
}

// Loader is ZFSBootMenu with one pool.
type Loader struct {
	cfg  Config
	pool Pool
	vars Variables
}

var _ boot.Loader = (*Loader)(nil)

// New touches nothing.
func New(cfg Config) *Loader {
	if cfg.Pool == nil {
		cfg.Pool = zfsPool{cfg.Root, run}
	}
	if cfg.Variables == nil {
		cfg.Variables = efivar.Dir(efivar.Mount)
	}
	if cfg.ESPs == nil {
		cfg.ESPs = []string{"/efi", "/boot/efi", "/boot"}
	}
	if cfg.Drives == nil {
		cfg.Drives = partition.Drives
	}
	return &Loader{cfg, cfg.Pool, cfg.Variables}
}

// Name is "zfsbootmenu".
func (l *Loader) Name() string { return "zfsbootmenu" }

// look reads the pool, and fails with NoStore if nothing of ours is there.
func (l *Loader) look(ctx context.Context) (Datasets, error) {
	d, err := l.pool.Read(ctx)
	if err != nil {
		return d, be.E(be.Unbootable, "cannot read the properties that ZFSBootMenu reads: %w", err)
	}
	if d.Local[l.cfg.Root][propRecord] == "" {
		return d, be.E(be.NoStore, "ZFSBootMenu is not set up for boot environments: %s has no property %s; run beadm setup", l.cfg.Root, propRecord)
	}
	return d, nil
}

// withID returns the dataset that has the entry of id.
func (l *Loader) withID(d Datasets, id string) (dataset string, ok bool) {
	for name, local := range d.Local {
		if boot.ValidID(id) && local[propID] == id && l.isBE(name) {
			return name, true
		}
	}
	return "", false
}

// isBE says whether a dataset stands directly below Root.
func (l *Loader) isBE(dataset string) bool {
	name, ok := strings.CutPrefix(dataset, l.cfg.Root+"/")
	return ok && name != "" && !strings.Contains(name, "/")
}

// idOf is the ID of the dataset's entry, or empty.
func (l *Loader) idOf(d Datasets, dataset string) string {
	if id := d.Local[dataset][propID]; l.isBE(dataset) && boot.ValidID(id) {
		return id
	}
	return ""
}

// Entries lists the IDs that have an entry.
func (l *Loader) Entries(ctx context.Context) ([]string, error) {
	d, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for name := range d.Local {
		if id := l.idOf(d, name); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// whole returns the dataset of id, or why ZFSBootMenu would not start it as
// it is to be started.
func (l *Loader) whole(d Datasets, id string) (string, error) {
	if err := boot.CheckID(id); err != nil {
		return "", err
	}
	dataset, ok := l.withID(d, id)
	if !ok {
		return "", be.E(be.NotFound, "ZFSBootMenu has no boot environment with the id %s below %s", id, l.cfg.Root)
	}
	if got, _ := boot.Cmdline([]byte(effective(d, dataset))); got != id {
		return "", be.E(be.Unbootable, "the property %s of %s does not name %s: it was edited; run beadm setup", propCommandline, dataset, id)
	}
	return dataset, nil
}

// CheckEntry says why ZFSBootMenu would not start the boot environment of id
// as it is to be started. The kernel is in its own root, in /boot.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	d, err := l.look(ctx)
	if err == nil {
		_, err = l.whole(d, id)
	}
	return err
}

// CheckEntryWhole is CheckEntry: the kernel is in the root, and not the loader's.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.CheckEntry(ctx, id, root)
}

// set has one effect on a dataset.
func (l *Loader) set(ctx context.Context, dataset string, properties map[string]string) error {
	return l.cfg.Disk.Effect("set properties of "+dataset, func() error { return l.pool.Set(ctx, dataset, properties) })
}

func (l *Loader) sync(ctx context.Context) error {
	return l.cfg.Disk.Effect("sync the pool", func() error { return l.pool.Sync(ctx) })
}

// Put sets the properties of the boot environment's dataset.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	d, err := l.look(ctx)
	if err != nil {
		return err
	}
	return l.put(ctx, d, e)
}

func (l *Loader) put(ctx context.Context, d Datasets, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	dataset := e.Root.Label + strings.TrimSuffix(e.Root.Prefix, "@")
	if e.Root.FS != "zfs" || !l.isBE(dataset) || d.Local[dataset] == nil {
		return be.E(be.Unbootable, "ZFSBootMenu starts what is directly below %s, and %q of %s is not", l.cfg.Root, dataset, e.ID)
	}
	if slices.Contains(e.Root.Needs, be.NeedsBootPool) {
		return be.E(be.Unbootable, "ZFSBootMenu reads the kernel of %s from its root, and its /boot is in another pool", e.ID)
	}
	if was, ok := l.withID(d, e.ID); ok && was != dataset {
		return be.E(be.InUse, "both %s and %s have the id %s: one is a copy of the other", was, dataset, e.ID)
	}
	args, trial := append(slices.Clone(e.Args), boot.ArgBE+"="+e.ID), e.TrialArgs
	for _, word := range append(slices.Clone(args), trial...) {
		if err := plain(word); err != nil {
			return be.E(be.Unbootable, "ZFSBootMenu cannot be given the kernel argument %q of %s: %w", word, e.ID, err)
		}
	}
	local := d.Local[dataset]
	want := map[string]string{
		propID: e.ID, propArgs: strings.Join(args, " "), propTrial: strings.Join(trial, " "),
		propCommandline: merge(local[propCommandline], strings.Fields(local[propArgs]), args),
	}
	if want[propTrial] == "" {
		want[propTrial] = noTrial
	}
	same := true
	for name, value := range want {
		same = same && local[name] == value
	}
	if same {
		return l.sync(ctx)
	}
	if err := l.set(ctx, dataset, want); err != nil {
		return be.E(be.Other, "cannot write ZFSBootMenu's entry for %s: %w", e.ID, err)
	}
	return nil
}

// noTrial stands for no arguments, since an empty property is none.
const noTrial = "-"

// Remove leaves of the commandline what is not ours.
func (l *Loader) Remove(ctx context.Context, id string) error {
	if err := boot.CheckID(id); err != nil {
		return err
	}
	s, d, err := l.state(ctx)
	if err != nil {
		return err
	}
	switch id {
	case s.Default:
		return be.E(be.InUse, "%s is what ZFSBootMenu boots by default", id)
	case s.Trial:
		return be.E(be.InUse, "%s is armed: it boots next", id)
	}
	dataset, ok := l.withID(d, id)
	if !ok {
		return l.sync(ctx)
	}
	local := d.Local[dataset]
	rest := without(local[propCommandline], strings.Fields(local[propArgs]))
	if rest == parent {
		rest = ""
	}
	err = l.set(ctx, dataset, map[string]string{propID: "", propArgs: "", propTrial: "", propCommandline: rest})
	if err != nil {
		return be.E(be.Other, "cannot remove ZFSBootMenu's entry for %s: %w", id, err)
	}
	return nil
}

// Install sets the default, last, unless the pool has one that we know.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := boot.CheckID(def.ID); err != nil {
		return err
	}
	if _, err := l.image(); err != nil {
		return err
	}
	d, err := l.pool.Read(ctx)
	if err != nil {
		return be.E(be.NoStore, "cannot read the properties that ZFSBootMenu reads: %w", err)
	}
	if _, err := l.whole(d, def.ID); err != nil {
		if err := l.put(ctx, d, def); err != nil {
			return err
		}
	}
	if _, err := parseRecord(d.Local[l.cfg.Root][propRecord]); err != nil {
		if err := l.writeRecord(ctx, record{}); err != nil {
			return err
		}
	}
	if d, err = l.look(ctx); err != nil {
		return err
	}
	if l.idOf(d, d.Bootfs) == "" {
		dataset, err := l.whole(d, def.ID)
		if err == nil {
			err = l.setBootfs(ctx, dataset)
		}
		if err != nil {
			return err
		}
	}
	if err := l.Tidy(ctx); err != nil {
		return err
	}
	if err := l.sync(ctx); err != nil {
		return be.E(be.NoStore, "cannot set up ZFSBootMenu: %w", err)
	}
	return l.Probe(ctx)
}

func (l *Loader) setBootfs(ctx context.Context, dataset string) error {
	err := l.cfg.Disk.Effect("set bootfs", func() error { return l.pool.SetBootfs(ctx, dataset) })
	if err != nil {
		return be.E(be.Other, "cannot make %s the pool's bootfs: %w", dataset, err)
	}
	return nil
}

// Probe says why no trial could be started here, or would not come back.
func (l *Loader) Probe(ctx context.Context) error {
	s, d, err := l.state(ctx)
	if err != nil {
		return err
	}
	if _, err := parseRecord(d.Local[l.cfg.Root][propRecord]); err != nil {
		return err
	}
	if _, err := l.whole(d, s.Default); err != nil {
		return err
	}
	_, err = l.image()
	return err
}

// Tidy removes what a cut left in the firmware.
func (l *Loader) Tidy(ctx context.Context) error {
	if where, _, err := l.bootNext(); err != nil || where == toUs {
		return nil
	}
	return l.dropOptions()
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
