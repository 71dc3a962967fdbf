package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// Recovery says what Recover found and did.
type Recovery struct {
	Op      string   `json:"op"`
	Moved   []string `json:"moved"`   // paths that have the new layout
	Kept    []string `json:"kept"`    // paths that have the old one
	Started []string `json:"started"` // units
	// Aside are paths that have the old layout, while the copy of them in the
	// shared dataset held more than they do: it is kept there, hidden.
	Aside []string `json:"aside,omitempty"`
	// Keep is the record to keep: it was not settled here. Nil: it was.
	Keep []byte `json:"-"`
}

// Recover ends what Init or Undo began, from the state that was recorded last,
// at whatever point it was killed. Every path then has its old layout or its
// new one, whole: a path that had been exchanged stays so, one that had not
// keeps the directory it has, since nobody can say what has been written there
// meanwhile, and its copy is dropped. Units are started again; nil starts
// none, as at the beginning of a boot, when all will be. Repeatable.
//
// The paths are those of one boot environment, and they mean nothing in
// another. Where running, whose root is at root, is not the one of the record,
// nothing is touched and the record is to be kept; what is in the shared
// dataset is used from then on, so that later nothing of it is dropped, and
// its boot environment gets the new layout when it boots. A record that does
// not say whose it is never makes anything be dropped.
func Recover(ctx context.Context, root string, running be.UUID, state []byte, units Units) (Recovery, error) {
	rec, err := parseRecord(state)
	if err != nil {
		return Recovery{}, err
	}
	res := Recovery{Op: rec.Op}
	r, err := rooted.Open(root)
	if err != nil {
		return res, be.E(be.Recovery, "cannot open %s: %w", root, err)
	}
	defer r.Close()
	fail := func(err error) error {
		return be.E(be.Recovery, "cannot finish the relocation in %s: %w", root, err)
	}
	if rec.Phase != done {
		mounted, err := shareMounted(r)
		if err != nil {
			return res, fail(err)
		}
		if rec.BE != "" && rec.BE != running {
			rec.Passed = rec.Passed || rec.Phase == exchanging && mounted
			res.Keep, err = rec.bytes()
			return res, err
		}
		s := &settling{r: r, rec: rec, mounted: mounted, ours: rec.BE != "", res: &res}
		if err := s.all(); err != nil {
			return res, fail(err)
		}
		if err := r.SyncFS(); err != nil {
			return res, fail(err)
		}
		if units != nil {
			if rec.Release {
				units.Resume(ctx) // the journal is in /run otherwise; nothing is lost
			}
			if len(rec.Units) > 0 {
				if err := units.Start(ctx, rec.Units); err != nil {
					return res, be.E(be.Recovery, "cannot start %s again: %w", strings.Join(rec.Units, ", "), err)
				}
				res.Started = rec.Units
			}
		}
	}
	for _, name := range rec.Names {
		x, err := lookAt(r, pathOf(name))
		if err != nil {
			return res, err
		}
		if (x.State == Linked) == (rec.Op == "init") {
			res.Moved = append(res.Moved, x.Path)
		} else {
			res.Kept = append(res.Kept, x.Path)
		}
	}
	return res, nil
}

// WhileRunning says whether Recover can settle the record now that services
// run in the boot environment running: it is that one's, and no other has used
// the shared dataset since.
func WhileRunning(state []byte, running be.UUID) bool {
	rec, err := parseRecord(state)
	return err == nil && rec.BE != "" && rec.BE == running && !rec.Passed
}

// settling makes every path of a record the old or the new one.
type settling struct {
	r       *rooted.Root
	rec     record
	mounted bool      // the shared dataset is
	ours    bool      // the record is known to be of this boot environment
	fresh   bool      // by the process itself that made the copies
	res     *Recovery // may be nil
}

func (s *settling) all() error {
	for _, name := range s.rec.Names {
		var err error
		if s.rec.Op == "undo" {
			err = s.undo(name)
		} else {
			err = s.init(name)
		}
		if err != nil {
			return err
		}
	}
	if err := sweepPaths(s.r, s.rec.Names); err != nil {
		return err
	}
	if s.mounted {
		if err := sweep(s.r, MountPoint); err != nil {
			return err
		}
	}
	if !s.mounted || !s.ours {
		return nil // the next Init clears what is left of the copies
	}
	return removeAll(s.r, MountPoint+"/"+newDir)
}

