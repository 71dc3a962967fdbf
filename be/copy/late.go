package copier

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Late calls f for every name in the source that is not a directory and is
// not what the last pass saw: a process that had it open when the pass went
// by has written since. was is the size it had then, -1 if it was not there.
// It changes nothing, and may be called once after a pass.
func (c *Copier) Late(ctx context.Context, f func(path string, was int64) error) error {
	if err := syncfs(c.src); err != nil {
		return c.fail("sync", nil, err)
	}
	return c.late(ctx, int(c.src.Fd()), nil, f)
}

func (c *Copier) late(ctx context.Context, src int, path []string, f func(string, int64) error) error {
	names, err := readNames(src)
	if err != nil {
		return c.fail("read", path, err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := append(path[:len(path):len(path)], name)
		var st unix.Stat_t
		err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c.fail("stat", at, err)
		}
		if kind(&st) == unix.S_IFDIR {
			fd, err := openDir(src, name)
			if err != nil {
				return c.fail("open", at, err)
			}
			err = c.late(ctx, fd, at, f)
			unix.Close(fd)
			if err != nil {
				return err
			}
			continue
		}
		was := c.old.find(at)
		size := int64(-1)
		if was != nil {
			size = was.Size
			// Whether it was too young to be trusted does not matter here.
			seen := *was
			seen.Trust = true
			if seen.same(&st) {
				continue
			}
		}
		if err := f(join(at), size); err != nil {
			return err
		}
	}
	return nil
}
