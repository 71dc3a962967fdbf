package grub

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// What the token of a trial is.
//
// TokenEnv is a variable in env, which GRUB strikes out before it starts
// anything.
//
// TokenBootNext is for where GRUB cannot write, with UEFI. GRUB's image is on
// the ESP once more, in EFI/beadm-trial, with a boot option (Boot####) of its
// own that stands in no order of booting. BootNext names that option, and the
// firmware deletes BootNext before it follows it (UEFI 2.10, 3.1.1). GRUB sees
// by its path that it was started so, and then alone looks for a trial in env,
// which names it until the system that comes up strikes it out.
//
// The write to env commits: BootNext is there before, and leads to the default
// as long as env names no trial; env is struck out before BootNext is deleted.
// So BootNext and env are never wrong together, whatever a power cut leaves:
//
//	env names a trial, BootNext leads to us          it is armed
//	env names a trial, no BootNext                   it was tried, by this boot or one before
//	env names a trial, BootNext leads elsewhere      never tried: another's took its place
//	env names none                                   nothing is armed, wherever BootNext leads
//
// The option is active, so that firmware that looks at that when it follows
// BootNext does, and of the category of applications, which is never started in
// the order of booting, should firmware put it there. Firmware that does start
// it there, out of turn, starts the trial a second time if the first died
// before its userland, where the trial is struck out.
const (
	TokenEnv      = "env"
	TokenBootNext = "bootnext"
)

// Variables are those of the firmware. Read's error is fs.ErrNotExist if there
// is none of that name; Write replaces a value as a whole.
type Variables interface {
	Read(v efivar.Var) ([]byte, error)
	Write(v efivar.Var, data []byte) error
	Delete(v efivar.Var) error
	Names() ([]efivar.Var, error)
	Present() error  // says why there are none: only without it fs.ErrNotExist means anything
	Writable() error // says why none can be written
}

// description of the boot option, as efibootmgr(8) shows it.
const description = "beadm trial"

// token says what a token is here, or why there can be none.
func (l *Loader) token() (kind string, m medium, err error) {
	if m, err = l.medium(); err != nil {
		return "", m, err
	}
	switch {
	case l.cfg.Token != "" && l.cfg.Token != TokenEnv && l.cfg.Token != TokenBootNext:
		return "", m, be.E(be.Usage, "there is no token %q: give %s or %s", l.cfg.Token, TokenEnv, TokenBootNext)
	case l.cfg.Token == TokenEnv && m.readOnly != nil:
		return "", m, m.readOnly
	case l.cfg.Token != TokenBootNext && m.readOnly == nil:
		return TokenEnv, m, nil
	}
	if err := l.vars.Writable(); err != nil {
		if m.readOnly != nil {
			return "", m, be.E(be.Unbootable, "%w; and the firmware cannot keep the token: %w", m.readOnly, err)
		}
		return "", m, be.E(be.Unbootable, "the firmware cannot keep the token of a trial: %w", err)
	}
	return TokenBootNext, m, nil
}

// leads is where BootNext does.
type leads int

const (
	nowhere leads = iota
	toUs
	elsewhere // to another option
	dangling  // to none that is there
)

func (l *Loader) bootNext() (leads, error) {
	n, ok, err := l.number(efivar.BootNext)
	if err != nil || !ok {
		return nowhere, err
	}
	if _, err := l.vars.Read(efivar.BootOption(n)); errors.Is(err, fs.ErrNotExist) {
		return dangling, nil
	}
	if o, ok := l.option(n); !ok || !isOurs(o) {
		return elsewhere, nil
	}
	return toUs, nil
}

// number reads BootNext or BootCurrent. What is no number is one of no option.
func (l *Loader) number(v efivar.Var) (n uint16, ok bool, err error) {
	b, err := l.vars.Read(v)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.vars.Present(); err == nil {
			return 0, false, nil
		}
	}
	if err != nil {
		return 0, false, be.E(be.Unbootable, "cannot read the UEFI variable %s: %w", v.Name, err)
	}
	if n, err = efivar.DecodeNumber(b); err != nil {
		n = 0xffff
	}
	return n, true, nil
}

// option is the boot option of that number, if it is there and one.
func (l *Loader) option(n uint16) (efivar.LoadOption, bool) {
	b, err := l.vars.Read(efivar.BootOption(n))
	if err != nil {
		return efivar.LoadOption{}, false
	}
	o, err := efivar.DecodeLoadOption(b)
	return o, err == nil
}

