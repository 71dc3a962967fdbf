package left

import (
	"context"
	"errors"
	"strings"
	"time"

	"beadm/activate/trees"
	"beadm/be/rooted"
	"beadm/sync/synclist"
)

// walk goes through the outgoing root. The other one is asked only about what
// was touched.
type walk struct {
	ctx      context.Context
	old, new *rooted.Root
	since    time.Time
	list     synclist.List
	aliases  map[string]string // where the list's paths really begin, by links before it
	packages *packages         // nil until somebody asks
	found    found
	// absent is the directory, above what is looked at, that the other root
	// does not have: a file that was moved there with it looks untouched.
	absent string
	linked map[inode]bool // files with several names that were found
	pair   trees.Pair
}

type inode struct{ dev, ino uint64 }

func (w *walk) look(p string, info rooted.Info) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if p == "/" {
		return nil
	}
	inAbsent := w.absent != "" && strings.HasPrefix(p, w.absent+"/")
	touched := !info.Ctime.Before(w.since)
	if info.IsDir() {
		if p == Shared || passing.names(p) {
			return rooted.SkipDir
		}
		if !inAbsent && (touched || info.Ino == subvolumeTop) {
			there, err := w.new.Stat(p)
			if errors.Is(err, rooted.ErrAvoided) {
				// Something is mounted over it: what was written will not be
				// seen there, and what it hid before is nobody's loss.
				return nil
			}
			if trees.Gone(err) {
				err, there.Mode = nil, 0
			}
			if err != nil {
				return err
			}
			if !there.IsDir() || info.Ino == subvolumeTop && there.Ino != subvolumeTop {
				w.absent = p
			}
		}
		return nil
	}
	if !info.IsRegular() && !info.IsLink() || !touched && !inAbsent || passing.names(p) {
		return nil
	}
	if w.listed(p) {
		return nil
	}
	if info.IsLink() {
		if to, err := w.old.Resolve(p); err == nil && (to == Shared || strings.HasPrefix(to, Shared+"/")) {
			return nil
		}
		if to, err := w.old.Readlink(p); err == nil && strings.HasPrefix(to, "/etc/alternatives/") {
			return nil // update-alternatives(1) makes them for packages
		}
	}
	if how, err := w.pair.Compare(w.ctx, p, info); how == trees.Same || err != nil {
		return err
	}
	if owned, err := w.owned(p); owned || err != nil {
		return err
	}
	bytes := info.Size
	if info.Nlink > 1 {
		id := inode{info.Dev, info.Ino}
		if w.linked[id] {
			bytes = 0
		}
		if w.linked == nil {
			w.linked = map[inode]bool{}
		}
		w.linked[id] = true
	}
	w.found.add(p, bytes)
	return nil
}

// deep reports a directory that is too far down to be looked into: what is in
// it may have been written, and whoever made it must not end the look.
func (w *walk) deep(p string) error {
	if !w.listed(p) {
		// By its place: the path itself may be 400 long names.
		at, _ := placeOf(p)
		w.found.add(at, 0)
	}
	return nil
}

// listed says that the synclist knows p: it is carried, or stays by decision.
func (w *walk) listed(p string) bool {
	if _, ok := w.list.Match(p); ok {
		return true
	}
	for real, named := range w.aliases {
		if rest, ok := strings.CutPrefix(p, real); ok && (rest == "" || rest[0] == '/') {
			if _, ok := w.list.Match(named + rest); ok {
				return true
			}
		}
	}
	return false
}

// aliases finds the paths of the list that are written by way of a link.
func aliases(root *rooted.Root, list synclist.List) map[string]string {
	found := map[string]string{}
	for _, start := range append(list.Starts(), list.Covered()...) {
		if real, err := root.ResolveParent(start); err == nil && real != start {
			found[real] = start
		}
	}
	return found
}

// subvolumeTop is the inode number of a btrfs subvolume's top. Of a nested one
// that does not belong to the boot environment the clone has nothing.
const subvolumeTop = 256

func (w *walk) owned(p string) (bool, error) {
	if w.packages == nil {
		var err error
		if w.packages, err = readPackages(w.ctx, w.old); err != nil {
			return false, err
		}
	}
	return w.packages.owns(p)
}
