// Package grub makes boot environments bootable with GRUB 2 on BIOS and UEFI.
//
// Everything is in one directory, beadm, of a FAT or ext2/3/4 partition that
// GRUB can write to, which it cannot on ZFS, btrfs, LVM or RAID. With UEFI one
// on a mirror or a logical volume, which it can read, will do too:
//
//	env          environment block of 512 bytes: beadm_default, beadm_trial,
//	             beadm_tried; rewritten in place, by us and by GRUB. With
//	             beadm_next in place of beadm_trial it is not GRUB that takes
//	             the token (next.go)
//	default.cfg  the default once more, one sector rewritten in place: what
//	             boots if env is lost
//	grub.cfg     what GRUB runs: takes the token, builds the menu; never
//	             rewritten once installed
//	entries/     one menu entry a file, ID.cfg
//	kernels/     kernels and initrds of roots that GRUB cannot read, by content
//
// The default is written to env first and then to default.cfg, and while the
// two differ the entries of both are kept: whichever of the two GRUB reads,
// there is something to boot.
package grub

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
	"beadm/activate/boot/partition"
	"beadm/be"
)

// DefaultTimeout is how many seconds the menu can be called up for.
const DefaultTimeout = 3

// Config says where GRUB's files are.
type Config struct {
	// Dir is where the partition is mounted, for example /boot/efi.
	Dir string

	// Timeout in seconds; 0 is DefaultTimeout, less is none at all. It is
	// looked at by Install only.
	Timeout int

	// Reached says, as an error, why this machine's GRUB does not come to
	// <Dir>/beadm/grub.cfg. nil stands for DefaultReached. A loader whose
	// core image has the path built in may be vouched for here.
	Reached func(ctx context.Context, dir string) error

	// Hook lets Install put a call of our grub.cfg at the head of the small
	// files on the same partition that GRUB on UEFI reads first
	// (EFI/*/grub.cfg). Nothing else of another's is ever written, and GRUB
	// itself never installed.
	Hook bool

	// Token is how a trial is armed: TokenEnv, TokenBootNext, or, if empty,
	// the first of these that can be consumed here.
	Token string

	// Variables, if nil, are those of efivarfs at its usual place; ESP, if
	// empty, is Dir or where the ESP usually is mounted; Drives, if nil, is
	// partition.Drives. All are for TokenBootNext.
	Variables Variables
	ESP       string
	Drives    func(esp string) ([]efivar.HardDrive, error)

	// Self is what the partition is called in the argument that says which of
	// several a kernel was started from (boot.ArgLoader). Empty: none is given.
	Self string

	// Kernels says where kernels are read from: KernelsRoot, KernelsLoader, or
	// KernelsAuto, which is the same as nothing.
	Kernels string

	// Free, if nil, asks the file system how many bytes can still be written.
	Free func(dir string) (int64, error)

	// AllowLoop accepts a partition on a loop device, and AnyMedium accepts
	// any directory: for tests.
	AllowLoop bool
	AnyMedium bool

	// Disk does the effects.
	Disk durable.Disk
}

// Loader is GRUB with its files in one directory.
type Loader struct {
	cfg  Config
	dir  string
	vars Variables
}

var _ boot.Loader = (*Loader)(nil)

