package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"beadm/be"
)

// TempPrefix begins the name of every file of the state that is not in place
// yet. Lock sweeps those that a cut left behind.
const TempPrefix = ".new-"

// WriteFile replaces path so that a power cut leaves the old content or the
// new: the bytes are on disk before the name points at them, and the name is
// on disk before WriteFile returns. The file is readable by its owner only.
func WriteFile(path string, data []byte) error {
	err := writeFile(path, data)
	if NoSpace(err) && releaseReserve(filepath.Dir(path)) {
		err = writeFile(path, data)
	}
	var p *fs.PathError
	var l *os.LinkError
	switch { // both say at length which file it was
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	switch {
	case NoSpace(err):
		// Who has changed nothing yet says so; of others the rest waits for room.
		return be.E(be.Recovery, "cannot write %s: the file system is full; make room, and run the command again (%w)", path, err)
	case err != nil:
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, TempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = Sync(dir)
	}
	return err
}

// Sync makes durable what a file holds, or the names in a directory.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// sweepTemp removes what was never put in place, down to the folders of the
// sync's contents.
func (d *Dir) sweepTemp() {
	for _, below := range []string{"", "*", "*/*"} {
		// The path itself is no pattern.
		left, _ := fs.Glob(os.DirFS(d.path), filepath.Join(below, TempPrefix+"*"))
		for _, name := range left {
			os.Remove(filepath.Join(d.path, name))
		}
	}
}
