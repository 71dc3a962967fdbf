package share

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// PutBack gives the boot environment mounted at root, in which nothing runs,
// directories of its own where it has links to those names of the shared
// dataset mounted at shareDir: with what is in them now, and with what was
// staged. The shared dataset is not changed. PutBack may be killed at any point
// and called again; Adopt takes it back. It returns the paths that it put back.
func PutBack(ctx context.Context, root, shareDir string, names []string) ([]string, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return nil, be.E(be.NotFound, "cannot put directories back into %s: %w", root, err)
	}
	defer r.Close()
	live, err := openShare(shareDir)
	if err != nil {
		return nil, err
	}
	defer live.Close()
	if err := sweepPaths(r, names); err != nil {
		return nil, be.E(be.Other, "cannot put directories back into %s: %w", root, err)
	}
	var done []string
	for _, name := range names {
		put, err := putBackAtRest(ctx, r, live, name)
		if err != nil {
			return done, be.E(be.Other, "cannot put %s%s back: %w", root, pathOf(name), err)
		}
		if put {
			done = append(done, pathOf(name))
		}
	}
	if _, err := Follow(ctx, root, nil); err != nil {
		return done, err
	}
	if err := r.SyncFS(); err != nil {
		return done, be.E(be.Other, "cannot make what was put back in %s durable: %w", root, err)
	}
	return done, nil
}

// DropBack removes what a PutBack that was cut had copied and not put in place.
func DropBack(root string, names []string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, name := range names {
		if err := removeAll(r, backAt(pathOf(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return sweepPaths(r, names)
}

func putBackAtRest(ctx context.Context, r, live *rooted.Root, name string) (bool, error) {
	x, err := lookAt(r, pathOf(name))
	if err != nil {
		return false, err
	}
	back := backAt(pathOf(name))
	switch {
	case x.State == Absent && isDir(r, back):
		// Cut between the two names: the copy is whole.
		if err := r.Rename(back, x.Path); err != nil {
			return false, err
		}
	case x.State == Linked:
		if err := copyBack(ctx, r, live, name, back); err != nil {
			return false, err
		}
		effect("put back " + x.Path)
		if err := putBack(r, name); err != nil {
			return false, err
		}
	case x.State == Real:
		if err := removeAll(r, back); err != nil { // the link, of an exchange that was cut
			return false, err
		}
	default:
		return false, nil
	}
	if err := setLinked(r, name, false); err != nil {
		return false, err
	}
	return true, unstaged(ctx, r, name)
}

func copyBack(ctx context.Context, r, live *rooted.Root, name, back string) error {
	if err := r.MkdirAll(path.Dir(back), 0o700); err != nil {
		return err
	}
	effect("copy back " + name)
	if err := removeAll(r, back); err != nil {
		return err
	}
	src, err := copier.OpenDir(live, "/"+name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := copier.OpenDir(r, path.Dir(back))
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := copier.Dir(src, dst, backPrefix+name); err != nil {
		return err
	}
	into, err := openSub(dst, backPrefix+name)
	if err != nil {
		return err
	}
	defer into.Close()
	if _, err := copier.Tree(ctx, src, into, copier.Options{Link: shallower(pathOf(name))}); err != nil {
		return err
	}
	effect("sync copy of " + name)
	return r.SyncFS()
}

// unstaged brings what packages staged into the directory itself.
func unstaged(ctx context.Context, r *rooted.Root, name string) error {
	staged, err := copier.OpenDir(r, StagedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer staged.Close()
	if _, err := lstat(staged, name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir, err := r.HostPath("/var")
	if err != nil {
		return err
	}
	v, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	m := &merge{ctx: ctx, res: &Arrival{}, live: v, again: true, aside: ArrivedDir + "/" + time.Now().UTC().Format("2006-01-02T150405Z")}
	if err := m.entry(staged, name, nil); err != nil {
		return err
	}
	if err := r.SyncFS(); err != nil {
		return err
	}
	effect("empty staged " + name)
	return removeAll(r, StagedDir+"/"+name)
}

// Weigh is what a copy of those names of the shared dataset takes, in bytes.
func Weigh(ctx context.Context, shareDir string, names []string) (int64, error) {
	live, err := openShare(shareDir)
	if err != nil {
		return 0, err
	}
	defer live.Close()
	var all int64
	for _, name := range names {
		bytes, _, err := weigh(ctx, live, "/"+name)
		if err != nil {
			return 0, err
		}
		all += bytes
	}
	return all, nil
}
