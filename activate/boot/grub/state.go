package grub

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/grubenv"
	"beadm/be"
)

// errLost marks an environment from which GRUB loads nothing: not there, or
// without the signature. There is no token in it.
var errLost = errors.New("GRUB's environment is lost")

// env reads and parses the environment. An error that is not errLost means
// that GRUB may read something there, but not what.
func (l *Loader) env() (*grubenv.Env, error) {
	path := l.path("env")
	b, err := durable.Read(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, be.E(be.Unbootable, "%w: %s is missing; run beadm setup", errLost, path)
	case err != nil:
		return nil, be.E(be.Unbootable, "cannot read GRUB's environment: %w", err)
	case !strings.HasPrefix(string(b), grubenv.Signature):
		return nil, be.E(be.Unbootable, "%w: %s is no environment block; run beadm setup", errLost, path)
	}
	e, err := grubenv.Parse(b)
	if err != nil {
		return nil, be.E(be.Unbootable, "cannot read GRUB's environment %s: %w; run beadm setup", path, err)
	}
	return e, nil
}

// baked is the default in default.cfg, empty if that is not whole.
func (l *Loader) baked() string {
	b, err := durable.Read(l.path("default.cfg"), maxFile)
	if err != nil {
		return ""
	}
	return parseBaked(b)
}

// State decides as grub.cfg does. A lost environment is no error here: GRUB
// boots the default of default.cfg then. Probe reports it.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	if err := l.installed(); err != nil {
		return boot.State{}, err
	}
	var s boot.State
	e, err := l.env()
	switch {
	case err == nil:
		s.Default, _ = e.Get(varDefault)
		s.Trial, _ = e.Get(varTrial)
		s.Tried, _ = e.Get(varTried)
	case !errors.Is(err, errLost):
		return boot.State{}, err
	}
	if !l.hasEntry(s.Default) {
		s.Default = l.baked()
	}
	if !l.hasEntry(s.Default) {
		return s, be.E(be.Unbootable, "GRUB has no default boot environment: neither %s nor %s names one that has an entry", l.path("env"), l.path("default.cfg"))
	}
	for _, id := range []string{s.Trial, s.Tried} {
		if id != "" && !boot.ValidID(id) {
			return s, be.E(be.Unbootable, "GRUB's environment %s holds %q where the id of a boot environment belongs; run beadm setup", l.path("env"), id)
		}
	}
	return s, nil
}

// write puts s into the environment in one write, keeping what else is there.
func (l *Loader) write(s boot.State) error {
	e, err := l.env()
	if err != nil {
		// Nothing to keep, nothing to lose: the block as a whole is new. Until
		// its name leads to it GRUB boots by default.cfg.
		b, err := newEnvState(s).Encode()
		if err == nil {
			err = l.cfg.Disk.Replace(l.path("env"), b)
		}
		if err != nil {
			return be.E(be.Other, "cannot make GRUB's environment anew: %w", err)
		}
		return nil
	}
	// GRUB needs room to set tried.
	full := s
	if full.Tried == "" {
		full.Tried = full.Trial
	}
	setAll(e, full)
	if _, err := e.Encode(); err != nil {
		return be.E(be.Unbootable, "%s: %w: remove variables with grub-editenv", l.path("env"), err)
	}
	setAll(e, s)
	b, err := e.Encode()
	if err != nil {
		return be.E(be.Other, "%s: %w", l.path("env"), err)
	}
	if err := l.cfg.Disk.Overwrite(l.path("env"), b); err != nil {
		return be.E(be.Unbootable, "cannot write GRUB's environment: %w", err)
	}
	return nil
}

func newEnvState(s boot.State) *grubenv.Env {
	e := grubenv.New()
	setAll(e, s)
	return e
}

// bake writes default.cfg if it does not say def.
func (l *Loader) bake(def string) error {
	path := l.path("default.cfg")
	have, err := durable.Read(path, maxFile)
	if err == nil && parseBaked(have) == def {
		return nil
	}
	if err == nil && len(have) == durable.Sector {
		err = l.cfg.Disk.Overwrite(path, bakedText(def))
	} else {
		err = l.cfg.Disk.Replace(path, bakedText(def))
	}
	if err != nil {
		return be.E(be.Other, "cannot write GRUB's second copy of the default: %w", err)
	}
	return nil
}

// mend finishes a SetDefault that was cut between its two writes.
func (l *Loader) mend(s boot.State) error { return l.bake(s.Default) }

// Arm writes the token. It refuses where Probe has something to say, and an
// entry that is not whole.
func (l *Loader) Arm(ctx context.Context, id string) error {
	if err := l.wholeEntry(id); err != nil {
		return err
	}
	if err := l.Probe(ctx); err != nil {
		return err
	}
	s, err := l.State(ctx)
	if err != nil {
		return err
	}
	// What a failed trial falls back to must be able to boot by either copy.
	if err := l.wholeEntry(s.Default); err != nil {
		return err
	}
	if err := l.mend(s); err != nil {
		return err
	}
	want := boot.State{Default: s.Default, Trial: id}
	if s == want {
		return l.cfg.Disk.Sync(l.dir)
	}
	// Everything else, the entry and what it leads to, is on the disk before
	// the token is: GRUB may read it the moment after.
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if err := l.write(want); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if s, err = l.State(ctx); err != nil {
		return err
	}
	if s != want {
		return be.E(be.Unbootable, "the trial of %s was written but is not there: the medium of %s cannot be trusted", id, l.dir)
	}
	return nil
}

// change writes the environment unless it says so already.
func (l *Loader) change(ctx context.Context, f func(*boot.State)) error {
	s, err := l.State(ctx)
	if err != nil && be.KindOf(err) == be.NoStore {
		return err
	}
	damaged := err != nil
	want := s
	if damaged {
		want = boot.State{Default: s.Default}
		if !l.hasEntry(want.Default) {
			want.Default = l.baked()
		}
	}
	f(&want)
	if want == s && !damaged {
		// Perhaps written by a run that was cut before it was durable.
		return l.cfg.Disk.Sync(l.dir)
	}
	if err := l.write(want); err != nil {
		return err
	}
	return l.cfg.Disk.Sync(l.dir)
}

// Disarm takes the token back. An environment that cannot be read, but that
// GRUB may find a token in, is made anew.
func (l *Loader) Disarm(ctx context.Context) error {
	return l.change(ctx, func(s *boot.State) { s.Trial = "" })
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	return l.change(ctx, func(s *boot.State) { s.Tried = "" })
}

// SetDefault commits with the write to env. A cut between that and the write
// to default.cfg leaves the old default there, whose entry Remove keeps until
// one of Remove, Arm, Install or SetDefault has mended that.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	if err := l.wholeEntry(id); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot make %s the default: %w", id, err)
	}
	e, err := l.env()
	have := boot.State{}
	if err == nil {
		have.Default, _ = e.Get(varDefault)
		have.Trial, _ = e.Get(varTrial)
		have.Tried, _ = e.Get(varTried)
	}
	if want := (boot.State{Default: id}); have != want {
		if err := l.write(want); err != nil {
			return err
		}
	}
	if err := l.bake(id); err != nil {
		return err
	}
	return l.cfg.Disk.Sync(l.dir)
}