// New touches nothing.
func New(cfg Config) *Loader {
	if cfg.Reached == nil {
		cfg.Reached = DefaultReached
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Variables == nil {
		cfg.Variables = efivar.Dir(efivar.Mount)
	}
	if cfg.Drives == nil {
		cfg.Drives = partition.Drives
	}
	return &Loader{cfg: cfg, dir: filepath.Join(cfg.Dir, "beadm"), vars: cfg.Variables}
}

// Name is "grub".
func (l *Loader) Name() string { return "grub" }

func (l *Loader) path(name string) string    { return filepath.Join(l.dir, name) }
func (l *Loader) entryPath(id string) string { return filepath.Join(l.dir, "entries", id+".cfg") }

// maxFile bounds every file of ours.
const maxFile = 64 << 10

// Names of the variables in env.
const (
	varDefault = "beadm_default"
	varTrial   = "beadm_trial"
	varTried   = "beadm_tried"
	varNext    = "beadm_next" // a trial whose token is the firmware's BootNext
)

// installed fails with NoStore if our directory is not there.
func (l *Loader) installed() error {
	info, err := os.Stat(l.path("entries"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return be.E(be.NoStore, "GRUB is not set up for boot environments: %s is not there; run beadm setup", l.path("entries"))
	}
	if err != nil {
		return be.E(be.NoStore, "cannot look at GRUB's files: %w", err)
	}
	return nil
}

// Entries lists the IDs that have an entry, whole or not.
func (l *Loader) Entries(ctx context.Context) ([]string, error) {
	if err := l.installed(); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(l.path("entries"))
	if err != nil {
		return nil, be.E(be.NoStore, "cannot read GRUB's menu entries: %w", err)
	}
	var ids []string
	for _, e := range list {
		if id, ok := strings.CutSuffix(e.Name(), ".cfg"); ok && boot.ValidID(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// hasEntry asks what GRUB asks with [ -f ].
func (l *Loader) hasEntry(id string) bool {
	if !boot.ValidID(id) {
		return false
	}
	info, err := os.Stat(l.entryPath(id))
	return err == nil && info.Mode().IsRegular()
}

// readEntry returns the entry of id if it is as it was written.
func (l *Loader) readEntry(id string) ([]byte, error) {
	if err := boot.CheckID(id); err != nil {
		return nil, err
	}
	b, err := durable.Read(l.entryPath(id), maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, be.E(be.NotFound, "GRUB has no menu entry for %s", id)
	case err != nil:
		return nil, be.E(be.Unbootable, "cannot read GRUB's menu entry for %s: %w", id, err)
	case !sealed(b):
		return nil, be.E(be.Unbootable, "GRUB's menu entry for %s (%s) is damaged or was edited", id, l.entryPath(id))
	}
	return b, nil
}

// wholeEntry says why GRUB could not boot by the entry of id: a text that is
// not ours, or a kernel on its partition that is not what it was.
func (l *Loader) wholeEntry(id string) error {
	b, err := l.readEntry(id)
	if err != nil {
		return err
	}
	if err := l.kernels().Whole(named(b)...); err != nil {
		return be.E(be.Unbootable, "what GRUB would start for %s is not there: %w", id, err)
	}
	return nil
}

// Put writes the entry, and nothing if it is there as it should be. A kernel
// that GRUB cannot read from the root is on GRUB's partition before the entry.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	return l.put(ctx, e)
}

func (l *Loader) roomInMenu(ctx context.Context, id string) error {
	if l.hasEntry(id) {
		return nil
	}
	ids, err := l.Entries(ctx)
	if err != nil {
		return err
	}
	if len(ids) >= maxEntries {
		return be.E(be.InUse, "GRUB's menu holds %d boot environments and is full: destroy one first", maxEntries)
	}
	return nil
}

func (l *Loader) putText(ctx context.Context, id string, text []byte) error {
	if err := l.roomInMenu(ctx, id); err != nil {
		return err
	}
	if err := l.cfg.Disk.Replace(l.entryPath(id), text); err != nil {
		return be.E(be.Other, "cannot write GRUB's menu entry for %s: %w", id, err)
	}
	return nil
}

// Remove takes the entry away.
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
	switch id {
	case s.Default:
		return be.E(be.InUse, "%s is what GRUB boots by default", id)
	case s.Trial:
		return be.E(be.InUse, "%s is armed: GRUB boots it next", id)
	}
	// A SetDefault that was cut half way left this id in default.cfg.
	if err := l.mend(s); err != nil {
		return err
	}
	if l.baked() == id {
		return be.E(be.InUse, "%s is what GRUB boots if its environment is lost", id)
	}
	if err := l.cfg.Disk.Remove(l.entryPath(id)); err != nil {
		return be.E(be.Other, "cannot remove GRUB's menu entry for %s: %w", id, err)
	}
	return l.Tidy(ctx)
}

// Tidy removes what a cut left unfinished: of a Put, also kernels that are
// whole and that no entry came to name; of a trial, what is in the firmware.
func (l *Loader) Tidy(ctx context.Context) error {
	if err := l.cfg.Disk.Sweep(l.path("entries")); err != nil {
		return err
	}
	if err := l.kernels().Sweep(); err != nil {
		return err
	}
	if err := l.kernels().Drop(l.texts); err != nil {
		return err
	}
	s, err := l.State(ctx)
	if err != nil || s.Trial != "" {
		return nil
	}
	return l.dropNext()
}
