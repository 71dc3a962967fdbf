// Package stub is a loader for those that need none: guests, demonstrations
// and tests. It keeps the same environment block as GRUB's loader and one
// JSON file for each boot environment; Consume plays the loader.
package stub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/grubenv"
	"beadm/be"
)

// Config says where the files are.
type Config struct {
	Dir  string // made by Install, its parent exists
	Disk durable.Disk
}

// Loader keeps its files in one directory of a file system that replays its
// journal when it is mounted.
type Loader struct {
	dir  string
	disk durable.Disk
}

var _ boot.Loader = (*Loader)(nil)

// New touches nothing.
func New(cfg Config) *Loader {
	if cfg.Disk.Settle == nil {
		cfg.Disk.Settle = durable.SyncDir
	}
	return &Loader{dir: cfg.Dir, disk: cfg.Disk}
}

// Name is "stub".
func (l *Loader) Name() string { return "stub" }

func (l *Loader) env() string            { return filepath.Join(l.dir, "env") }
func (l *Loader) entry(id string) string { return filepath.Join(l.dir, "entries", id+".json") }

const maxFile = 64 << 10

const (
	varDefault = "beadm_default"
	varTrial   = "beadm_trial"
	varTried   = "beadm_tried"
)

func (l *Loader) read() (*grubenv.Env, boot.State, error) {
	b, err := durable.Read(l.env(), maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, boot.State{}, be.E(be.NoStore, "the loader is not set up: %w; run beadm setup", err)
	case err != nil:
		return nil, boot.State{}, be.E(be.Unbootable, "cannot read the loader's environment: %w", err)
	}
	e, err := grubenv.Parse(b)
	if err != nil {
		return nil, boot.State{}, be.E(be.Unbootable, "cannot read the loader's environment %s: %w", l.env(), err)
	}
	var s boot.State
	s.Default, _ = e.Get(varDefault)
	s.Trial, _ = e.Get(varTrial)
	s.Tried, _ = e.Get(varTried)
	for _, id := range []string{s.Default, s.Trial, s.Tried} {
		if id != "" && !boot.ValidID(id) {
			return nil, s, be.E(be.Unbootable, "the loader's environment %s holds %q where the id of a boot environment belongs", l.env(), id)
		}
	}
	return e, s, nil
}

func (l *Loader) write(e *grubenv.Env, s boot.State) error {
	for name, v := range map[string]string{varDefault: s.Default, varTrial: s.Trial, varTried: s.Tried} {
		if err := e.Set(name, v); err != nil {
			return err
		}
	}
	b, err := e.Encode()
	if err != nil {
		return err
	}
	return l.disk.Overwrite(l.env(), b)
}

// Probe says why a token could not be consumed.
func (l *Loader) Probe(ctx context.Context) error {
	if _, err := l.State(ctx); err != nil {
		return err
	}
	f, err := os.OpenFile(l.env(), os.O_RDWR, 0)
	if err != nil {
		return be.E(be.Unbootable, "cannot write the loader's environment: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != grubenv.Size {
		return be.E(be.Unbootable, "%s is not one sector long, so that writing it is not atomic", l.env())
	}
	return nil
}

// State fails if the default has no entry.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	_, s, err := l.read()
	if err != nil {
		return s, err
	}
	if _, err := ReadEntry(l.dir, s.Default); err != nil {
		return s, be.E(be.Unbootable, "the default boot environment cannot be started: %w", err)
	}
	return s, nil
}

// Install makes the directories, the entry of def if there is none, and the
// environment last: without that there is no loader.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := boot.CheckID(def.ID); err != nil {
		return err
	}
	for _, dir := range []string{l.dir, filepath.Join(l.dir, "entries")} {
		if err := l.disk.Mkdir(dir); err != nil {
			return be.E(be.NoStore, "cannot set up the loader: %w", err)
		}
	}
	if err := l.disk.Sweep(filepath.Join(l.dir, "entries")); err != nil {
		return be.E(be.NoStore, "cannot set up the loader: %w", err)
	}
	if _, err := ReadEntry(l.dir, def.ID); err != nil {
		if err := l.put(def); err != nil {
			return err
		}
	}
	e, s, err := l.read()
	if err != nil {
		e, s = grubenv.New(), boot.State{}
	}
	if _, err := ReadEntry(l.dir, s.Default); err == nil {
		return l.disk.Sync(l.dir)
	}
	s.Default = def.ID
	for name, v := range map[string]string{varDefault: s.Default, varTrial: s.Trial, varTried: s.Tried} {
		if err := e.Set(name, v); err != nil {
			return be.E(be.NoStore, "cannot set up the loader: %w", err)
		}
	}
	b, err := e.Encode()
	if err == nil {
		err = l.disk.Replace(l.env(), b)
	}
	if err != nil {
		return be.E(be.NoStore, "cannot set up the loader: %w", err)
	}
	return nil
}

// Put replaces the entry's file.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	if _, _, err := l.read(); err != nil {
		return err
	}
	return l.put(e)
}

func (l *Loader) put(e boot.Entry) error {
	e.Title = strings.ToValidUTF8(e.Title, "?")
	b, err := json.MarshalIndent(e, "", "\t")
	if err == nil {
		err = l.disk.Replace(l.entry(e.ID), append(b, '\n'))
	}
	if err != nil {
		return be.E(be.Other, "cannot write the loader's entry for %s: %w", e.ID, err)
	}
	return nil
}

