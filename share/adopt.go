package share

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// Adoption says what Adopt did to a boot environment.
type Adoption struct {
	Linked []string `json:"linked"` // paths that were made links
	Staged int      `json:"staged"` // files of its own that were staged
}

// Adopt gives the boot environment mounted at root, in which nothing runs, the
// links of the shared dataset mounted at shareDir: one for each directory of
// the profile, and of what was added to it, that the dataset holds, and has
// what goes by path Follow. A BE made before the relocation has directories of
// its own there. They are kept in OldDir until Commit, and those of their files
// that changed since the time given are staged, for Arrive: a clone's own, not
// the mail that was in its source when it was cloned, which the live data has,
// has delivered, or has deleted since; nor what PutBack or Undo copied there. The
// zero time stages all but that.
//
// Adopt may be killed at any point and called again: a path is a directory of
// the BE's until, in one step where the file system can, it is a link, and
// what is to be staged is staged by then.
func Adopt(ctx context.Context, root, shareDir, os string, since time.Time) (Adoption, error) {
	var a Adoption
	r, err := rooted.Open(root)
	if err != nil {
		return a, be.E(be.NotFound, "cannot bring the links to the shared dataset into %s: %w", root, err)
	}
	defer r.Close()
	live, err := openShare(shareDir)
	if err != nil {
		return a, err
	}
	defer live.Close()
	names, err := added(live, "")
	if err != nil {
		return a, err
	}
	all := Profile(os)
	for _, name := range names {
		all = append(all, pathOf(name))
	}
	// Those alone: what is in another of the profile, which is not shared here,
	// is not shared with that.
	all = slices.DeleteFunc(all, func(p string) bool {
		info, err := live.Lstat("/" + NameOf(p))
		return err != nil || !info.IsDir()
	})
	paths, err := look(r, all)
	if err != nil {
		return a, err
	}
	mounts := fstabMounts(r)
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return a, err
		}
		if p.State != Real && p.State != Absent {
			continue
		}
		if slices.ContainsFunc(mounts, func(at string) bool { return inside(p.Path, at) || inside(at, p.Path) }) {
			continue // it mounts a file system of its own there, later in its boot
		}
		if p.State == Absent && !isDir(r, path.Dir(p.Path)) {
			continue // of a program that this one does not have
		}
		if err := setLinked(r, p.Name, true); err != nil {
			return a, be.E(be.Other, "cannot write down in %s what is shared: %w", root, err)
		}
		if err := adopt(ctx, r, p, since, &a); err != nil {
			return a, be.E(be.Other, "cannot make %s%s a link to the shared dataset: %w", root, p.Path, err)
		}
		a.Linked = append(a.Linked, p.Path)
	}
	if len(a.Linked) > 0 {
		if err := PrepareMountPoint(root, true); err != nil {
			return a, err
		}
		if err := r.SyncFS(); err != nil {
			return a, be.E(be.Other, "cannot make the links in %s durable: %w", root, err)
		}
	}
	_, err = Follow(ctx, root, nil) // nothing runs there that would have to load it
	return a, err
}

func adopt(ctx context.Context, r *rooted.Root, p Path, since time.Time, a *Adoption) error {
	effect("adopt " + p.Path)
	if p.State == Absent {
		// Never there, or a power cut between the two renames of put: the
		// tree is in OldDir and its newer files are staged.
		return r.SymlinkAtomic(linkTarget(p.Path), p.Path, 0, 0)
	}
	if err := r.MkdirAll(StagedDir, 0o755); err != nil {
		return err
	}
	since, err := laterBack(r, p.Name, since)
	if err != nil {
		return err
	}
	if err := stageNewer(ctx, r, p, since, a); err != nil {
		return err
	}
	// The staged names before the link: a power cut must not leave a link
	// and half of what it hides.
	effect("sync staged")
	if err := r.SyncFS(); err != nil {
		return err
	}
	return put(r, p)
}

// put makes a link of the directory at p.Path and leaves the directory in
// OldDir, without a moment at which the path is missing where the file system
// can exchange names.
func put(r *rooted.Root, p Path) error {
	old := oldAt(p.Path)
	if err := r.MkdirAll(oldDir(p.Path), 0o700); err != nil {
		return err
	}
	info, err := r.Lstat(old)
	if err == nil && info.IsDir() {
		// From an earlier move that was undone since: it is kept beside.
		if err := setOldAside(r, p.Path); err != nil {
			return err
		}
	}
	if err := r.SymlinkAtomic(linkTarget(p.Path), old, 0, 0); err != nil {
		return err
	}
	effect("exchange names " + p.Path)
	err = exchange(r, p.Path, old)
	if err == nil || !cannotExchange(err) {
		return err
	}
	// Two renames, where the file system cannot exchange (ZFS before 2.2).
	// A power cut between them leaves no path at all, and everything in
	// OldDir: whoever is called at the next boot, before any service (Recover
	// after Init, Adopt for a boot environment at rest), finds the path
	// absent and makes the link. Between the two renames a program sees ENOENT
	// for some microseconds, which is why nothing runs that writes there.
	link := linkAt(p.Path)
	if err := r.Rename(old, link); err != nil {
		return err
	}
	effect("rename away " + p.Path)
	if err := r.Rename(p.Path, old); err != nil {
		return err
	}
	effect("rename link " + p.Path)
	return r.Rename(link, p.Path)
}