func isOurs(o efivar.LoadOption) bool {
	return strings.HasPrefix(strings.ToLower(o.File()), `\efi\`+trialDir+`\`)
}

// ours are the numbers of our boot options, sorted; free is one that nobody has.
func (l *Loader) ours() (numbers []uint16, free uint16, err error) {
	names, err := l.vars.Names()
	if err != nil {
		return nil, 0, be.E(be.Unbootable, "cannot list the UEFI variables: %w", err)
	}
	taken := map[uint16]bool{}
	for _, v := range names {
		n, ok := efivar.BootOptionNumber(v)
		if !ok {
			continue
		}
		taken[n] = true
		if o, ok := l.option(n); ok && isOurs(o) {
			numbers = append(numbers, n)
		}
	}
	order, _ := l.order() // names what is not there, too
	for _, n := range order {
		taken[n] = true
	}
	for taken[free] {
		free++
	}
	slices.Sort(numbers)
	return numbers, free, nil
}

func (l *Loader) order() ([]uint16, error) {
	b, err := l.vars.Read(efivar.BootOrder)
	if err != nil {
		return nil, err
	}
	return efivar.DecodeNumbers(b)
}

// readyNext has BootNext lead to GRUB as the starter of a trial. State s and
// record have are what is there.
func (l *Loader) readyNext(s boot.State, have record, m medium) error {
	where, err := l.bootNext()
	if err != nil {
		return err
	}
	if where == elsewhere {
		return be.E(be.InUse, "the firmware is told to start something else, once, at the next boot: take that back (efibootmgr --delete-bootnext), or restart first")
	}
	if have.next != "" && s.Trial == "" {
		// A trial that was tried: with BootNext it would be armed again.
		if err := l.write(record{def: s.Default, tried: s.Tried}); err != nil {
			return err
		}
		if err := l.cfg.Disk.Sync(l.dir); err != nil {
			return err
		}
	}
	option, err := l.copyImage(m)
	if err != nil {
		return err
	}
	n, err := l.putOption(option)
	if err != nil || where == toUs {
		return err
	}
	// Firmware that keeps what is deleted would start the trial for ever.
	for _, rehearsal := range []bool{true, false} {
		if err := l.writeVar(efivar.BootNext, efivar.EncodeNumbers(n)); err != nil {
			return err
		}
		if !rehearsal {
			continue
		}
		err := l.cfg.Disk.Effect("delete BootNext", func() error { return l.vars.Delete(efivar.BootNext) })
		if err != nil {
			return be.E(be.Unbootable, "the firmware does not delete BootNext, so that no token would be consumed: %w", err)
		}
		if where, err := l.bootNext(); err != nil || where != nowhere {
			return be.E(be.Unbootable, "the firmware keeps a BootNext that was deleted, so that no token would be consumed: a trial would start for ever")
		}
	}
	if where, err := l.bootNext(); err != nil || where != toUs {
		return be.E(be.Unbootable, "BootNext was written but is not there: the firmware cannot be trusted with a token")
	}
	return nil
}

// writeVar writes a variable if it is not so already, and reads it back.
func (l *Loader) writeVar(v efivar.Var, data []byte) error {
	if b, err := l.vars.Read(v); err == nil && bytes.Equal(b, data) {
		return nil
	}
	err := l.cfg.Disk.Effect("set "+v.Name, func() error { return l.vars.Write(v, data) })
	if err != nil {
		return be.E(be.Unbootable, "the firmware does not take the variable %s (is its store full?): %w", v.Name, err)
	}
	if b, err := l.vars.Read(v); err != nil || !bytes.Equal(b, data) {
		return be.E(be.Unbootable, "the variable %s was written but is not there: the firmware cannot be trusted with a token", v.Name)
	}
	return nil
}

// putOption makes the option, once, and in no order of booting.
func (l *Loader) putOption(o efivar.LoadOption) (uint16, error) {
	numbers, n, err := l.ours()
	if err != nil {
		return 0, err
	}
	if next, ok, err := l.number(efivar.BootNext); err != nil {
		return 0, err
	} else if ok && slices.Contains(numbers, next) {
		n = next
	} else if len(numbers) > 0 {
		n = numbers[0]
	}
	b, err := efivar.EncodeLoadOption(o)
	if err != nil {
		return 0, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	if err := l.writeVar(efivar.BootOption(n), b); err != nil {
		return 0, err
	}
	numbers = slices.DeleteFunc(numbers, func(other uint16) bool { return other == n })
	if err := l.outOfOrder(append(numbers, n)); err != nil {
		return 0, be.E(be.Unbootable, "the boot option of a trial stands in BootOrder and cannot be taken out, so that it would start again and again: %w", err)
	}
	return n, l.deleteOptions(numbers)
}

// outOfOrder takes options of ours out of BootOrder.
func (l *Loader) outOfOrder(ours []uint16) error {
	order, err := l.order()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(order), func(n uint16) bool { return slices.Contains(ours, n) })
	switch {
	case len(rest) == len(order):
		return nil
	case len(rest) == 0:
		return l.cfg.Disk.Effect("delete BootOrder", func() error { return l.vars.Delete(efivar.BootOrder) })
	}
	return l.writeVar(efivar.BootOrder, efivar.EncodeNumbers(rest...))
}

func (l *Loader) deleteOptions(numbers []uint16) error {
	for _, n := range numbers {
		v := efivar.BootOption(n)
		// One that stays starts the default.
		err := l.cfg.Disk.Effect("delete "+v.Name, func() error { _ = l.vars.Delete(v); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// dropNext takes our option, and a BootNext that leads to it, away. Nothing
// hangs on it, since env names no trial; what the firmware does not let go of
// is no failure.
func (l *Loader) dropNext() error {
	e, err := l.env()
	if err != nil {
		return nil
	}
	if next, used := e.Get(varNext); !used || next != "" {
		return nil
	}
	numbers, _, err := l.ours()
	if err != nil || len(numbers) == 0 {
		return nil
	}
	if where, err := l.bootNext(); err == nil && where == toUs {
		err := l.cfg.Disk.Effect("delete BootNext", func() error { _ = l.vars.Delete(efivar.BootNext); return nil })
		if err != nil {
			return err
		}
	}
	if l.vars.Writable() == nil {
		if err := l.outOfOrder(numbers); err != nil && be.KindOf(err) != be.Unbootable {
			return err
		}
	}
	return l.deleteOptions(numbers)
}
