package sdboot

import (
	"errors"
	"io/fs"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/grubenv"
	"beadm/be"
)

// voidToken is a value of LoaderEntryOneShot that no entry has: systemd-boot
// starts the default then. It stands where the firmware does not let go of a
// variable.
const voidToken = "beadm-none.conf"

// rehearsal is written and deleted before a token is, to see whether the
// firmware forgets what is deleted: systemd-boot does not look.
var rehearsal = efivar.Var{Name: "BeadmRehearsal", Vendor: "0f4a8f0e-6f0c-4b57-9a55-2c1d7be0a9d3"}

// text reads a variable that is a string; none is empty.
func (l *Loader) text(v efivar.Var) (string, error) {
	b, err := l.vars.Read(v)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.vars.Present(); err == nil {
			return "", nil
		}
	}
	if err != nil {
		return "", be.E(be.Unbootable, "cannot read the UEFI variable %s: %w", v.Name, err)
	}
	s, err := efivar.DecodeString(b)
	if err != nil {
		return "", be.E(be.Unbootable, "cannot read the UEFI variable %s: %w", v.Name, err)
	}
	return s, nil
}

// token is what LoaderEntryOneShot says: the id of a trial, or that there is
// something else for systemd-boot to start once.
func (l *Loader) token() (id string, foreign bool, err error) {
	s, err := l.text(efivar.OneShot)
	if err != nil {
		return "", false, err
	}
	s = strings.ToLower(s) // as systemd-boot does
	if id = trialID(s); id != "" {
		return id, false, nil
	}
	return "", s != "" && s != voidToken, nil
}

func (l *Loader) writeText(v efivar.Var, s string) error {
	b, err := efivar.EncodeString(s)
	if err == nil {
		err = l.cfg.Disk.Effect("set "+v.Name, func() error { return l.vars.Write(v, b) })
	}
	return err
}

func (l *Loader) deleteVar(v efivar.Var) error {
	return l.cfg.Disk.Effect("delete "+v.Name, func() error { return l.vars.Delete(v) })
}

// takeToken takes the token of a trial back and makes sure that it is gone.
func (l *Loader) takeToken(id string) error {
	// Whether the token is there is all that counts from here on.
	if err := l.writeRecord(record{id: id}); err != nil {
		return err
	}
	err := l.deleteVar(efivar.OneShot)
	have, _, rerr := l.token()
	if rerr == nil && have == "" {
		return err
	}
	// Not forgotten: make it one that selects nothing.
	werr := l.writeText(efivar.OneShot, voidToken)
	if have, _, rerr = l.token(); rerr == nil && have == "" {
		return nil
	}
	return be.E(be.Unbootable, "the firmware does not let go of the token: %s would be tried again: %w", id, errors.Join(err, werr, rerr))
}

// rehearse says why what systemd-boot deletes would not stay deleted.
func (l *Loader) rehearse() error {
	err := l.writeText(rehearsal, voidToken)
	if err != nil {
		return be.E(be.Unbootable, "the firmware takes no variables (is its store full?): %w", err)
	}
	if err := l.deleteVar(rehearsal); err != nil {
		return be.E(be.Unbootable, "the firmware does not delete variables, so that no token would be consumed: %w", err)
	}
	if s, err := l.text(rehearsal); err != nil || s != "" {
		return be.E(be.Unbootable, "the firmware keeps a variable that was deleted, so that no token would be consumed: a trial would start for ever")
	}
	return nil
}

// record is what we know of the last trial that was armed.
type record struct {
	id string
	// settled: the token was there when this was written, so if it is gone the
	// loader took it. Otherwise it was about to be written or deleted.
	settled bool
}

const (
	varTrial = "beadm_trial"
	varState = "beadm_state"
	settled  = "armed"
)

// readRecord fails if the record is not as writeRecord makes it.
func (l *Loader) readRecord() (record, error) {
	b, err := durable.Read(l.path("trial"), maxFile)
	if err != nil {
		return record{}, be.E(be.Unbootable, "cannot read the record of the trial: %w", err)
	}
	e, err := grubenv.Parse(b)
	if err != nil || len(b) != durable.Sector {
		return record{}, be.E(be.Unbootable, "the record of the trial, %s, is damaged; run beadm setup", l.path("trial"))
	}
	var r record
	r.id, _ = e.Get(varTrial)
	state, _ := e.Get(varState)
	r.settled = state == settled
	if r.id != "" && !boot.ValidID(r.id) {
		return record{}, be.E(be.Unbootable, "the record of the trial, %s, holds %q where the id of a boot environment belongs; run beadm setup", l.path("trial"), r.id)
	}
	return r, nil
}

func (r record) encode() ([]byte, error) {
	e := grubenv.New()
	e.Set(varTrial, r.id)
	if r.settled {
		e.Set(varState, settled)
	}
	return e.Encode()
}

// writeRecord writes one sector, if it does not hold that already.
func (l *Loader) writeRecord(r record) error {
	have, err := l.readRecord()
	if err == nil && have == r {
		return nil
	}
	b, err2 := r.encode()
	if err2 == nil {
		if err == nil {
			err2 = l.cfg.Disk.Overwrite(l.path("trial"), b)
		} else {
			err2 = l.cfg.Disk.Replace(l.path("trial"), b)
		}
	}
	if err2 != nil {
		return be.E(be.Unbootable, "cannot write the record of the trial: %w", err2)
	}
	return nil
}
