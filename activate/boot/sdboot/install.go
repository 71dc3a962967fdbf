package sdboot

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// Install puts the files in place, each only if it is not whole, and the
// default last: before that systemd-boot does what it did. It refuses, with
// nothing written, where systemd-boot did not start this system from this ESP:
// what is written here nobody would read.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := boot.CheckID(def.ID); err != nil {
		return err
	}
	if err := l.started(); err != nil {
		return err
	}
	d := l.cfg.Disk
	loader := filepath.Join(l.cfg.Dir, "loader")
	for _, dir := range []string{l.dir, l.path("kernels"), l.path("trials"), loader, l.entriesDir()} {
		if err := d.Mkdir(dir); err != nil {
			return be.E(be.NoStore, "cannot set up systemd-boot: %w", err)
		}
	}
	if err := l.sweep(); err != nil {
		return be.E(be.NoStore, "cannot set up systemd-boot: %w", err)
	}
	// An entry that is there is kept, whatever def says now; Put changes it.
	if l.wholeEntry(def.ID) != nil {
		if err := l.put(ctx, def); err != nil {
			return err
		}
	}
	if _, err := l.readRecord(); err != nil {
		b, err := record{}.encode()
		if err == nil {
			err = d.Replace(l.path("trial"), b)
		}
		if err != nil {
			return be.E(be.NoStore, "cannot set up systemd-boot: %w", err)
		}
	}
	conf, err := l.conf()
	if err != nil {
		return err
	}
	if !l.hasEntry(confDefault(conf)) {
		if err := l.writeConfDefault(conf, def.ID); err != nil {
			return err
		}
	}
	if err := d.Sync(l.dir); err != nil {
		return be.E(be.NoStore, "cannot set up systemd-boot: %w", err)
	}
	return l.Probe(ctx)
}

// sweep removes what a cut left unfinished. Where others keep files too, only
// what has a name of ours.
func (l *Loader) sweep() error {
	if err := l.kernels().Sweep(); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sweep(l.path("trials")); err != nil {
		return err
	}
	list, err := os.ReadDir(l.entriesDir())
	if err != nil {
		return err
	}
	for _, e := range list {
		name, unfinished := strings.CutSuffix(e.Name(), durable.TempSuffix)
		if !unfinished || entryID(name) == "" && trialID(name) == "" {
			continue
		}
		if err := l.cfg.Disk.Remove(filepath.Join(l.entriesDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// started says why systemd-boot does not read this ESP, as far as the
// variables tell that it left for this boot.
func (l *Loader) started() error {
	if err := l.vars.Writable(); err != nil {
		return be.E(be.Unbootable, "no token can be written for systemd-boot: %w", err)
	}
	info, err := l.text(efivar.Info)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(info, "systemd-boot") {
		what := "by " + info
		if info == "" {
			what = "by a loader that does not say its name"
		}
		return be.E(be.NoStore, "this system was not started by systemd-boot but %s: have the firmware start systemd-boot (bootctl install) and restart once", what)
	}
	theirs, ours, err := l.partitions()
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(theirs, ours):
	case l.cfg.OneOf:
		if !l.holdsLoader() {
			return be.E(be.NoStore, "there is no systemd-boot on it: bootctl --esp-path=DIR install, with DIR where it is mounted, puts it there")
		}
	default:
		return be.E(be.Unbootable, "systemd-boot was started from the partition %q and reads that one, but %s is on the partition %q: give the ESP that was started from", theirs, l.cfg.Dir, ours)
	}
	if b, err := l.vars.Read(efivar.Features); err == nil && len(b) == 8 && binary.LittleEndian.Uint64(b)&efivar.FeatureOneShot == 0 {
		return be.E(be.Unbootable, "%s starts no entry once: systemd-boot can from version 240 on", info)
	}
	return nil
}

// Probe says why systemd-boot could not consume a token here, would not fall
// back to the default, or could not be given another one afterwards.
func (l *Loader) Probe(ctx context.Context) error {
	if err := l.installed(); err != nil {
		return err
	}
	if err := l.started(); err != nil {
		return err
	}
	if _, err := l.readRecord(); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path("trial"), os.O_RDWR, 0)
	if err != nil {
		return be.E(be.Unbootable, "cannot write to the ESP: %w", err)
	}
	f.Close()
	conf, err := l.conf()
	if err != nil {
		return err
	}
	if _, err := l.State(ctx); err != nil {
		return err
	}
	if err := l.overridden(conf); err != nil {
		return err
	}
	if v, ok := conf.Get("preferred"); ok {
		// It names the default, so a failed trial would come back. But no good
		// one could be confirmed: SetDefault leaves that line to its owner.
		return be.E(be.Unbootable, "`preferred %s` in %s stands before the default there, so that no trial could be confirmed; take that line out", v, l.confPath())
	}
	return nil
}