// CopyEntry copies the file.
func (l *Loader) CopyEntry(ctx context.Context, from boot.Loader, id string) error {
	other, ok := from.(*Loader)
	if !ok {
		return fmt.Errorf("cannot copy an entry of %s to stub", from.Name())
	}
	e, err := ReadEntry(other.dir, id)
	if err != nil {
		return err
	}
	if have, err := ReadEntry(l.dir, id); err == nil && reflect.DeepEqual(have, e) {
		return nil
	}
	return l.Put(ctx, e)
}

// FollowDefault is SetDefault: the token is in env.
func (l *Loader) FollowDefault(ctx context.Context, id string) error { return l.SetDefault(ctx, id) }

// ReadEntry returns the entry of id in the loader's directory dir.
func ReadEntry(dir, id string) (boot.Entry, error) {
	if err := boot.CheckID(id); err != nil {
		return boot.Entry{}, err
	}
	b, err := durable.Read(filepath.Join(dir, "entries", id+".json"), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return boot.Entry{}, be.E(be.NotFound, "the loader has no entry for %s", id)
	}
	if err != nil {
		return boot.Entry{}, be.E(be.Unbootable, "cannot read the loader's entry for %s: %w", id, err)
	}
	var e boot.Entry
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&e); err != nil || e.ID != id {
		return boot.Entry{}, be.E(be.Unbootable, "the loader's entry for %s is damaged", id)
	}
	return e, nil
}

// CheckEntry looks whether there is one that can be read: it has no kernel.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	_, err := ReadEntry(l.dir, id)
	return err
}

// CheckEntryWhole is CheckEntry.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.CheckEntry(ctx, id, root)
}

// Remove takes the entry away.
func (l *Loader) Remove(ctx context.Context, id string) error {
	if err := boot.CheckID(id); err != nil {
		return err
	}
	_, s, err := l.read()
	if err != nil {
		return err
	}
	switch id {
	case s.Default:
		return be.E(be.InUse, "%s is what boots by default", id)
	case s.Trial:
		return be.E(be.InUse, "%s is armed: it boots next", id)
	}
	if err := l.disk.Remove(l.entry(id)); err != nil {
		return be.E(be.Other, "cannot remove the loader's entry for %s: %w", id, err)
	}
	return l.disk.Sweep(filepath.Join(l.dir, "entries"))
}

// Tidy removes what a cut left unfinished.
func (l *Loader) Tidy(ctx context.Context) error {
	return l.disk.Sweep(filepath.Join(l.dir, "entries"))
}

// Entries lists the IDs that have an entry.
func (l *Loader) Entries(ctx context.Context) ([]string, error) {
	if _, _, err := l.read(); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(filepath.Join(l.dir, "entries"))
	if err != nil {
		return nil, be.E(be.NoStore, "cannot read the loader's entries: %w", err)
	}
	var ids []string
	for _, e := range list {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && boot.ValidID(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// change writes the environment unless it says so already, and makes sure
// that what it says is durable either way.
func (l *Loader) change(f func(*boot.State)) error {
	e, s, err := l.read()
	if err != nil {
		return err
	}
	want := s
	f(&want)
	if err := l.disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot sync the loader's files: %w", err)
	}
	if want == s {
		return nil
	}
	if err := l.write(e, want); err != nil {
		return be.E(be.Unbootable, "cannot write the loader's environment: %w", err)
	}
	return nil
}

// Arm writes the token.
func (l *Loader) Arm(ctx context.Context, id string) error {
	if _, err := ReadEntry(l.dir, id); err != nil {
		return err
	}
	if err := l.Probe(ctx); err != nil {
		return err
	}
	return l.change(func(s *boot.State) { s.Trial, s.Tried = id, "" })
}

// Disarm takes an unconsumed token back.
func (l *Loader) Disarm(ctx context.Context) error {
	return l.change(func(s *boot.State) { s.Trial = "" })
}

// SetDefault makes id the default, in one write.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	if _, _, err := l.read(); err != nil {
		return err
	}
	if _, err := ReadEntry(l.dir, id); err != nil {
		return err
	}
	return l.change(func(s *boot.State) { *s = boot.State{Default: id} })
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	return l.change(func(s *boot.State) { s.Tried = "" })
}

// Consume plays the loader of the directory dir: it takes the token of a
// trial away, durably, and returns what to start. If that cannot be written,
// or is not there when it is read back, or the trial has no entry, it is the
// default, and no trial.
func Consume(dir string) (id string, trial bool, err error) {
	return consume(New(Config{Dir: dir}))
}

func consume(l *Loader) (id string, trial bool, err error) {
	e, s, err := l.read()
	if err != nil {
		return "", false, err
	}
	if s.Trial != "" {
		want := boot.State{Default: s.Default, Tried: s.Trial}
		if l.write(e, want) == nil {
			_, back, err := l.read()
			_, entryErr := ReadEntry(l.dir, s.Trial)
			if err == nil && back == want && entryErr == nil {
				return s.Trial, true, nil
			}
		}
	}
	if _, err := ReadEntry(l.dir, s.Default); err != nil {
		return "", false, fmt.Errorf("nothing to start: %w", err)
	}
	return s.Default, false, nil
}
