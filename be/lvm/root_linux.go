package lvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

const maxFstab = 1 << 20

// rootOf is the root directory of the file system on a volume, mounted or not.
func (s *Store) rootOf(ctx context.Context, v *volume) (*os.File, error) {
	if s.isNow(v) {
		return os.Open(s.cfg.Root)
	}
	return s.opened(ctx, v)
}

// fstab reads the fstab of the tree at dir, as a process chrooted into it would.
// It is empty where there is none.
func fstab(dir *os.File) (text string, info rooted.Info, err error) {
	r, err := rooted.Open(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return "", info, err
	}
	defer r.Close()
	if info, err = r.Stat("/etc/fstab"); err == nil {
		var b []byte
		b, err = r.ReadFileLimit("/etc/fstab", maxFstab)
		text = string(b)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, rooted.ErrNotRegular) {
		return "", info, nil
	}
	return text, info, err
}

// nameRoot makes the fstab in the tree at dir name the volume as its root, where
// it names any device, and does to it what also says, if that is not nil.
func (s *Store) nameRoot(dir *os.File, vg, volume string, also func(string) string) error {
	text, info, err := fstab(dir)
	if err != nil {
		return err
	}
	changed := rewriteFstab(text, vg, volume)
	if also != nil {
		changed = also(changed)
	}
	if changed == text {
		return nil
	}
	return s.do(fmt.Sprintf("name /dev/%s/%s as the root in fstab", vg, volume), func() error {
		r, err := rooted.Open(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
		if err != nil {
			return err
		}
		defer r.Close()
		// A link stays a link: it is its target that is replaced.
		where, err := r.Resolve("/etc/fstab")
		if err != nil {
			return err
		}
		// One that was cut may have left its own.
		if err := r.SweepTemp(filepath.Dir(where)); err != nil {
			return err
		}
		attrs, err := r.Xattrs(where)
		if err != nil {
			return err
		}
		return r.WriteFileAtomic(where, []byte(changed), rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID), Xattrs: attrs})
	})
}

// sync writes out the file system that dir is in.
func (s *Store) sync(dir *os.File, what string) error {
	return s.do("sync "+what, func() error { return unix.Syncfs(int(dir.Fd())) })
}
