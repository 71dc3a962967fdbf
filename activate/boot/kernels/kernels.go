// Package kernels keeps the kernels and initrds of boot environments on the
// partition of a loader that does not read their roots.
//
// They are in one directory and named by content: boot environments with the
// same ones share them, a name never gets another content, and what no entry
// names is removed. A loader brings the files first, durably, then writes the
// entry that names them, and drops last what no entry names any more: whatever
// a power cut leaves, each entry has its files.
package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"beadm/activate/boot/durable"
	"beadm/be"
)

// slack is what else may be written to the partition beside a file, with the
// rounding to clusters.
const slack = 1 << 20

// Dir is a directory of kernels and initrds. One caller at a time.
type Dir struct {
	// Path of the directory. Its parent exists; Bring makes it.
	Path string

	// Where a refusal says that there is no room: "the ESP".
	Where string

	// Free, if nil, asks the file system how many bytes can still be written.
	Free func(dir string) (int64, error)

	// Disk does the effects.
	Disk durable.Disk
}

// Entries returns the text of every file that may name kernels, ours or
// another's, or an error if one cannot be read.
type Entries func() ([][]byte, error)

// Bring puts the files of src into the directory, durably. Nothing is copied if
// there is no room for all of it (be.Unbootable, and NoRoom says so). id is for
// messages.
func (d Dir) Bring(id string, src *Source, entries Entries) error {
	if _, err := os.Stat(d.Path); errors.Is(err, fs.ErrNotExist) {
		if err := d.Disk.Mkdir(d.Path); err != nil {
			return be.E(be.Other, "cannot make a place for kernels: %w", err)
		}
	}
	// What a run that was cut brought and nothing names yet would take the room
	// of what is wanted now. What is wanted may be among it.
	if err := d.Sweep(); err != nil {
		return be.E(be.Other, "cannot tidy %s: %w", d.Path, err)
	}
	if err := d.Drop(entries, src.Names()...); err != nil {
		return err
	}
	missing, need := d.missing(src)
	if len(missing) == 0 {
		// They may be there from a run that was cut before they were settled.
		return d.Disk.Sync(d.Path)
	}
	if err := d.room(d.Path, id, need, 0); err != nil {
		return err
	}
	for _, f := range missing {
		if _, err := f.f.Seek(0, io.SeekStart); err != nil {
			return be.E(be.Unbootable, "cannot read the kernel of %s: %w", id, err)
		}
		if err := d.Disk.CopyIn(d.path(f.name), f.f, f.sum); err != nil {
			return be.E(be.Unbootable, "cannot copy the kernel of %s to %s: %w", id, d.Where, err)
		}
	}
	return nil
}

// Fits is Bring's refusal for want of room, beforehand: it changes nothing.
func (d Dir) Fits(id string, src *Source, entries Entries) error {
	missing, need := d.missing(src)
	if len(missing) == 0 {
		return nil
	}
	var goes int64 // what Bring would drop first
	for _, name := range d.unnamed(entries, src.Names()...) {
		if info, err := os.Lstat(d.path(name)); err == nil {
			goes += info.Size()
		}
	}
	dir := d.Path
	for dir != filepath.Dir(dir) { // before anything of ours is there
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return d.room(dir, id, need, goes)
}

// missing are the files of src that are not there, and the bytes they take.
func (d Dir) missing(src *Source) (files []file, need int64) {
	for _, f := range src.files {
		if have, err := durable.Sum(d.path(f.name)); err == nil && have == f.sum {
			continue
		}
		files = append(files, f)
		need += f.size + slack
	}
	return files, need
}

func (d Dir) room(dir, id string, need, goes int64) error {
	free := d.Free
	if free == nil {
		free = freeBytes
	}
	have, err := free(dir)
	if err != nil {
		return be.E(be.Other, "cannot see how much room %s has: %w", dir, err)
	}
	if have += goes; have < need {
		return be.E(be.Unbootable, "%w", &noRoom{d.Where, id, need, have})
	}
	return nil
}

type noRoom struct {
	where, id  string
	need, have int64
}

func (e *noRoom) Error() string {
	return fmt.Sprintf("%s has no room for the kernel of %s: it needs %d MiB (%d bytes) and %d MiB (%d bytes) are free; destroy a boot environment that has another kernel, or make the partition larger",
		e.where, e.id, (e.need+1<<20-1)>>20, e.need, e.have>>20, e.have)
}

// NoRoom says whether err is Bring's refusal for want of room.
func NoRoom(err error) bool {
	var full *noRoom
	return errors.As(err, &full)
}

// Whole says why what has those names cannot be started: each is read and held
// against the sum in its name.
func (d Dir) Whole(names ...string) error {
	var seen []string
	for _, name := range names {
		if slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		sum, err := durable.Sum(d.path(name))
		if err != nil {
			return err
		}
		if _, want, _ := strings.Cut(name, "-"); len(want) != sumLength || !strings.HasPrefix(sum, want) {
			return fmt.Errorf("%s is damaged", d.path(name))
		}
	}
	return nil
}

// There says why what has those names cannot be started, without reading it.
func (d Dir) There(names ...string) error {
	for _, name := range names {
		info, err := os.Lstat(d.path(name))
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return fmt.Errorf("%s is no file with anything in it", d.path(name))
		}
	}
	return nil
}

// Drop removes what nothing names: no entry, nor keep. If an entry cannot be
// read, all stay.
func (d Dir) Drop(entries Entries, keep ...string) error {
	for _, name := range d.unnamed(entries, keep...) {
		if err := d.Disk.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return be.E(be.Other, "cannot remove a kernel that nothing starts: %w", err)
		}
	}
	return nil
}

func (d Dir) unnamed(entries Entries, keep ...string) (names []string) {
	list, err := os.ReadDir(d.Path)
	if err != nil {
		return nil
	}
	texts, err := entries()
	if err != nil {
		return nil
	}
	for _, e := range list {
		named := slices.Contains(keep, e.Name())
		for _, text := range texts {
			named = named || bytes.Contains(text, []byte(e.Name()))
		}
		if !named && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names
}

// Sweep removes what a cut left half copied.
func (d Dir) Sweep() error {
	err := d.Disk.Sweep(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d Dir) path(name string) string { return filepath.Join(d.Path, name) }
