package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/btrfs"
	"beadm/be/copy"
)

// plainCopy is what AdoptPlain has written down, durably, while there are both the
// old tree and its copy. It is gone when the guest starts from the copy.
type plainCopy struct {
	BE   string `json:"be"`   // the copy's
	Kept string `json:"kept"` // what the old tree is to be called, beside the root
}

func (p Place) noted() string { return filepath.Join(p.Dir(), "copying") }

// IsPlain says that the guest's root is a directory on btrfs and not a subvolume:
// AdoptPlain is for it.
func (p Place) IsPlain() bool {
	if _, adopted, err := p.Current(); adopted || err != nil {
		return false
	}
	info, err := os.Lstat(p.Root)
	if err != nil || !info.IsDir() {
		return false
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	return unix.Statfs(p.Root, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC && unix.Lstat(p.Root, &st) == nil && st.Ino != firstInode
}

// KeepsPlain is what AdoptPlain will call the old tree.
func (p Place) KeepsPlain() (string, error) {
	for n := 1; ; n++ {
		// Neither systemd-nspawn nor LXC takes it for a guest.
		name := filepath.Join(filepath.Dir(p.Root), fmt.Sprintf(".%s.plain-%d", filepath.Base(p.Root), n))
		_, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", fmt.Errorf("cannot adopt %s: %w", p.Root, err)
		}
	}
}

// dies is where a test has AdoptPlain end.
var dies = func(string) error { return nil }

// AdoptPlain is Adopt for a guest that does not run and whose root is a plain
// directory, after Make: its files are copied, without their bytes, into a subvolume, which is
// exchanged for it when all of the copy is durable. The old tree is kept, as what
// is returned. stopped is asked before and after the exchange: its error undoes
// all. It may be repeated, by one at a time.
func (p Place) AdoptPlain(ctx context.Context, name string, stopped func() error) (kept string, err error) {
	fail := func(err error) (string, error) {
		return "", be.E(be.KindOf(err), "cannot adopt %s: %w", p.Root, err)
	}
	dir, err := os.Open(p.Dir())
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	if err := p.dropPlainCopy(dir); err != nil {
		return fail(err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.Dir(), RootPrefix+"*")); len(left) > 0 {
		return "", be.E(be.InUse, "cannot adopt %s: it is a plain directory, and its boot environments are in %s already; put the link to one of them back in its place", p.Root, p.Dir())
	}
	if kept, err = p.KeepsPlain(); err != nil {
		return "", err
	}
	if err := p.note(plainCopy{BE: name, Kept: kept}); err != nil {
		return fail(err)
	}
	if err := dies("noted"); err != nil {
		return fail(err)
	}
	undo := func(err error) (string, error) {
		os.Remove(kept) // the link, if it is there
		return fail(errors.Join(err, p.dropPlainCopy(dir)))
	}
	if err := p.copyPlain(ctx, dir, RootPrefix+name); err != nil {
		if dies("failed") != nil {
			return fail(err)
		}
		return undo(err)
	}
	if err := dies("copied"); err != nil {
		return fail(err)
	}
	if err := os.Symlink(p.link(RootPrefix+name), kept); err != nil {
		return undo(err)
	}
	if err := dies("linked"); err != nil {
		return fail(err)
	}
	if err := stopped(); err != nil {
		return undo(err)
	}
	if err := exchange(p.Root, kept); err != nil {
		return undo(err)
	}
	if err := dies("exchanged"); err != nil {
		return fail(err)
	}
	if err := stopped(); err != nil {
		if berr := exchange(p.Root, kept); berr != nil {
			return fail(errors.Join(err, berr))
		}
		return undo(err)
	}
	if err := syncDirs(filepath.Dir(p.Root), p.Dir()); err != nil {
		return fail(err)
	}
	if _, err := p.EndPlain(); err != nil {
		return "", err
	}
	return kept, nil
}

// EndPlain ends an AdoptPlain that was cut behind its exchange, and returns where
// it has left the old tree; empty: there was none.
func (p Place) EndPlain() (kept string, err error) {
	c, err := p.readNote()
	if _, adopted, cerr := p.Current(); err != nil || cerr != nil || c == nil || !adopted {
		return "", errors.Join(err, cerr)
	}
	if err := syncDirs(filepath.Dir(p.Root)); err != nil {
		return "", err
	}
	if err := os.Remove(p.noted()); err != nil {
		return "", fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	return c.Kept, syncDirs(p.Dir())
}

// copyPlain makes the subvolume, durable.
func (p Place) copyPlain(ctx context.Context, dir *os.File, name string) error {
	src, err := os.OpenFile(p.Root, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := btrfs.MakeSubvolume(dir, name); err != nil {
		return err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), name)
	defer dst.Close()
	c := copier.New(src, dst, copier.Options{})
	defer c.Close()
	res, err := c.Pass(ctx, false)
	if err != nil {
		return err
	}
	if res.Changed > 0 {
		return be.E(be.InUse, "%s changed while it was copied: stop who writes to it", res.Example)
	}
	if err := c.Guard(); err != nil {
		return err
	}
	if err := c.Sync(); err != nil {
		return err
	}
	return unix.Syncfs(fd)
}

// note writes down what is begun, before it is.
func (p Place) note(c plainCopy) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p.noted()+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(p.noted()+".new", p.noted()); err != nil {
		return err
	}
	return syncDirs(p.Dir())
}

func (p Place) readNote() (*plainCopy, error) {
	data, err := os.ReadFile(p.noted())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c plainCopy
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p.noted(), err)
	}
	if be.CheckName(c.BE) != nil || filepath.Dir(c.Kept) != filepath.Dir(p.Root) || !strings.HasPrefix(filepath.Base(c.Kept), "."+filepath.Base(p.Root)+".plain-") {
		return nil, be.E(be.Recovery, "cannot read %s: it is not what guest init wrote", p.noted())
	}
	return &c, nil
}

// dropPlainCopy takes away what an AdoptPlain that was cut before its exchange has
// left: the guest may have run since, and the copy is old.
func (p Place) dropPlainCopy(dir *os.File) error {
	c, err := p.readNote()
	if err != nil || c == nil {
		return err
	}
	if to, err := os.Readlink(c.Kept); err == nil && to == p.link(RootPrefix+c.BE) {
		if err := os.Remove(c.Kept); err != nil {
			return err
		}
	}
	err = btrfs.RemoveSubvolume(dir, RootPrefix+c.BE)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the copy that was not finished: %w", err)
	}
	if err := syncDirs(filepath.Dir(p.Root), p.Dir()); err != nil {
		return err
	}
	if err := os.Remove(p.noted()); err != nil {
		return err
	}
	return syncDirs(p.Dir())
}
