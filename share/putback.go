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
// and called again; TakeBack takes it back. It returns the paths that it put back.
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

// TakeBack undoes a PutBack, one that was cut too: what it had put back is a link
// again, and what was staged is staged as it was. What was no link before is left
// alone. TakeBack may be killed at any point and called again.
func TakeBack(ctx context.Context, root string, names []string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return be.E(be.NotFound, "cannot take directories back from %s: %w", root, err)
	}
	defer r.Close()
	for _, name := range names {
		if err := takeBack(r, name); err != nil {
			return be.E(be.Other, "cannot make %s%s the link that it was: %w", root, pathOf(name), err)
		}
	}
	for _, dir := range []string{OldDir, OldRootDir} {
		r.Remove(dir) // if there is nothing in it
	}
	if err := sweepPaths(r, names); err != nil {
		return err
	}
	if _, err := Follow(ctx, root, nil); err != nil {
		return err
	}
	return r.SyncFS()
}

// unlinkedAt has the link that PutBack has taken from p, and unstagedAt what was
// staged for the name, until Commit or the next PutBack. No name of a path begins
// with what these begin with.
func unlinkedAt(p string) string    { return oldDir(p) + "/.%link-" + NameOf(p) }
func unstagedAt(name string) string { return OldDir + "/.%staged-" + name }

func isLinkAt(r *rooted.Root, p string) bool {
	info, err := r.Lstat(p)
	return err == nil && info.IsLink()
}

func takeBack(r *rooted.Root, name string) error {
	p := pathOf(name)
	back, link := backAt(p), unlinkedAt(p)
	x, err := lookAt(r, p)
	if err != nil {
		return err
	}
	if isLinkAt(r, link) && (x.State == Real || x.State == Absent) {
		effect("take back " + p)
		if err := setLinked(r, name, true); err != nil {
			return err
		}
		if err := relink(r, x, back, link); err != nil {
			return err
		}
	}
	if isLinked(r, p) {
		if err := setBack(r, name, false); err != nil {
			return err
		}
	}
	effect("drop what was put back at " + p)
	for _, at := range []string{back, link} {
		if err := removeAll(r, at); err != nil {
			return err
		}
	}
	if staged := StagedDir + "/" + name; !exists(r, staged) && exists(r, unstagedAt(name)) {
		return r.Rename(unstagedAt(name), staged)
	}
	return nil
}

// relink exchanges the directory for the link. Where names cannot be exchanged
// the path is absent between two of them, and so it may be found.
func relink(r *rooted.Root, x Path, back, link string) error {
	if x.State == Real {
		err := exchange(r, x.Path, link)
		if !cannotExchange(err) {
			return err
		}
		if err := removeAll(r, back); err != nil {
			return err
		}
		if err := r.Rename(x.Path, back); err != nil {
			return err
		}
		effect("removed directory " + x.Path)
	}
	return r.Rename(link, x.Path)
}

// forgetBack removes what an earlier PutBack could be taken back by.
func forgetBack(r *rooted.Root, name string) error {
	for _, at := range []string{unlinkedAt(pathOf(name)), unstagedAt(name)} {
		if err := removeAll(r, at); err != nil {
			return err
		}
	}
	return nil
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
		if err := forgetBack(r, name); err != nil {
			return false, err
		}
		if err := copyBack(ctx, r, live, name, back); err != nil {
			return false, err
		}
		if err := setBack(r, name, true); err != nil {
			return false, err
		}
		effect("keep link of " + x.Path)
		if err := r.SymlinkAtomic(linkTarget(x.Path), unlinkedAt(x.Path), 0, 0); err != nil {
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
		if err := forgetBack(r, name); err != nil {
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

// unstaged brings what packages staged into the directory itself, and keeps it
// out of the way.
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
	if err := r.MkdirAll(OldDir, 0o700); err != nil {
		return err
	}
	effect("empty staged " + name)
	return r.Rename(StagedDir+"/"+name, unstagedAt(name))
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
