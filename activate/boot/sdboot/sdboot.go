// Package sdboot makes boot environments bootable with systemd-boot.
//
// systemd-boot reads the ESP it was started from, and the firmware's variables
// (systemd-boot(7), systemd.io/BOOT_LOADER_INTERFACE). Ours are
//
//	loader/loader.conf                  `default` names the entry of the default; one line of it is ours
//	loader/entries/beadm-ID.conf        one entry for each boot environment
//	loader/entries/beadm-ID-trial.conf  the same with the arguments of a trial; only while one is armed or
//	                                    was tried, so that nobody picks it by chance
//	beadm/trials/ID.conf                what that will be made of
//	beadm/kernels/                      kernels and initrds, named by content: two boot environments with the
//	                                    same ones share them, and a name never gets another content
//	beadm/trial                         the record of the trial, one sector rewritten in place
//	LoaderEntryOneShot                  the token: names the trial's entry, and systemd-boot deletes it before
//	                                    it starts anything
//
// The token alone decides what boots; the record is for us: whoever comes back
// must know that there was a token. The two cannot be written at once, so the
// record says before and after that it is unsettled, and what a cut leaves
// unsettled counts as not tried: nothing is lost by trying again.
//
// Entries have plain names and no boot counters: a counter is part of an
// entry's id in some versions of systemd-boot and not in others, and the
// default is not subject to it in any.
package sdboot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/kernels"
	"beadm/activate/boot/partition"
	"beadm/be"
)

// Variables are those of the firmware. Read's error is fs.ErrNotExist if there
// is none of that name; Write replaces a value as a whole.
type Variables interface {
	Read(v efivar.Var) ([]byte, error)
	Write(v efivar.Var, data []byte) error
	Delete(v efivar.Var) error
	Present() error  // says why there are none: only without it fs.ErrNotExist means anything
	Writable() error // says why none can be written
}

// Config says where systemd-boot's files are.
type Config struct {
	// Dir is where the ESP is mounted.
	Dir string

	// Variables, if nil, are those of efivarfs at its usual place.
	Variables Variables

	// PartUUID, if nil, is partition.PartUUID.
	PartUUID func(dir string) (string, error)

	// Free, if nil, asks the file system how many bytes can still be written.
	Free func(dir string) (int64, error)

	// OneOf: this is one of several ESPs, and need not be the one that this
	// system was started from.
	OneOf bool

	// Disk does the effects, those on variables too.
	Disk durable.Disk
}

// Loader is systemd-boot with its ESP.
type Loader struct {
	cfg  Config
	vars Variables
	dir  string // our own directory
}

var _ boot.Loader = (*Loader)(nil)

// New touches nothing.
func New(cfg Config) *Loader {
	if cfg.PartUUID == nil {
		cfg.PartUUID = partition.PartUUID
	}
	if cfg.Variables == nil {
		cfg.Variables = efivar.Dir(efivar.Mount)
	}
	return &Loader{cfg: cfg, vars: cfg.Variables, dir: filepath.Join(cfg.Dir, "beadm")}
}

// Name is "systemd-boot".
func (l *Loader) Name() string { return "systemd-boot" }

func (l *Loader) path(name string) string { return filepath.Join(l.dir, name) }

func (l *Loader) confPath() string              { return filepath.Join(l.cfg.Dir, "loader", "loader.conf") }
func (l *Loader) entriesDir() string            { return filepath.Join(l.cfg.Dir, "loader", "entries") }
func (l *Loader) entryPath(id string) string    { return filepath.Join(l.entriesDir(), entryName(id)) }
func (l *Loader) trialPath(id string) string    { return filepath.Join(l.entriesDir(), trialName(id)) }
func (l *Loader) templatePath(id string) string { return filepath.Join(l.path("trials"), id+".conf") }

// An entry's id, as variables and loader.conf have it, is its file's name.
const (
	namePrefix  = "beadm-"
	entrySuffix = ".conf"
	trialSuffix = "-trial.conf"
)

func entryName(id string) string { return namePrefix + id + entrySuffix }
func trialName(id string) string { return namePrefix + id + trialSuffix }

// entryID and trialID return the id in a name, or nothing.
func entryID(name string) string { return between(name, entrySuffix) }
func trialID(name string) string { return between(name, trialSuffix) }

func between(name, suffix string) string {
	id, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return ""
	}
	if id, ok = strings.CutSuffix(id, suffix); !ok || !boot.ValidID(id) {
		return ""
	}
	return id
}

// maxFile bounds every text file.
const maxFile = 64 << 10

