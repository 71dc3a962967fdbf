// Package simfirmware plays UEFI firmware for tests: its variables, and its
// boot manager (UEFI 2.10, 3.1). It is a model; what matters of it is tried on
// OVMF by the tests of the loaders.
package simfirmware

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"beadm/activate/boot/efivar"
)

// Vars are the firmware's variables, as files in a directory.
type Vars struct {
	Dir      string
	Absent   bool // there are none: efivarfs is not mounted
	ReadOnly bool // none can be written by the system
	Full     bool // there is no room for another
	Sticky   bool // what is deleted stays
}

func (v Vars) dir() efivar.Dir { return efivar.Dir(v.Dir) }

// Read is efivar.Dir's.
func (v Vars) Read(name efivar.Var) ([]byte, error) {
	if v.Absent {
		return nil, fs.ErrNotExist
	}
	return v.dir().Read(name)
}

// Write is efivar.Dir's.
func (v Vars) Write(name efivar.Var, data []byte) error {
	if _, err := v.Read(name); v.ReadOnly || v.Full && errors.Is(err, fs.ErrNotExist) {
		return syscall.ENOSPC
	}
	os.Remove(filepath.Join(v.Dir, name.FileName()))
	return v.dir().Write(name, data)
}

// Delete is efivar.Dir's.
func (v Vars) Delete(name efivar.Var) error {
	if v.ReadOnly {
		return syscall.EROFS
	}
	if v.Sticky {
		return nil
	}
	return v.dir().Delete(name)
}

// Present is efivar.Dir's.
func (v Vars) Present() error {
	if v.Absent {
		return errors.New("efivarfs is not mounted")
	}
	return nil
}

// Writable is efivar.Dir's.
func (v Vars) Writable() error {
	if err := v.Present(); err != nil {
		return err
	}
	if v.ReadOnly {
		return fmt.Errorf("efivarfs at %s is mounted read-only", v.Dir)
	}
	return nil
}

// SetText sets a string as the firmware or an administrator does.
func (v Vars) SetText(name efivar.Var, s string) error {
	b, err := efivar.EncodeString(s)
	if err != nil {
		return err
	}
	os.Remove(filepath.Join(v.Dir, name.FileName()))
	return v.dir().Write(name, b)
}

// Text is a string variable's value, empty if there is none.
func (v Vars) Text(name efivar.Var) string {
	b, err := v.Read(name)
	if err != nil {
		return ""
	}
	s, _ := efivar.DecodeString(b)
	return s
}

// Names is efivar.Dir's.
func (v Vars) Names() ([]efivar.Var, error) {
	if v.Absent {
		return nil, fs.ErrNotExist
	}
	return v.dir().Names()
}
