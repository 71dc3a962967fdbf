// Package durable writes the few small files of a boot loader so that a
// power cut at any moment leaves, where the loader reads it, the old or the
// new content.
//
// A loader reads what is on the disk: it knows neither the kernel's cache nor
// (GRUB) a file system's journal. So the order in which blocks get there is
// argued here for vfat and ext4 block by block.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sector is what every disk writes whole or not at all.
const Sector = 512

// TempSuffix ends the name of every file that is not in place yet.
const TempSuffix = ".new"

// Disk does the effects. The zero value is ready for use.
type Disk struct {
	// Step, if set, is called before and after every effect that a cut could
	// come before or after; the error it returns ends the work there, with
	// nothing cleaned up, as a power cut would.
	Step func(effect string) error

	// Settle, if set, replaces the default of putting a whole file system
	// where a loader without journal replay reads it. SyncDir is enough for
	// readers that mount the file system.
	Settle func(dir string) error
}

func (d Disk) effect(name string, do func() error) error {
	if d.Step != nil {
		if err := d.Step("before " + name); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if d.Step != nil {
		return d.Step("after " + name)
	}
	return nil
}

// Sync puts everything written to the file system that holds dir where a
// loader reads it after a power cut.
func (d Disk) Sync(dir string) error {
	return d.effect("settle "+filepath.Base(dir), func() error {
		if d.Settle != nil {
			return d.Settle(dir)
		}
		return settle(dir)
	})
}

// SyncDir makes the names in dir durable for whoever mounts the file system.
// The content of files is so already when they get their names.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Overwrite replaces the whole of an existing file of one sector by data, of
// one sector too, with a single write: no truncation, no rename, no new
// block, so that the disk holds the old sector or the new one and a loader
// that knows the block's place may write it as well. Then it reads the data
// back from the medium, not from the cache.
func (d Disk) Overwrite(path string, data []byte) error {
	if len(data) != Sector {
		return fmt.Errorf("cannot overwrite %s: %d bytes are not one sector", path, len(data))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != Sector {
		return fmt.Errorf("cannot overwrite %s: it is not a file of %d bytes", path, Sector)
	}
	err = d.effect("write "+filepath.Base(path), func() error {
		if n, err := f.WriteAt(data, 0); err != nil || n != Sector {
			return fmt.Errorf("cannot write %s: %w", path, errors.Join(err, short(n)))
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	back, err := readMedium(f)
	if err != nil {
		return fmt.Errorf("cannot read %s back: %w", path, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%s does not hold what was written to it: the medium cannot be trusted", path)
	}
	return nil
}

func short(n int) error {
	if n == Sector {
		return nil
	}
	return io.ErrShortWrite
}

// readMedium reads the first sector after asking the kernel to forget its
// copy. The caller has synced the file, or has not written to it.
func readMedium(f *os.File) ([]byte, error) {
	forget(f)
	b := make([]byte, Sector)
	_, err := f.ReadAt(b, 0)
	return b, err
}

// Read returns the content of a regular file, from the medium as far as the
// kernel lets us, and fails beyond limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	forget(f)
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	return b, err
}

// Replace gives path the content data; nothing is written if it has it
// already. Between two calls of Sync everything may reach the disk in any
// order, or not at all:
//
//  1. The new content goes to a file of its own, whose name the loader does
//     not look at, and is settled: data, allocation and inode are in place
//     before a name leads to them.
//  2. The rename. On vfat over an existing name it rewrites the start cluster
//     and size in that name's own 32 bytes, in one sector, and takes the
//     temporary name away in (maybe) another (fs/fat/namei_vfat.c,
//     vfat_rename). Whichever comes first, the name leads to the whole old or
//     the whole new content. On ext4 it changes one directory block. For a
//     name that did not exist a cut can leave it out; nothing refers to it
//     before Replace has returned.
//  3. What could spoil this is the end of the old content: once its clusters
//     are marked free, and that reaches the disk before the name's sector
//     does, a loader that follows the old name finds a broken chain. So the
//     old file is held open over the rename and its Sync: its clusters, or
//     its inode's blocks, are only given back after the new name is on disk.
func (d Disk) Replace(path string, data []byte) error {
	old, err := os.Open(path)
	switch {
	case err == nil:
		defer old.Close()
		have, err := Read(path, int64(len(data)))
		if err == nil && bytes.Equal(have, data) {
			// It may be there from a run that was cut before it settled.
			return d.Sync(filepath.Dir(path))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	temp := path + TempSuffix
	name := filepath.Base(path)
	err = d.effect("write "+filepath.Base(temp), func() error { return writeNew(temp, data) })
	if err != nil {
		return err
	}
	if err := d.Sync(filepath.Dir(path)); err != nil {
		return err
	}
	if err := d.effect("rename to "+name, func() error { return os.Rename(temp, path) }); err != nil {
		return err
	}
	if err := d.Sync(filepath.Dir(path)); err != nil {
		return err
	}
	if old != nil {
		old.Close()
		if err := d.Sync(filepath.Dir(path)); err != nil {
			return err
		}
	}
	back, err := Read(path, int64(len(data)))
	if err != nil {
		return fmt.Errorf("cannot read %s back: %w", path, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%s does not hold what was written to it: the medium cannot be trusted", path)
	}
	return nil
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// Remove takes the file away; none is no error.
func (d Disk) Remove(path string) error {
	err := d.effect("remove "+filepath.Base(path), func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.Sync(filepath.Dir(path))
}

// Mkdir makes a directory whose parent exists; if it is there already that is
// no error.
func (d Disk) Mkdir(path string) error {
	err := d.effect("mkdir "+filepath.Base(path), func() error {
		if err := os.Mkdir(path, 0o700); !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("is there and no directory")}
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.Sync(filepath.Dir(path))
}

// Sweep removes what a cut left unfinished in dir. It is tidiness, not
// safety: no loader looks at those names.
func (d Disk) Sweep(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), TempSuffix) {
			if err := d.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