// linkAt is where the link for the path p waits while it cannot be exchanged.
func linkAt(p string) string { return oldDir(p) + "/." + NameOf(p) }

// setOldAside gives the old tree of the path p another name in OldDir.
func setOldAside(r *rooted.Root, p string) error {
	for i := 1; ; i++ {
		to := oldAt(p) + "~" + itoa(i)
		err := r.RenameNoReplace(oldAt(p), to)
		if cannotExchange(err) { // no flags at all: look, then rename
			if exists(r, to) {
				continue
			}
			err = r.Rename(oldAt(p), to)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// stageNewer makes names in the staging tree for the files of p that changed
// since then. They are second names of the same files: nothing is copied.
func stageNewer(ctx context.Context, r *rooted.Root, p Path, since time.Time, a *Adoption) error {
	return r.Scan(p.Path, nil, func(at string, info rooted.Info) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := StagedDir + "/" + p.Name + strings.TrimPrefix(at, p.Path)
		if info.IsDir() {
			// Its mode goes with it, though all in it may be old.
			if !since.IsZero() && at != p.Path && !newer(r, at, since) {
				return nil
			}
			return stageDirs(r, p, at)
		}
		if !since.IsZero() && !newer(r, at, since) {
			return nil
		}
		if err := stageDirs(r, p, at[:strings.LastIndexByte(at, '/')]); err != nil {
			return err
		}
		effect("stage " + at)
		var err error
		if info.IsLink() {
			var target string
			if target, err = r.Readlink(at); err == nil {
				err = r.Symlink(deeper(p.Path)(strings.TrimPrefix(at, p.Path+"/"), target), to)
			}
		} else if err = r.Link(at, to); errors.Is(err, unix.EPERM) {
			err = stageCopy(r, at, to) // of what is immutable there are no further names
		}
		if errors.Is(err, fs.ErrExist) {
			return nil // an earlier call was cut off
		}
		if err == nil {
			a.Staged++
		}
		return err
	})
}

func stageCopy(r *rooted.Root, at, to string) error {
	src, err := copier.OpenDir(r, path.Dir(at))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := copier.OpenDir(r, path.Dir(to))
	if err != nil {
		return err
	}
	defer dst.Close()
	return copier.Node(src, path.Base(at), dst, path.Base(to), copier.Options{})
}

// stageDirs makes the staged directory for at and those above it.
func stageDirs(r *rooted.Root, p Path, at string) error {
	rel := strings.Split(strings.Trim(strings.TrimPrefix(at, p.Path), "/"), "/")
	from, to := p.Path, StagedDir+"/"+p.Name
	for i := -1; i < len(rel); i++ {
		if i >= 0 {
			if rel[i] == "" {
				continue
			}
			from, to = from+"/"+rel[i], to+"/"+rel[i]
		}
		if err := stageDir(r, from, to); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func stageDir(r *rooted.Root, from, to string) error {
	if exists(r, to) {
		return fs.ErrExist
	}
	effect("make " + to)
	src, err := copier.OpenDir(r, from)
	if err != nil {
		return err
	}
	defer src.Close()
	i := strings.LastIndexByte(to, '/')
	dst, err := copier.OpenDir(r, to[:i])
	if err != nil {
		return err
	}
	defer dst.Close()
	return copier.Dir(src, dst, to[i+1:])
}

// Commit deletes the trees that Init and Adopt have left in the root, and what
// Undo has left in the shared dataset at shareDir (empty: not looked at). It
// refuses, with kind InUse, while a process still has one of them open.
func Commit(ctx context.Context, root, shareDir string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return be.E(be.NotFound, "cannot delete the old trees: %w", err)
	}
	defer r.Close()
	for _, dir := range []string{OldDir, OldRootDir} {
		if !exists(r, dir) {
			continue
		}
		holders, err := findHolders(ctx, r, []string{dir}, nil)
		if err != nil {
			return be.E(be.Other, "cannot see who uses the old trees: %w", err)
		}
		if len(holders) > 0 {
			return be.E(be.InUse, "cannot delete the old trees in %s: still in use by %s; restart what uses them, or reboot, first", dir, holdersText(holders))
		}
		if err := removeAll(r, dir); err != nil {
			return be.E(be.Other, "cannot delete the old trees in %s: %w", dir, err)
		}
	}
	if shareDir == "" {
		return nil
	}
	live, err := openShare(shareDir)
	if err != nil {
		return err
	}
	defer live.Close()
	if err := removeAll(live, "/"+UndoneDir); err != nil {
		return be.E(be.Other, "cannot delete what was copied back: %w", err)
	}
	return nil
}

// newer asks for the change time, which nobody can set.
func newer(r *rooted.Root, at string, since time.Time) bool {
	i := strings.LastIndexByte(at, '/')
	dir, err := copier.OpenDir(r, at[:i]+"/")
	if err != nil {
		return true
	}
	defer dir.Close()
	t, err := changed(dir, at[i+1:])
	return err != nil || !t.Before(since)
}

// HasOld says whether the root keeps trees that Commit would delete.
func HasOld(root string) (bool, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return false, err
	}
	defer r.Close()
	// Also an empty one, of a Commit that was cut.
	for _, dir := range []string{OldDir, OldRootDir} {
		if _, err = r.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}
