package efivar

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Mount is where Linux has efivarfs.
const Mount = "/sys/firmware/efi/efivars"

// Dir is an efivarfs mounted somewhere.
type Dir string

func (d Dir) path(v Var) string { return filepath.Join(string(d), v.FileName()) }

// Read returns a variable's data. The error is
// fs.ErrNotExist if there is none; a file that a failed write left empty is
// none.
func (d Dir) Read(v Var) ([]byte, error) {
	b, err := os.ReadFile(d.path(v))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, &fs.PathError{Op: "read", Path: d.path(v), Err: fs.ErrNotExist}
	}
	_, data, err := DecodeFile(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(v), err)
	}
	return data, nil
}

// Write replaces a variable, or makes it: the firmware has the old value or
// the new. One write: efivarfs passes each to the firmware as a whole.
func (d Dir) Write(v Var, data []byte) error {
	path := d.path(v)
	if err := mutable(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, before := os.Lstat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	b := EncodeFile(Attributes, data)
	n, err := f.Write(b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("only %d of %d bytes were written", n, len(b))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil && errors.Is(before, fs.ErrNotExist) {
		// A store that is full refuses the value, and the empty file stays.
		if mutable(path) == nil {
			os.Remove(path)
		}
	}
	return err
}

// Delete takes a variable away; none is no error. That the firmware has really
// forgotten it, Read has to say.
func (d Dir) Delete(v Var) error {
	path := d.path(v)
	err := mutable(path)
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Names lists all variables, in no order. A file without a name and a GUID is
// left out.
func (d Dir) Names() ([]Var, error) {
	list, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var out []Var
	for _, e := range list {
		const guid = 36
		name := e.Name()
		if at := len(name) - guid - 1; at > 0 && name[at] == '-' {
			out = append(out, Var{Name: name[:at], Vendor: name[at+1:]})
		}
	}
	return out, nil
}
