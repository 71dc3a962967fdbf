package sdboot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/kernels"
	"beadm/activate/boot/mirror"
	"beadm/be"
)

var _ mirror.Copy = (*Loader)(nil)

// CopyEntry copies the kernel and the initrd, and then the entry.
func (l *Loader) CopyEntry(ctx context.Context, from boot.Loader, id string) error {
	other, ok := from.(*Loader)
	if !ok {
		return fmt.Errorf("cannot copy an entry of %s to systemd-boot", from.Name())
	}
	if err := boot.CheckID(id); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	if err := other.checkEntry(id, kernels.Dir.There); err != nil {
		return err
	}
	var texts [2][]byte
	same := true
	for i, path := range []func(*Loader) string{
		func(l *Loader) string { return l.templatePath(id) }, func(l *Loader) string { return l.entryPath(id) },
	} {
		var err error
		if texts[i], err = durable.Read(path(other), maxFile); err != nil {
			return be.E(be.Unbootable, "cannot copy systemd-boot's entry for %s: %w", id, err)
		}
		have, err := durable.Read(path(l), maxFile)
		same = same && err == nil && string(have) == string(texts[i])
	}
	if same && l.checkEntry(id, kernels.Dir.There) == nil {
		return nil
	}
	// A Put that was cut left two kernels: From refuses that, Put mends it.
	names, err := named(append(append([]byte{}, texts[0]...), texts[1]...))
	if err != nil {
		return be.E(be.Unbootable, "cannot copy systemd-boot's entry for %s: %w", id, err)
	}
	src, err := kernels.From(other.kernels(), names)
	if err != nil {
		return be.E(be.Unbootable, "cannot copy the kernel of %s: %w", id, err)
	}
	defer src.Close()
	if err := l.kernels().Bring(id, src, l.texts); err != nil {
		return err
	}
	return l.putTexts(id, texts[1], texts[0])
}

// FollowDefault writes the default of this ESP and leaves the variables, the
// token among them, as they are.
func (l *Loader) FollowDefault(ctx context.Context, id string) error {
	if err := l.wholeEntry(id); err != nil {
		return err
	}
	conf, err := l.conf()
	if err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot make %s the default: %w", id, err)
	}
	if err := l.writeConfDefault(conf, id); err != nil {
		return err
	}
	return l.cfg.Disk.Sync(l.dir)
}

// Started says whether systemd-boot started this system from this ESP.
func (l *Loader) Started() bool {
	theirs, ours, err := l.partitions()
	return err == nil && theirs != "" && strings.EqualFold(theirs, ours)
}

// partitions are the one that systemd-boot was started from, and ours.
func (l *Loader) partitions() (theirs, ours string, err error) {
	if theirs, err = l.text(efivar.PartUUID); err != nil {
		return "", "", err
	}
	if ours, err = l.cfg.PartUUID(l.cfg.Dir); err != nil {
		return "", "", be.E(be.Unbootable, "cannot see whether systemd-boot reads %s: %w", l.cfg.Dir, err)
	}
	return theirs, ours, nil
}

// holdsLoader says whether the ESP has something for the firmware to start:
// systemd-boot where bootctl(1) puts it, whatever else is there.
func (l *Loader) holdsLoader() bool {
	list, err := os.ReadDir(filepath.Join(l.cfg.Dir, "EFI", "systemd"))
	if err != nil {
		return false
	}
	for _, e := range list {
		name := strings.ToLower(e.Name())
		if e.Type().IsRegular() && strings.HasPrefix(name, "systemd-boot") && strings.HasSuffix(name, ".efi") {
			return true
		}
	}
	return false
}
