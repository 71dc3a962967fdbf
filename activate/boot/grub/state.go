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

// record is what of the environment is ours. The trial's token is in one of
// trial and next, and GRUB does not look at trial if there is next.
type record struct {
	def   string
	trial string // GRUB takes it
	next  string // the firmware's BootNext is the token; this stays until we take it away
	tried string
}

func recordOf(e *grubenv.Env) record {
	var r record
	for name, at := range r.fields() {
		*at, _ = e.Get(name)
	}
	return r
}

func (r *record) fields() map[string]*string {
	return map[string]*string{varDefault: &r.def, varTrial: &r.trial, varNext: &r.next, varTried: &r.tried}
}

// put cannot fail: the names and ids are plain.
func (r record) put(e *grubenv.Env) {
	for _, f := range [][2]string{{varDefault, r.def}, {varTrial, r.trial}, {varTried, r.tried}} {
		e.Set(f[0], f[1])
	}
	if _, ok := e.Get(varNext); ok || r.next != "" {
		e.Set(varNext, r.next)
	}
}

// State decides as grub.cfg does. A lost environment is no error here: GRUB
// boots the default of default.cfg then. Probe reports it.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	s, _, err := l.state()
	return s, err
}

func (l *Loader) state() (s boot.State, r record, err error) {
	if err := l.installed(); err != nil {
		return s, r, err
	}
	e, err := l.env()
	switch {
	case err == nil:
		r = recordOf(e)
		s = boot.State{Default: r.def, Trial: r.trial, Tried: r.tried}
	case !errors.Is(err, errLost):
		return s, r, err
	}
	if !l.hasEntry(s.Default) {
		s.Default = l.baked()
	}
	if !l.hasEntry(s.Default) {
		return s, r, be.E(be.Unbootable, "GRUB has no default boot environment: neither %s nor %s names one that has an entry", l.path("env"), l.path("default.cfg"))
	}
	for _, id := range []string{r.trial, r.next, r.tried} {
		if id != "" && !boot.ValidID(id) {
			return s, r, be.E(be.Unbootable, "GRUB's environment %s holds %q where the id of a boot environment belongs; run beadm setup", l.path("env"), id)
		}
	}
	if r.next == "" {
		return s, r, nil
	}
	s.Trial = ""
	switch leads, err := l.bootNext(); {
	case err != nil:
		return s, r, err
	case leads == toUs:
		s.Trial = r.next
	case leads == nowhere:
		s.Tried = r.next
	}
	return s, r, nil
}

// write puts r into the environment in one write, keeping what else is there.
func (l *Loader) write(r record) error {
	e, err := l.env()
	if err != nil {
		// Nothing to keep, nothing to lose: the block as a whole is new. Until
		// its name leads to it GRUB boots by default.cfg.
		b, err := newEnv(r).Encode()
		if err == nil {
			err = l.cfg.Disk.Replace(l.path("env"), b)
		}
		if err != nil {
			return be.E(be.Other, "cannot make GRUB's environment anew: %w", err)
		}
		return nil
	}
	// There must be room to set tried.
	full := r
	if full.tried == "" {
		full.tried = full.trial + full.next
	}
	full.put(e)
	if _, err := e.Encode(); err != nil {
		return be.E(be.Unbootable, "%s: %w: remove variables with grub-editenv", l.path("env"), err)
	}
	r.put(e)
	b, err := e.Encode()
	if err != nil {
		return be.E(be.Other, "%s: %w", l.path("env"), err)
	}
	if err := l.cfg.Disk.Overwrite(l.path("env"), b); err != nil {
		return be.E(be.Unbootable, "cannot write GRUB's environment: %w", err)
	}
	return nil
}

// newEnv is a block with r in it and nothing else.
func newEnv(r record) *grubenv.Env {
	e := grubenv.New()
	r.put(e)
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
	s, have, err := l.state()
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
	kind, m, err := l.token()
	if err != nil {
		return err
	}
	want, rec := boot.State{Default: s.Default, Trial: id}, record{def: s.Default, trial: id}
	if kind == TokenBootNext {
		rec.trial, rec.next = "", id
		if err := l.readyNext(s, have, m); err != nil {
			return err
		}
	}
	if s == want && have == rec {
		return l.cfg.Disk.Sync(l.dir)
	}
	// Everything else, the entry and what it leads to, is on the disk before
	// the token is: GRUB may read it the moment after.
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if err := l.write(rec); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if s, err = l.State(ctx); err != nil {
		return err
	}
	if s != want {
		return be.E(be.Unbootable, "the trial of %s was written but is not there: the medium of %s, or the firmware, cannot be trusted", id, l.dir)
	}
	return nil
}

// change writes the environment unless it says so already.
func (l *Loader) change(f func(*boot.State)) error {
	s, rec, err := l.state()
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
	// What the firmware took, or another's BootNext took the place of, still
	// stands in the record: GRUB could not take it out.
	spent := rec.next != "" && want.Trial == ""
	if want == s && !damaged && !spent {
		// Perhaps written by a run that was cut before it was durable.
		return l.cfg.Disk.Sync(l.dir)
	}
	now := record{def: want.Default, trial: want.Trial, tried: want.Tried}
	if want.Trial != "" && want.Trial == rec.next {
		now.trial, now.next = "", want.Trial
	}
	// The environment first: without it what BootNext leads to is the default.
	if err := l.write(now); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return err
	}
	if now.next != "" {
		return nil
	}
	return l.dropNext()
}

// Disarm takes the token back. An environment that cannot be read, but that
// GRUB may find a token in, is made anew. A token that the firmware took, and
// GRUB could not strike out, is struck out here.
func (l *Loader) Disarm(ctx context.Context) error {
	return l.change(func(s *boot.State) { s.Trial = "" })
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	return l.change(func(s *boot.State) { s.Tried = "" })
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
	have := record{}
	if e, err := l.env(); err == nil {
		have = recordOf(e)
	}
	if want := (record{def: id}); have != want {
		if err := l.write(want); err != nil {
			return err
		}
	}
	if err := l.bake(id); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return err
	}
	return l.dropNext()
}
