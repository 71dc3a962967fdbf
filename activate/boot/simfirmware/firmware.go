package simfirmware

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot/efivar"
)

// Removable is the image of a disk that no boot option names.
const Removable = `\EFI\BOOT\BOOTX64.EFI`

// Firmware is a boot manager whose only disk has ESP as the root of its ESP,
// in the partition Drive.
type Firmware struct {
	Vars  Vars
	ESP   string
	Drive efivar.HardDrive

	IgnoresNext bool // BootNext is deleted and not followed
	KeepsNext   bool // BootNext is followed and not deleted
}

// Image is the path, with backslashes, of what is started at power-on.
func (f Firmware) Image() (string, error) {
	if err := f.Vars.force(efivar.BootCurrent, nil); err != nil {
		return "", err
	}
	if b, err := f.Vars.Read(efivar.BootNext); err == nil {
		if !f.KeepsNext {
			if err := f.Vars.force(efivar.BootNext, nil); err != nil {
				return "", err
			}
		}
		if n, err := efivar.DecodeNumber(b); err == nil && !f.IgnoresNext {
			// Whatever its attributes are.
			if path, err := f.start(n, 0); path != "" || err != nil {
				return path, err
			}
		}
	}
	b, err := f.Vars.Read(efivar.BootOrder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	order, err := efivar.DecodeNumbers(b)
	if err != nil {
		return "", err
	}
	for _, n := range order {
		if path, err := f.start(n, efivar.OptionActive); path != "" || err != nil {
			return path, err
		}
	}
	return Removable, nil
}

// start returns the image of option n, if it is there and is to be started.
func (f Firmware) start(n uint16, attributes uint32) (string, error) {
	b, err := f.Vars.Read(efivar.BootOption(n))
	if err != nil {
		return "", nil
	}
	o, err := efivar.DecodeLoadOption(b)
	if err != nil || o.Attributes&attributes != attributes || attributes != 0 && o.Attributes&efivar.OptionApp != 0 {
		return "", nil
	}
	drive, ok := o.HardDrive()
	if _, err := os.Stat(filepath.Join(f.ESP, filepath.FromSlash(strings.ReplaceAll(o.File(), `\`, "/")))); !ok || drive != f.Drive || err != nil {
		return "", nil
	}
	return o.File(), f.Vars.force(efivar.BootCurrent, efivar.EncodeNumbers(n))
}

// force writes or, without data, deletes a variable as firmware can.
func (v Vars) force(name efivar.Var, data []byte) error {
	os.Remove(filepath.Join(v.Dir, name.FileName()))
	if data == nil {
		return nil
	}
	return v.dir().Write(name, data)
}
