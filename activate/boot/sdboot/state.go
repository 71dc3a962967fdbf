package sdboot

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/bls"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// conf reads loader.conf; none is empty.
func (l *Loader) conf() (*bls.Conf, error) {
	b, err := durable.Read(l.confPath(), maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, be.E(be.Unbootable, "cannot read systemd-boot's configuration: %w", err)
	}
	return bls.ParseConf(b), nil
}

// confDefault is the id that loader.conf names, or nothing.
func confDefault(c *bls.Conf) string {
	v, _ := c.Get("default")
	return entryID(strings.ToLower(v))
}

// overridden says what stands before the `default` of c and names another.
func (l *Loader) overridden(c *bls.Conf) error {
	over, err := l.overrides(c)
	if err != nil {
		return err
	}
	for _, o := range over {
		if o[1] != entryName(confDefault(c)) {
			return be.E(be.Unbootable, "%s names %q and stands before the default in %s, so that a failed trial would not come back to that: take it away (bootctl set-default \"\", or d in the menu; a line of the file by hand)", o[0], o[1], l.confPath())
		}
	}
	return nil
}

// overrides returns what systemd-boot puts before the `default` of loader.conf
// (boot.c, config_select_default_entry; LoaderEntryPreferred from 260 on), in
// its order, as what it is and its value.
func (l *Loader) overrides(c *bls.Conf) ([][2]string, error) {
	var list [][2]string
	for _, v := range []efivar.Var{efivar.Preferred, efivar.Default} {
		s, err := l.text(v)
		if err != nil {
			return nil, err
		}
		if s != "" {
			list = append(list, [2]string{"the UEFI variable " + v.Name, strings.ToLower(s)})
		}
		if v == efivar.Preferred {
			if s, ok := c.Get("preferred"); ok {
				list = append(list, [2]string{"`preferred` in " + l.confPath(), strings.ToLower(s)})
			}
		}
	}
	return list, nil
}

// State says what systemd-boot will do as far as it concerns boot
// environments. What else it is told to do once is not told here.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	if err := l.installed(); err != nil {
		return boot.State{}, err
	}
	var s boot.State
	conf, err := l.conf()
	if err != nil {
		return s, err
	}
	id, foreign, err := l.token()
	if err != nil {
		return s, err
	}
	s.Trial = id
	// A record that cannot be read is Probe's to report: the token rules.
	if rec, err := l.readRecord(); err == nil && id == "" && !foreign && rec.id != "" {
		tried := rec.settled
		if !tried {
			// Unsettled and gone: it was tried if this very boot is the trial.
			selected, err := l.text(efivar.Selected)
			tried = err == nil && trialID(strings.ToLower(selected)) == rec.id
		}
		if tried {
			s.Tried = rec.id
		}
	}
	s.Default = confDefault(conf)
	over, err := l.overrides(conf)
	if err != nil {
		return s, err
	}
	for _, o := range over {
		if id := entryID(o[1]); l.hasEntry(id) {
			s.Default = id
			break
		}
	}
	if !l.hasEntry(s.Default) {
		return s, be.E(be.Unbootable, "systemd-boot has no default boot environment: `default` in %s names none that has an entry; run beadm setup", l.confPath())
	}
	return s, nil
}

// Arm writes the token. It refuses where Probe has something to say, and
// unless what the trial starts, and what it would fall back to, is whole.
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
	if err := l.wholeEntry(s.Default); err != nil {
		return err
	}
	text, err := durable.Read(l.templatePath(id), maxFile)
	if err != nil {
		return be.E(be.Unbootable, "cannot arm %s: %w", id, err)
	}
	was, err := l.readRecord()
	if err != nil {
		return err
	}
	if err := l.noticeForeign(); err != nil {
		return err
	}
	if have, err := durable.Read(l.trialPath(id), maxFile); err == nil && bytes.Equal(have, text) && s.Trial == id && was == (record{id, true}) {
		return l.cfg.Disk.Sync(l.dir)
	}
	if s.Trial == id {
		// On another ESP it was armed, and rehearsed, already.
	} else if err := l.rehearse(); err != nil {
		return err
	}
	if err := l.cfg.Disk.Replace(l.trialPath(id), text); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	// Everything that the token leads to is on the disk before it: the machine
	// may be reset the moment after. Another trial that is armed stays so until
	// the token is replaced, in one write; if the power is cut just before
	// that, it is started and counts as not tried.
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if err := l.writeRecord(record{id: id}); err != nil {
		return err
	}
	if err := l.writeText(efivar.OneShot, trialName(id)); err != nil {
		if s.Trial == "" {
			was = record{}
		}
		return be.E(be.Unbootable, "the firmware does not take the token of %s (is its store of variables full?): %w", id, errors.Join(err, l.writeRecord(was)))
	}
	if have, _, err := l.token(); err != nil || have != id {
		return be.E(be.Unbootable, "the token of %s was written but is not there: the firmware cannot be trusted with it", id)
	}
	if err := l.writeRecord(record{id, true}); err != nil {
		return err
	}
	if err := l.dropTrials(id); err != nil {
		return err
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if s, err = l.State(ctx); err != nil {
		return err
	}
	if s.Trial != id {
		return be.E(be.Unbootable, "the token of %s was written but is not there: the firmware cannot be trusted with it", id)
	}
	return nil
}

