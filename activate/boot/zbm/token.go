package zbm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// leads is where BootNext does.
type leads int

const (
	nowhere leads = iota
	toUs
	elsewhere // to another option
	dangling  // to none that is there
)

// bootNext says where BootNext leads, and if that is to us, which dataset it
// starts.
func (l *Loader) bootNext() (where leads, dataset string, err error) {
	b, err := l.vars.Read(efivar.BootNext)
	if absent(err) {
		if err = l.vars.Present(); err == nil {
			return nowhere, "", nil
		}
	}
	if err != nil {
		return nowhere, "", be.E(be.Unbootable, "cannot read the UEFI variable BootNext: %w", err)
	}
	n, err := efivar.DecodeNumber(b)
	if err != nil {
		return dangling, "", nil
	}
	if _, err := l.vars.Read(efivar.BootOption(n)); absent(err) {
		return dangling, "", nil
	}
	o, ok := l.option(n)
	if !ok || !isOurs(o) {
		return elsewhere, "", nil
	}
	return toUs, startedBy(o), nil
}

// startedBy is the dataset that an option of ours starts.
func startedBy(o efivar.LoadOption) string {
	options, err := efivar.DecodeString(o.Data)
	if err != nil {
		return ""
	}
	return preferred(options)
}

// current is the dataset that this very boot is the trial of, or empty.
func (l *Loader) current() string {
	b, err := l.vars.Read(efivar.BootCurrent)
	if err != nil {
		return ""
	}
	n, err := efivar.DecodeNumber(b)
	if err != nil {
		return ""
	}
	if o, ok := l.option(n); ok && isOurs(o) {
		return startedBy(o)
	}
	return ""
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

// options are the numbers of ours, sorted, and one that nobody has.
func (l *Loader) options() (numbers []uint16, free uint16, err error) {
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
	for _, n := range l.order() {
		taken[n] = true
	}
	for taken[free] {
		free++
	}
	slices.Sort(numbers)
	return numbers, free, nil
}

func (l *Loader) order() []uint16 {
	b, err := l.vars.Read(efivar.BootOrder)
	if err != nil {
		return nil
	}
	order, _ := efivar.DecodeNumbers(b)
	return order
}

// putToken makes the option and has BootNext lead to it. Where another trial is
// armed the write of the option is what counts, else that of BootNext. An order
// of booting that has nothing but options of ours is given usual, which starts
// ZFSBootMenu as ever.
func (l *Loader) putToken(option []byte, usual uint16, armed bool) error {
	numbers, n, err := l.options()
	if err != nil {
		return err
	}
	if b, err := l.vars.Read(efivar.BootNext); err == nil && armed {
		if n, err = efivar.DecodeNumber(b); err != nil {
			return be.E(be.Unbootable, "cannot read the UEFI variable BootNext: %w", err)
		}
	} else if len(numbers) > 0 {
		n = numbers[0]
	}
	order := l.order()
	rest := slices.DeleteFunc(slices.Clone(order), func(o uint16) bool { return o == n || slices.Contains(numbers, o) })
	if len(rest) == 0 {
		rest = []uint16{usual}
	}
	if len(order) > 0 && !slices.Equal(rest, order) {
		if err := l.writeVar(efivar.BootOrder, efivar.EncodeNumbers(rest...)); err != nil {
			return err
		}
	}
	if err := l.writeVar(efivar.BootOption(n), option); err != nil || armed {
		return err
	}
	return l.writeVar(efivar.BootNext, efivar.EncodeNumbers(n))
}

// rehearse says why what the firmware deletes would not stay deleted. BootNext
// leads to no option meanwhile.
func (l *Loader) rehearse() error {
	_, free, err := l.options()
	if err != nil {
		return err
	}
	if err := l.writeVar(efivar.BootNext, efivar.EncodeNumbers(free)); err != nil {
		return err
	}
	if err := l.deleteNext(); err != nil {
		return be.E(be.Unbootable, "the firmware does not delete BootNext, so that no token would be consumed: %w", err)
	}
	if where, _, err := l.bootNext(); err != nil || where != nowhere {
		return be.E(be.Unbootable, "the firmware keeps a BootNext that was deleted, so that no token would be consumed: a trial would start for ever")
	}
	return nil
}

func (l *Loader) deleteNext() error {
	return l.cfg.Disk.Effect("delete BootNext", func() error { return l.vars.Delete(efivar.BootNext) })
}

// dropOptions takes ours away: BootNext leads to none of them.
func (l *Loader) dropOptions() error {
	numbers, _, err := l.options()
	if err != nil {
		return nil // nothing hangs on it
	}
	for _, n := range numbers {
		v := efivar.BootOption(n)
		err := l.cfg.Disk.Effect("delete "+v.Name, func() error { _ = l.vars.Delete(v); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// record is what we know of the last trial that was armed.
type record struct {
	id string
	// settled: the token was there when this was written, so if it is gone it
	// was consumed. Otherwise it was about to be written or deleted.
	settled bool
}

const (
	noRecord = "none"
	settled  = "armed"
)

func parseRecord(s string) (record, error) {
	f := strings.Fields(s)
	switch {
	case s == noRecord:
		return record{}, nil
	case len(f) == 1 && boot.ValidID(f[0]):
		return record{id: f[0]}, nil
	case len(f) == 2 && boot.ValidID(f[0]) && f[1] == settled:
		return record{f[0], true}, nil
	}
	return record{}, be.E(be.Unbootable, "the record of the trial, property %s, says %q; run beadm setup", propRecord, s)
}

func (r record) String() string {
	switch {
	case r.id == "":
		return noRecord
	case r.settled:
		return r.id + " " + settled
	}
	return r.id
}

func (l *Loader) writeRecord(ctx context.Context, r record) error {
	d, err := l.pool.Read(ctx)
	if err == nil && d.Local[l.cfg.Root][propRecord] == r.String() {
		return nil
	}
	if err == nil {
		err = l.set(ctx, l.cfg.Root, map[string]string{propRecord: r.String()})
	}
	if err != nil {
		return be.E(be.Unbootable, "cannot write the record of the trial: %w", err)
	}
	return nil
}

// takeToken takes the token of a trial back and makes sure that it is gone.
func (l *Loader) takeToken(ctx context.Context, id string) error {
	if err := l.writeRecord(ctx, record{id: id}); err != nil {
		return err
	}
	err := l.deleteNext()
	where, _, rerr := l.bootNext()
	if rerr == nil && where != toUs {
		return err
	}
	// Not forgotten: without its option it leads nowhere.
	derr := l.dropOptions()
	if where, _, rerr = l.bootNext(); rerr == nil && where != toUs {
		return derr
	}
	return be.E(be.Unbootable, "the firmware does not let go of the token: %s would be tried again: %w", id, errors.Join(err, derr, rerr))
}
