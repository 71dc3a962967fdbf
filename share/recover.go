package share

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/rooted"
)

// Recovery says what Recover found and did.
type Recovery struct {
	Op      string   `json:"op"`
	Moved   []string `json:"moved"`   // paths that have the new layout
	Kept    []string `json:"kept"`    // paths that have the old one
	Started []string `json:"started"` // units
}

// Recover ends what Init or Undo began, from the state that was recorded last,
// at whatever point it was killed. Every path then has its old layout or its
// new one, whole: a path that had been exchanged stays so, one that had not
// keeps the directory it has, since nobody can say what has been written there
// meanwhile, and its copy is dropped. Units are started again; nil starts
// none, as at the beginning of a boot, when all will be. Repeatable.
func Recover(ctx context.Context, state []byte, units Units) (Recovery, error) {
	rec, err := parseRecord(state)
	if err != nil {
		return Recovery{}, err
	}
	res := Recovery{Op: rec.Op}
	r, err := rooted.Open(rec.Root)
	if err != nil {
		return res, be.E(be.Recovery, "cannot open %s: %w", rec.Root, err)
	}
	defer r.Close()
	if rec.Phase != done {
		if err := settleRecord(r, rec); err != nil {
			return res, be.E(be.Recovery, "cannot finish the relocation in %s: %w", rec.Root, err)
		}
		if err := r.SyncFS(); err != nil {
			return res, be.E(be.Recovery, "cannot finish the relocation in %s: %w", rec.Root, err)
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
		x, err := lookAt(r, "/var/"+name)
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

// settleRecord makes every path of the record the old or the new one.
func settleRecord(r *rooted.Root, rec record) error {
	mounted, err := shareMounted(r)
	if err != nil {
		return err
	}
	for _, name := range rec.Names {
		if rec.Op == "undo" {
			err = settleUndo(r, name, rec.Phase, mounted)
		} else {
			err = settleInit(r, name, rec.Phase, mounted)
		}
		if err != nil {
			return err
		}
	}
	if !mounted {
		return nil // the next Init clears what is left of the copies
	}
	return r.RemoveAll(MountPoint + "/" + newDir)
}

func settleInit(r *rooted.Root, name string, p phase, mounted bool) error {
	if p != exchanging {
		return nil // nothing but the hidden copy
	}
	path, old, link := "/var/"+name, OldDir+"/"+name, OldDir+"/."+name
	final := MountPoint + "/" + name
	info, err := r.Lstat(path)
	switch {
	case err == nil && info.IsLink():
		return nil // exchanged; the old tree is in OldDir
	case err == nil && isDir(r, old):
		// The tree is in OldDir and yet there is a directory: between the two
		// renames a power cut, and then something that could not be without
		// the path. What it wrote is staged, for Arrive, and the link made.
		if !mounted || !exists(r, final) {
			return errors.New(path + " and " + old + " are both there, and the shared dataset is not")
		}
		return adopt(context.Background(), r, Path{Path: path, Name: name, State: Real}, time.Time{}, &Adoption{})
	case err == nil:
		// Not exchanged. The prepared link goes, and the copy if it already
		// has its name: Init made sure that there was none before.
		for _, l := range []string{old, link} {
			if info, err := r.Lstat(l); err == nil && info.IsLink() {
				if err := r.Remove(l); err != nil {
					return err
				}
			}
		}
		if mounted {
			return r.RemoveAll(final)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// Between the two renames of a file system that cannot exchange: the tree
	// is in OldDir. Forward if the copy can be seen, else back.
	if mounted && exists(r, final) {
		return r.SymlinkAtomic(LinkTarget(name), path, 0, 0)
	}
	return r.Rename(old, path)
}

func settleUndo(r *rooted.Root, name string, p phase, mounted bool) error {
	path, back := "/var/"+name, OldDir+"/"+backPrefix+name
	info, err := r.Lstat(path)
	switch {
	case err == nil && info.IsLink():
		return r.RemoveAll(back) // not exchanged; the copy may lack what came since
	case errors.Is(err, fs.ErrNotExist) && p == exchanging:
		if err := r.Rename(back, path); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	// The directory is in place; back is the link that was there.
	if err := r.RemoveAll(back); err != nil {
		return err
	}
	if mounted && exists(r, MountPoint+"/"+name) && p == exchanging {
		return retire(r, name)
	}
	return nil
}

func isDir(r *rooted.Root, p string) bool {
	info, err := r.Lstat(p)
	return err == nil && info.IsDir()
}
