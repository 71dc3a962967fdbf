package state

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// The reserve is space that is given up when the file system is full: without
// it beadm could not write the journal of the very command that makes room.
const (
	reserveFile = "reserve"
	reserveSize = 1 << 20
)

// KeepReserve makes the reserve if it is not there. It may fail: where there
// is no room for it there will be, once somebody made some.
func (d *Dir) KeepReserve() error {
	path := d.Path(reserveFile)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	// Random, so that no compression makes it nothing.
	data := make([]byte, reserveSize)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	return writeFile(path, data)
}

// NoSpace says whether err is that the file system is full.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// releaseReserve gives up the reserve for a file in dir, which is the state's
// folder or one in it, and says whether there was one. It waits until its
// space is free.
func releaseReserve(dir string) bool {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if os.Remove(filepath.Join(d, reserveFile)) == nil {
			flush(d)
			return true
		}
	}
	return false
}
