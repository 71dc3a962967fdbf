package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Effect does one effect that is not this package's own, as a place where a
// cut can come before and after it.
func (d Disk) Effect(name string, do func() error) error { return d.effect(name, do) }

// CopyIn makes path of what r holds, whose sha256 in hexadecimal is sum. The
// name does not exist before, or leads to a file that nothing refers to, so it
// appears whole or not at all. What is then on the medium was read back and
// has that sum. What a failed copy left is removed, but not after a cut.
func (d Disk) CopyIn(path string, r io.Reader, sum string) error {
	temp := path + TempSuffix
	dir := filepath.Dir(path)
	var cut error
	err := d.effect("write "+filepath.Base(temp), func() error {
		err := writeFrom(temp, r)
		if err == nil {
			var got string
			if got, err = Sum(temp); err == nil && got != sum {
				err = fmt.Errorf("%s does not hold what was written to it: the source changed, or the medium cannot be trusted", temp)
			}
		}
		if err != nil {
			// A file system that is full must not stay so.
			return errors.Join(err, ignoreMissing(os.Remove(temp)))
		}
		return nil
	})
	if err == nil {
		cut = d.Sync(dir)
	}
	if err = errors.Join(err, cut); err != nil {
		return err
	}
	if err := d.effect("rename to "+filepath.Base(path), func() error { return os.Rename(temp, path) }); err != nil {
		return err
	}
	return d.Sync(dir)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeFrom(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// Sum is the sha256, in hexadecimal, of a regular file, read from the medium
// as far as the kernel lets us.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	forget(f)
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
