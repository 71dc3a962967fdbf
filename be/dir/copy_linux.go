package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// spare is what a full copy leaves free: others write to this file system too.
const spare = 16 << 20

// roomFor refuses what would fill the disk: so many copies of a boot environment.
func (s *Store) roomFor(ctx context.Context, name string, copies int64) error {
	src, err := s.openEntry(name)
	if err != nil {
		return err
	}
	defer src.Close()
	return s.room(ctx, src, copies)
}

func (s *Store) room(ctx context.Context, src *os.File, copies int64) error {
	if s.shares {
		return nil
	}
	one := &weigher{left: map[inode]*several{}}
	if err := one.tree(ctx, int(src.Fd()), 0); err != nil {
		return err
	}
	need := one.bytes * copies
	free, err := s.Free(ctx)
	if err != nil {
		return err
	}
	if free < need+spare {
		return be.E(be.Undone, "%d MiB are to be copied, and %d are free; make room first", need>>20, free>>20)
	}
	return nil
}

// copyTo copies a directory to a new one at path in the BE root. what is what
// progress is said of. live says that it may change meanwhile.
func (s *Store) copyTo(ctx context.Context, src *os.File, what, path string, live bool) error {
	if err := s.room(ctx, src, 1); err != nil {
		return err
	}
	if err := s.mkdir(path, 0o700); err != nil {
		return err
	}
	return s.do(func() error {
		dst, err := s.openEntry(path)
		if err != nil {
			return err
		}
		defer dst.Close()
		return s.copyInto(ctx, src, dst, what, live)
	}, "copy %s to %s", what, path)
}

func (s *Store) copyInto(ctx context.Context, src, dst *os.File, what string, live bool) error {
	last := Progress{Name: what}
	c := copier.New(src, dst, copier.Options{Progress: func(p copier.Progress) {
		if s.cfg.Progress != nil {
			last.Files, last.Bytes = p.Files, p.Bytes
			s.cfg.Progress(last)
		}
	}})
	defer c.Close()
	if s.cfg.Progress != nil {
		defer func() {
			last.Done = true
			s.cfg.Progress(last)
		}()
	}
	for pass := 1; ; pass++ {
		res, err := c.Pass(ctx, false)
		if err != nil {
			return err
		}
		if res.Changed == 0 {
			break
		}
		if !live {
			return fmt.Errorf("%s changed while it was copied", res.Example)
		}
		if pass == 3 {
			if s.cfg.Logger != nil {
				s.cfg.Logger.Debugf("%s: %d files changed during the last pass too, %s for one", s.path, res.Changed, res.Example)
			}
			break
		}
	}
	return c.Guard()
}

// removeTree deletes what is at path in the BE root, and all below it. Not there
// is no error.
func (s *Store) removeTree(path string) error {
	top, err := s.openEntry(path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer top.Close()
	return s.do(func() error {
		// rooted follows no link on the way down.
		r, err := rooted.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd()))
		if err != nil {
			return err
		}
		defer r.Close()
		err = r.RemoveAll(path)
		// It holds what is immutable, or a read-only subvolume.
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) {
			if err = copier.Unguard(top); err == nil {
				err = r.RemoveAll(path)
			}
		}
		return err
	}, "delete %s", path)
}

// processIn is a process that has this as its root directory; 0 for none.
func processIn(root inode) int {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range names {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "root"), &st) == nil && inodeOf(&st) == root {
			return pid
		}
	}
	return 0
}