func (s *settling) init(name string) error {
	if s.rec.Phase != exchanging {
		return nil // nothing but the hidden copy
	}
	r := s.r
	path, old, link := pathOf(name), oldAt(pathOf(name)), linkAt(pathOf(name))
	final := MountPoint + "/" + name
	forward := func() error {
		return adopt(context.Background(), r, Path{Path: path, Name: name, State: Real}, time.Time{}, &Adoption{})
	}
	info, err := r.Lstat(path)
	switch {
	case err == nil && info.IsLink() && !isLinked(r, path):
		// Somebody else's: the copy is nobody's any more, and is kept hidden.
		if !s.ours || !s.mounted || s.rec.Passed || !isDir(r, final) {
			return nil
		}
		if s.res != nil {
			s.res.Aside = append(s.res.Aside, path)
		}
		return retire(r, name)
	case err == nil && info.IsLink():
		return nil // exchanged; the old tree is in OldDir
	case err == nil && isDir(r, old):
		// The tree is in OldDir and yet there is a directory: between the two
		// renames a power cut, and then something that could not be without
		// the path. What it wrote is staged, for Arrive, and the link made.
		if !s.mounted || !exists(r, final) {
			return errors.New(path + " and " + old + " are both there, and the shared dataset is not")
		}
		return forward()
	case err == nil:
		if !s.ours {
			return nil // Adopt knows what to do with it, and loses nothing
		}
		// Not exchanged. The prepared link goes, and the copy if it already
		// has its name: Init made sure that there was none before.
		for _, l := range []string{old, link} {
			if info, err := r.Lstat(l); err == nil && info.IsLink() {
				if err := r.Remove(l); err != nil {
					return err
				}
			}
		}
		if !s.mounted || !info.IsDir() || !isDir(r, final) {
			return nil
		}
		if s.rec.Passed {
			return forward() // the copy is what others live on
		}
		return s.dropCopy(name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// Between the two renames of a file system that cannot exchange: the tree
	// is in OldDir. Forward if the copy can be seen, else back.
	if s.mounted && exists(r, final) {
		return r.SymlinkAtomic(linkTarget(path), path, 0, 0)
	}
	if !s.ours && !exists(r, old) {
		return nil // never there
	}
	return r.Rename(old, path)
}

// dropCopy takes the copy of a directory that is in its place away from the
// shared dataset. One that holds more than the directory is only hidden.
func (s *settling) dropCopy(name string) error {
	r, path, final := s.r, pathOf(name), MountPoint+"/"+name
	if !s.fresh {
		more, err := holdsMore(r, final, path)
		if err != nil {
			return err
		}
		if more {
			if s.res != nil {
				s.res.Aside = append(s.res.Aside, path)
			}
			return retire(r, name)
		}
	}
	// Under a name that nothing leads to first: whatever interrupts this, a
	// tree that has its name is whole.
	hidden := MountPoint + "/" + newDir + "/" + name
	if err := r.MkdirAll(MountPoint+"/"+newDir, 0o700); err != nil {
		return err
	}
	if err := removeAll(r, hidden); err != nil {
		return err
	}
	effect("hide copy of " + path)
	if err := r.Rename(final, hidden); err != nil {
		return err
	}
	if err := errors.Join(r.SyncFSAt(MountPoint), r.SyncFS()); err != nil {
		return err
	}
	if !isDir(r, path) {
		return errors.New(path + " went away")
	}
	effect("drop copy of " + path)
	return removeAll(r, hidden)
}

func (s *settling) undo(name string) error {
	r, p := s.r, s.rec.Phase
	path, back := pathOf(name), backAt(pathOf(name))
	info, err := r.Lstat(path)
	switch {
	case err == nil && info.IsLink():
		return removeAll(r, back) // not exchanged; the copy may lack what came since
	case errors.Is(err, fs.ErrNotExist) && p == exchanging:
		if !s.ours && !exists(r, back) {
			return nil
		}
		if err := r.Rename(back, path); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if !s.ours {
		return nil // it may never have had the link
	}
	// The directory is in place; back is the link that was there.
	if err := removeAll(r, back); err != nil {
		return err
	}
	if err := setLinked(r, name, false); err != nil {
		return err
	}
	// What others have used since is not hidden from them.
	if s.mounted && exists(r, MountPoint+"/"+name) && p == exchanging && !s.rec.Passed {
		return retire(r, name)
	}
	return nil
}

func isDir(r *rooted.Root, p string) bool {
	info, err := r.Lstat(p)
	return err == nil && info.IsDir()
}

// holdsMore says whether the copy of a directory, made for the shared dataset,
// has anything that the directory itself does not have. Whoever is told no may
// drop it.
func holdsMore(r *rooted.Root, final, path string) (bool, error) {
	src, err := copier.OpenDir(r, final)
	if err != nil {
		return true, err
	}
	defer src.Close()
	dst, err := copier.OpenDir(r, path)
	if err != nil {
		return true, err
	}
	defer dst.Close()
	return moreIn(r, src, dst, final, path, "")
}

func moreIn(r *rooted.Root, src, dst *os.File, final, path, at string) (bool, error) {
	names, err := copier.NamesIn(src)
	if err != nil {
		return true, err
	}
	for _, name := range names {
		var a, b unix.Stat_t
		if err := unix.Fstatat(int(src.Fd()), name, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return true, err
		}
		err := unix.Fstatat(int(dst.Fd()), name, &b, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			return true, nil
		}
		if err != nil {
			return true, err
		}
		const typ = unix.S_IFMT
		kind := uint32(a.Mode) & typ
		if kind != uint32(b.Mode)&typ {
			return true, nil
		}
		more := false
		switch kind {
		case unix.S_IFDIR:
			more, err = moreBelow(r, src, dst, final, path, at+"/"+name)
		case unix.S_IFLNK:
			to, err1 := r.Readlink(final + at + "/" + name)
			was, err2 := r.Readlink(path + at + "/" + name)
			// As the copier made it.
			more, err = to != deeper(path)((at + "/" + name)[1:], was), errors.Join(err1, err2)
		default:
			if kind == unix.S_IFREG && a.Size == b.Size && a.Mtim == b.Mtim {
				break // as the copier left it
			}
			var nothing bool
			nothing, err = adds(context.Background(), src, dst, name)
			more = !nothing
		}
		if more || err != nil {
			return true, err
		}
	}
	return false, nil
}

func moreBelow(r *rooted.Root, src, dst *os.File, final, path, at string) (bool, error) {
	name := at[strings.LastIndexByte(at, '/')+1:]
	a, err := openSub(src, name)
	if err != nil {
		return true, err
	}
	defer a.Close()
	b, err := openSub(dst, name)
	if err != nil {
		return true, err
	}
	defer b.Close()
	return moreIn(r, a, b, final, path, at)
}
