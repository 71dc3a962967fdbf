package zbm

import (
	"bytes"
	"context"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// State says what ZFSBootMenu will do as far as it concerns boot environments.
func (l *Loader) State(ctx context.Context) (boot.State, error) {
	s, _, err := l.state(ctx)
	return s, err
}

func (l *Loader) state(ctx context.Context) (boot.State, Datasets, error) {
	d, err := l.look(ctx)
	if err != nil {
		return boot.State{}, d, err
	}
	s := boot.State{Default: l.idOf(d, d.Bootfs)}
	where, dataset, err := l.bootNext()
	if err != nil {
		return s, d, err
	}
	if where == toUs {
		s.Trial = l.idOf(d, dataset)
	}
	// A record that cannot be read is Probe's to report: the token rules.
	if rec, err := parseRecord(d.Local[l.cfg.Root][propRecord]); err == nil && where == nowhere && rec.id != "" {
		// Unsettled and gone: it was tried if this very boot is the trial.
		if rec.settled || l.idOf(d, l.current()) == rec.id {
			s.Tried = rec.id
		}
	}
	if s.Default == "" {
		return s, d, be.E(be.Unbootable, "ZFSBootMenu has no default boot environment: the pool's bootfs is %q, which has no entry of beadm; run beadm setup", d.Bootfs)
	}
	return s, d, nil
}

// Arm writes the token. The default cannot be on trial: nobody could tell
// what then failed from what it would come back to.
func (l *Loader) Arm(ctx context.Context, id string) error {
	d, err := l.look(ctx)
	if err != nil {
		return err
	}
	dataset, err := l.whole(d, id)
	if err != nil {
		return err
	}
	if err := l.Probe(ctx); err != nil {
		return err
	}
	s, d, err := l.state(ctx)
	if err != nil {
		return err
	}
	where, _, err := l.bootNext()
	if err != nil {
		return err
	}
	if where == elsewhere {
		return be.E(be.InUse, "the firmware is told to start something else, once, at the next boot: take that back (efibootmgr --delete-bootnext), or restart first")
	}
	kernel := effective(d, dataset)
	if !strings.Contains(kernel, `"`) { // else blanks may be within a word, and be more than one
		kernel = strings.Join(boot.KeptInTrial(strings.Fields(kernel)), " ")
	}
	kernel += " " + boot.ArgTrial + "=1"
	if trial := d.Local[dataset][propTrial]; trial != noTrial {
		kernel += " " + trial
	}
	img, err := l.image()
	if err != nil {
		return err
	}
	option, err := l.trialOption(img, dataset, kernel)
	if err != nil {
		return err
	}
	rec, err := parseRecord(d.Local[l.cfg.Root][propRecord])
	if err != nil {
		return err
	}
	if s.Trial == id && rec == (record{id, true}) && l.hasOption(option) {
		return l.sync(ctx)
	}
	if where != toUs {
		if err := l.rehearse(); err != nil {
			return err
		}
	}
	// Everything that the token leads to is on the disk before it.
	if err := l.sync(ctx); err != nil {
		return be.E(be.Other, "cannot arm %s: %w", id, err)
	}
	if err := l.writeRecord(ctx, record{id: id}); err != nil {
		return err
	}
	if err := l.putToken(option, img.number, where == toUs); err != nil {
		return err
	}
	if where, got, err := l.bootNext(); err != nil || where != toUs || got != dataset {
		return be.E(be.Unbootable, "the token of %s was written but is not there: the firmware cannot be trusted with it", id)
	}
	return l.writeRecord(ctx, record{id, true})
}

func (l *Loader) hasOption(option []byte) bool {
	numbers, _, err := l.options()
	if err != nil || len(numbers) != 1 {
		return false
	}
	b, err := l.vars.Read(efivar.BootOption(numbers[0]))
	return err == nil && bytes.Equal(b, option)
}

// Disarm takes the token back.
func (l *Loader) Disarm(ctx context.Context) error {
	d, err := l.look(ctx)
	if err != nil {
		return err
	}
	where, dataset, err := l.bootNext()
	if err != nil {
		return err
	}
	switch where {
	case toUs:
		if err := l.takeToken(ctx, l.idOf(d, dataset)); err != nil {
			return err
		}
	case nowhere:
		if rec, err := parseRecord(d.Local[l.cfg.Root][propRecord]); err == nil && rec.settled {
			return l.sync(ctx) // tried
		}
	}
	return l.forget(ctx) // also what another's took the place of: never consumed
}

// ClearTried forgets a consumed token.
func (l *Loader) ClearTried(ctx context.Context) error {
	if _, err := l.look(ctx); err != nil {
		return err
	}
	where, _, err := l.bootNext()
	if err != nil {
		return err
	}
	if where == toUs {
		return l.sync(ctx)
	}
	return l.forget(ctx)
}

// forget empties the record and takes our options away.
func (l *Loader) forget(ctx context.Context) error {
	if err := l.writeRecord(ctx, record{}); err != nil {
		return err
	}
	if err := l.dropOptions(); err != nil {
		return err
	}
	return l.sync(ctx)
}

// SetDefault takes a token first: from there on the old default boots. It
// commits with bootfs.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	d, err := l.look(ctx)
	if err != nil {
		return err
	}
	dataset, err := l.whole(d, id)
	if err != nil {
		return err
	}
	where, armed, err := l.bootNext()
	if err != nil {
		return err
	}
	if where == toUs {
		if err := l.takeToken(ctx, l.idOf(d, armed)); err != nil {
			return err
		}
	}
	if d.Bootfs != dataset {
		if err := l.setBootfs(ctx, dataset); err != nil {
			return err
		}
	}
	return l.forget(ctx)
}
