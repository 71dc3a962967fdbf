package zbm

import (
	"bytes"
	"debug/pe"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"beadm/activate/boot/efivar"
	"beadm/be"
)

// description is that of our boot option, and what it is known by.
const description = "beadm trial (ZFSBootMenu)"

func isOurs(o efivar.LoadOption) bool { return o.Description == description }

// image is ZFSBootMenu as the firmware started it: its option, with the number
// of that, and what it is told.
type image struct {
	option  efivar.LoadOption
	number  uint16
	options string
}

// image looks at the option that started this system, and then at those that
// would. Load options replace what the image itself holds, so the trial's are
// what holds there and more.
func (l *Loader) image() (image, error) {
	if err := l.vars.Writable(); err != nil {
		return image{}, be.E(be.Unbootable, "no token can be written for ZFSBootMenu: %w", err)
	}
	var numbers []uint16
	if b, err := l.vars.Read(efivar.BootCurrent); err == nil {
		numbers, _ = efivar.DecodeNumbers(b)
	}
	if b, err := l.vars.Read(efivar.BootOrder); err == nil {
		order, _ := efivar.DecodeNumbers(b)
		numbers = append(numbers, order...)
	}
	var why error
	for _, n := range numbers {
		o, ok := l.option(n)
		if name := strings.ToLower(o.File()); !ok || isOurs(o) || !strings.Contains(name, "zbm") && !strings.Contains(name, "zfsbootmenu") {
			continue
		}
		options, err := l.told(o)
		if err == nil {
			return image{o, n, options}, nil
		}
		why = err
	}
	if why != nil {
		return image{}, be.E(be.Unbootable, "cannot read what ZFSBootMenu is told: %w", why)
	}
	return image{}, be.E(be.NoStore, "no boot option of the firmware leads to ZFSBootMenu (a path with zbm or zfsbootmenu in it): see efibootmgr(8)")
}

// told are the image's arguments: its load options, or else what is in it.
func (l *Loader) told(o efivar.LoadOption) (string, error) {
	if len(o.Data) > 0 {
		s, err := efivar.DecodeString(o.Data)
		if err != nil {
			return "", fmt.Errorf("load options: %w", err)
		}
		return s, nil
	}
	drive, ok := o.HardDrive()
	path := strings.FieldsFunc(o.File(), func(r rune) bool { return r == '\\' })
	if !ok || slices.Contains(path, "..") {
		return "", fmt.Errorf("the boot option %q leads to no file of a GPT partition", o.Description)
	}
	for _, esp := range l.cfg.ESPs {
		drives, err := l.cfg.Drives(esp)
		if err != nil || !slices.ContainsFunc(drives, func(d efivar.HardDrive) bool { return strings.EqualFold(d.GUID, drive.GUID) }) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(append([]string{esp}, path...)...))
		if err != nil {
			return "", err
		}
		return embedded(b)
	}
	return "", fmt.Errorf("the ESP %s is mounted at none of %s", drive.GUID, strings.Join(l.cfg.ESPs, ", "))
}

// embedded is the .cmdline section of a UEFI bundle (systemd-stub(7)).
func embedded(b []byte) (string, error) {
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	defer f.Close()
	s := f.Section(".cmdline")
	if s == nil {
		return "", fmt.Errorf("the image has no section .cmdline: give its boot option the arguments (efibootmgr --unicode)")
	}
	data, err := s.Data()
	if err != nil {
		return "", err
	}
	if s.VirtualSize < uint32(len(data)) {
		data = data[:s.VirtualSize]
	}
	text, _, _ := strings.Cut(string(data), "\x00")
	return strings.Join(words(text), " "), nil
}

// trialOption is the option that starts dataset by that image.
func (l *Loader) trialOption(img image, dataset, kernel string) ([]byte, error) {
	options, err := override(img.options, dataset, kernel)
	if err != nil {
		return nil, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	data, err := efivar.EncodeString(options)
	if err != nil {
		return nil, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	o := img.option
	o.Attributes = efivar.OptionActive | efivar.OptionHidden | efivar.OptionApp
	o.Description, o.Data = description, data
	b, err := efivar.EncodeLoadOption(o)
	if err != nil {
		return nil, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	return b, nil
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