// Disarm takes the token back.
func (l *Loader) Disarm(ctx context.Context) error {
	if err := l.installed(); err != nil {
		return err
	}
	id, foreign, err := l.token()
	if err != nil {
		return err
	}
	if foreign {
		return l.forget() // ours was replaced: never consumed
	}
	if id == "" {
		// Perhaps taken by a run that was cut before all was done.
		if rec, err := l.readRecord(); err == nil && rec.settled {
			return l.cfg.Disk.Sync(l.dir)
		}
		return l.forget()
	}
	if err := l.takeToken(id); err != nil {
		return err
	}
	return l.forget()
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	if err := l.installed(); err != nil {
		return err
	}
	id, _, err := l.token()
	if err != nil {
		return err
	}
	if id != "" {
		return l.cfg.Disk.Sync(l.dir)
	}
	return l.forget()
}

// noticeForeign forgets a trial whose token another one (bootctl set-oneshot,
// systemctl reboot --boot-loader-entry) replaced. Once that is consumed, nobody
// could tell that from the trial's own having been.
func (l *Loader) noticeForeign() error {
	_, foreign, err := l.token()
	if err != nil || !foreign {
		return err
	}
	// A record that cannot be read is Probe's to report.
	if rec, err := l.readRecord(); err != nil || !rec.settled {
		return nil
	}
	return l.forget()
}

// forget empties the record and takes the entries of trials away.
func (l *Loader) forget() error {
	if err := l.writeRecord(record{}); err != nil {
		return err
	}
	if err := l.dropTrials(""); err != nil {
		return err
	}
	return l.cfg.Disk.Sync(l.dir)
}

// dropTrials takes the entries of all trials but keep's away.
func (l *Loader) dropTrials(keep string) error {
	list, err := os.ReadDir(l.entriesDir())
	if err != nil {
		return be.E(be.NoStore, "cannot read systemd-boot's entries: %w", err)
	}
	for _, e := range list {
		if id := trialID(e.Name()); id == "" || id == keep {
			continue
		}
		if err := l.cfg.Disk.Remove(filepath.Join(l.entriesDir(), e.Name())); err != nil {
			return be.E(be.Other, "cannot remove the entry of a trial: %w", err)
		}
	}
	return nil
}

// SetDefault takes a token first: from there on the old default boots. It
// commits with the one name in loader.conf, or, where a variable stands before
// that, by deleting the variable.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	if err := l.wholeEntry(id); err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	// Before the token goes: what is refused here has changed nothing.
	conf, err := l.conf()
	if err != nil {
		return err
	}
	if v, ok := conf.Get("preferred"); ok && strings.ToLower(v) != entryName(id) {
		return be.E(be.Unbootable, "cannot make %s the default: `preferred %s` in %s stands before the default there; take that line out", id, v, l.confPath())
	}
	if err := l.cfg.Disk.Sync(l.dir); err != nil {
		return be.E(be.Other, "cannot make %s the default: %w", id, err)
	}
	armed, _, err := l.token()
	if err != nil {
		return err
	}
	if armed != "" {
		if err := l.takeToken(armed); err != nil {
			return err
		}
	}
	if err := l.writeDefault(conf, id); err != nil {
		return err
	}
	return l.forget()
}

func (l *Loader) writeDefault(conf *bls.Conf, id string) error {
	if err := l.writeConfDefault(conf, id); err != nil {
		return err
	}
	for _, v := range []efivar.Var{efivar.Preferred, efivar.Default} {
		s, err := l.text(v)
		if err == nil && (s == "" || strings.ToLower(s) == entryName(id)) {
			continue
		}
		if err == nil {
			err = l.deleteVar(v)
		}
		if s, rerr := l.text(v); err == nil && (rerr != nil || s != "") {
			err = errors.Join(rerr, errors.New("it is still there"))
		}
		if err != nil {
			return be.E(be.Unbootable, "%s is the default in %s, but the UEFI variable %s stands before that and cannot be deleted: %w", id, l.confPath(), v.Name, err)
		}
	}
	// What is written is not yet what boots: whoever is told that it is done
	// must be able to rely on it.
	return l.overridden(conf)
}

// writeConfDefault replaces one line of loader.conf. What stood there before
// us is kept as a remark.
func (l *Loader) writeConfDefault(conf *bls.Conf, id string) error {
	if was, ok := conf.Get("default"); ok && entryID(strings.ToLower(was)) == "" {
		// A remark of what cannot be one is not worth a failure.
		_ = conf.Remark("before beadm: default " + was)
	}
	if err := conf.Set("default", entryName(id)); err != nil {
		return be.E(be.Other, "cannot write systemd-boot's default: %w", err)
	}
	if err := l.cfg.Disk.Replace(l.confPath(), conf.Encode()); err != nil {
		return be.E(be.Other, "cannot write systemd-boot's default: %w", err)
	}
	return nil
}