// installed fails with NoStore if our files are not there.
func (l *Loader) installed() error {
	info, err := os.Stat(l.path("trial"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return be.E(be.NoStore, "systemd-boot is not set up for boot environments: %s is not there; run beadm setup", l.path("trial"))
	}
	if err != nil {
		return be.E(be.NoStore, "cannot look at systemd-boot's files: %w", err)
	}
	return nil
}

// Entries lists the IDs that have an entry, whole or not.
func (l *Loader) Entries(ctx context.Context) ([]string, error) {
	if err := l.installed(); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(l.entriesDir())
	if err != nil {
		return nil, be.E(be.NoStore, "cannot read systemd-boot's entries: %w", err)
	}
	var ids []string
	for _, e := range list {
		if id := entryID(e.Name()); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (l *Loader) hasEntry(id string) bool {
	if !boot.ValidID(id) {
		return false
	}
	info, err := os.Stat(l.entryPath(id))
	return err == nil && info.Mode().IsRegular()
}

// wholeEntry says why systemd-boot could not boot by the entry of id, as a
// trial or not: a text that is not ours, or a kernel that is not what it was.
func (l *Loader) wholeEntry(id string) error {
	return l.checkEntry(id, kernels.Dir.Whole)
}

// CheckEntry looks at the entry's texts and whether its files are there.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	return l.checkEntry(id, kernels.Dir.There)
}

// CheckEntryWhole reads the files, too.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.wholeEntry(id)
}

func (l *Loader) checkEntry(id string, files func(d kernels.Dir, names ...string) error) error {
	if err := boot.CheckID(id); err != nil {
		return err
	}
	var texts []byte
	for _, path := range []string{l.entryPath(id), l.templatePath(id)} {
		b, err := durable.Read(path, maxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return be.E(be.NotFound, "systemd-boot has no entry for %s: %s is not there", id, path)
		case err != nil:
			return be.E(be.Unbootable, "cannot read systemd-boot's entry for %s: %w", id, err)
		case !sealed(b):
			return be.E(be.Unbootable, "systemd-boot's entry for %s (%s) is damaged or was edited", id, path)
		}
		texts = append(texts, b...)
	}
	names, err := named(texts)
	if err == nil {
		err = files(l.kernels(), names...)
	}
	if err != nil {
		return be.E(be.Unbootable, "what systemd-boot would start for %s is not there: %w", id, err)
	}
	return nil
}

// Put copies the kernel and the initrd to the ESP, unless they are there, and
// then writes the entry. The files that it had before go last.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	_ = l.noticeForeign() // without variables an entry is put all the same
	return l.put(ctx, e)
}

func (l *Loader) put(ctx context.Context, e boot.Entry) error {
	src, err := kernels.Open(ctx, e, true)
	if err != nil {
		return err
	}
	defer src.Close()
	names := files{src.Kernel(), src.Initrd()}
	normal, err := entryText(e, names, false)
	if err != nil {
		return err
	}
	trial, err := entryText(e, names, true)
	if err != nil {
		return err
	}
	if err := l.kernels().Bring(e.ID, src, l.texts); err != nil {
		return err
	}
	return l.putTexts(e.ID, normal, trial)
}

var _ boot.Fitter = (*Loader)(nil)

// Fits implements boot.Fitter.
func (l *Loader) Fits(ctx context.Context, e boot.Entry) error {
	src, err := kernels.Open(ctx, e, true)
	if err != nil {
		return err
	}
	defer src.Close()
	return l.kernels().Fits(e.ID, src, l.texts)
}

// putTexts writes the files of an entry whose kernel is in place, and drops
// what nothing names any more.
func (l *Loader) putTexts(id string, normal, trial []byte) error {
	type file struct {
		path string
		text []byte
	}
	list := []file{{l.templatePath(id), trial}}
	if _, err := os.Lstat(l.trialPath(id)); err == nil {
		list = append(list, file{l.trialPath(id), trial}) // it may be armed
	}
	for _, f := range append(list, file{l.entryPath(id), normal}) {
		if err := l.cfg.Disk.Replace(f.path, f.text); err != nil {
			return be.E(be.Other, "cannot write systemd-boot's entry for %s: %w", id, err)
		}
	}
	return l.kernels().Drop(l.texts)
}

// Remove takes the entry away, and then the files that no other one names.
func (l *Loader) Remove(ctx context.Context, id string) error {
	if err := boot.CheckID(id); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	s, err := l.State(ctx)
	if err != nil {
		return err
	}
	if err := l.noticeForeign(); err != nil {
		return err
	}
	conf, err := l.conf()
	if err != nil {
		return err
	}
	switch id {
	case s.Default, confDefault(conf):
		return be.E(be.InUse, "%s is what systemd-boot boots by default", id)
	case s.Trial:
		return be.E(be.InUse, "%s is armed: systemd-boot boots it next", id)
	}
	for _, path := range []string{l.entryPath(id), l.trialPath(id), l.templatePath(id)} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && path != l.entryPath(id) {
			continue
		}
		if err := l.cfg.Disk.Remove(path); err != nil {
			return be.E(be.Other, "cannot remove systemd-boot's entry for %s: %w", id, err)
		}
	}
	if err := l.sweep(); err != nil {
		return be.E(be.Other, "cannot tidy the ESP: %w", err)
	}
	return l.kernels().Drop(l.texts)
}

// Tidy removes what a cut left unfinished: of a Put, also kernels that are
// whole and that no entry came to name.
func (l *Loader) Tidy(ctx context.Context) error {
	if err := l.sweep(); err != nil {
		return be.E(be.Other, "cannot tidy the ESP: %w", err)
	}
	return errors.Join(l.noticeForeign(), l.kernels().Drop(l.texts))
}
