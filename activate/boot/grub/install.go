package grub

import (
	"context"
	"errors"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/grubenv"
	"beadm/be"
)

// Install puts the files in place, each only if it is not whole, and grub.cfg
// last: before that GRUB does not look at the others, or looks at the whole
// installation that was there before. Then the way to it is made, if
// Config.Hook allows, and verified: a NoStore error says what the
// administrator has to do, and everything is in place for that.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := l.acceptable(def); err != nil {
		return err
	}
	kind, medium, err := l.token()
	if err != nil {
		return err
	}
	d := l.cfg.Disk
	for _, dir := range []string{l.dir, l.path("entries")} {
		if err := d.Mkdir(dir); err != nil {
			return be.E(be.NoStore, "cannot set up GRUB: %w", err)
		}
	}
	if err := d.Sweep(l.path("entries")); err != nil {
		return be.E(be.NoStore, "cannot set up GRUB: %w", err)
	}
	// An entry that is there is kept, whatever def says now; Put changes it.
	if l.wholeEntry(def.ID) != nil {
		if err := l.Put(ctx, def); err != nil {
			return err
		}
	}
	s, err := l.State(ctx)
	id := def.ID
	if l.hasEntry(s.Default) {
		id = s.Default
	}
	if baked := l.baked(); err != nil && !l.hasEntry(s.Default) && l.hasEntry(baked) {
		id = baked
	}
	if err := l.bake(id); err != nil {
		return err
	}
	if err := l.repairEnv(id); err != nil {
		return err
	}
	if err := d.Replace(l.path("grub.cfg"), withSelf(configText(medium.uuid, l.cfg.Timeout), l.cfg.Self)); err != nil {
		return be.E(be.NoStore, "cannot set up GRUB: %w", err)
	}
	if l.cfg.Hook {
		if err := l.hook(medium); err != nil {
			return err
		}
	}
	switch kind {
	case TokenEnv:
		if err := l.dropImage(); err != nil {
			return be.E(be.NoStore, "cannot set up GRUB: %w", err)
		}
	case TokenBootNext:
		// What is not there yet needs room on the ESP: said now, not when
		// something is to be armed.
		if _, err := l.copyImage(medium); err != nil {
			return err
		}
	}
	if err := l.Tidy(ctx); err != nil {
		return be.E(be.NoStore, "cannot set up GRUB: %w", err)
	}
	if err := d.Sync(l.dir); err != nil {
		return be.E(be.NoStore, "cannot set up GRUB: %w", err)
	}
	return l.Probe(ctx)
}

// repairEnv leaves an environment of one sector with a default that boots and
// tokens that are ids. Variables of others, and a valid trial, are kept.
func (l *Loader) repairEnv(id string) error {
	e, err := l.env()
	if err != nil {
		b, err := newEnv(record{def: id}).Encode()
		if err == nil {
			err = l.cfg.Disk.Replace(l.path("env"), b)
		}
		if err != nil {
			return be.E(be.NoStore, "cannot make GRUB's environment: %w", err)
		}
		return nil
	}
	fresh := grubenv.New()
	for _, name := range e.Names() {
		v, _ := e.Get(name)
		if err := fresh.Set(name, v); err != nil {
			return be.E(be.NoStore, "cannot repair GRUB's environment: %w", err)
		}
	}
	if v, _ := e.Get(varDefault); !l.hasEntry(v) {
		fresh.Set(varDefault, id)
	}
	for _, name := range []string{varTrial, varTried, varNext} {
		if v, ok := e.Get(name); !boot.ValidID(v) && (ok || name != varNext) {
			fresh.Set(name, "")
		}
	}
	b, err := fresh.Encode()
	if errors.Is(err, grubenv.ErrFull) {
		return be.E(be.NoStore, "%s: %w: remove variables with grub-editenv", l.path("env"), err)
	}
	if err == nil {
		err = l.cfg.Disk.Replace(l.path("env"), b)
	}
	if err != nil {
		return be.E(be.NoStore, "cannot repair GRUB's environment: %w", err)
	}
	return nil
}

// Probe says why GRUB could not consume a token here.
func (l *Loader) Probe(ctx context.Context) error {
	if err := l.installed(); err != nil {
		return err
	}
	kind, m, err := l.token()
	if err != nil {
		return err
	}
	b, err := durable.Read(l.path("grub.cfg"), maxFile)
	if err != nil {
		return be.E(be.NoStore, "cannot read GRUB's configuration: %w; run beadm setup", err)
	}
	if !sealed(b) {
		return be.E(be.Unbootable, "%s is damaged or was edited; run beadm setup", l.path("grub.cfg"))
	}
	// Version 1 knows nothing of the firmware's token, and is the same else.
	if v := configVersion(b); v != configNow && (v != 1 || kind != TokenEnv) {
		return be.E(be.Unbootable, "%s was made by another version of beadm (%d, this is %d); run beadm setup", l.path("grub.cfg"), v, configNow)
	}
	if _, err := l.env(); err != nil {
		return err
	}
	raw, err := durable.Read(l.path("env"), maxFile)
	if err != nil || len(raw) != grubenv.Size {
		return be.E(be.Unbootable, "%s has %d bytes instead of %d, so that writing it is not atomic; run beadm setup", l.path("env"), len(raw), grubenv.Size)
	}
	if err := writable(l.path("env")); err != nil && kind == TokenEnv {
		return err
	}
	if !l.hasEntry(l.baked()) {
		return be.E(be.Unbootable, "%s names no boot environment that has an entry, so nothing would boot if GRUB's environment were lost; run beadm setup", l.path("default.cfg"))
	}
	if _, err := l.State(ctx); err != nil {
		return err
	}
	if kind == TokenBootNext {
		if _, err := l.findImage(); err != nil {
			return err
		}
	}
	err = l.cfg.Reached(ctx, l.cfg.Dir)
	// Of several partitions the ESP may call another.
	uuid := ""
	if l.cfg.Self != "" {
		uuid = m.uuid
	}
	if esp, lost := l.findESP(); err != nil && lost == nil && hooked(esp, uuid) {
		return nil
	}
	return err
}
