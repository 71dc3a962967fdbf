package reconcile

import (
	"fmt"
	"path"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// Tidy removes from the boot environment uuid, mounted at dir, what a
// Reconcile into it that was cut staged and did not name, also in directories
// that it made; from is the root of what runs, whose list may name more. The
// next Reconcile would do it, too.
func (a *Archive) Tidy(uuid be.UUID, dir, from string) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	dirs := map[string]bool{"/etc": true}
	if k := x.BEs[uuid]; k != nil && k.Base != "" {
		base, err := a.store.Load(k.Base)
		if err != nil && !manifest.Lost(err) {
			return err
		}
		if err == nil {
			for _, e := range base.Entries {
				above(dirs, string(e.Path))
			}
		}
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot tidy %s: %w", dir, err)
	}
	defer root.Close()
	if err := a.listedDirs(root, from, dirs); err != nil {
		return fmt.Errorf("cannot tidy %s: %w", dir, err)
	}
	for dir := range dirs {
		if err := root.SweepTemp(dir); err != nil && !benign(err) {
			return err
		}
	}
	return nil
}

// listedDirs adds to dirs those of root in which the lists of both sides name
// something.
func (a *Archive) listedDirs(root *rooted.Root, from string, dirs map[string]bool) error {
	lists := []synclist.List{synclist.Builtin(a.GOOS)}
	if there, err := List(from, a.GOOS); err == nil { // one that cannot be read names nothing
		lists = append(lists, there)
	}
	if here, err := synclist.Load(root, a.GOOS); err == nil {
		lists = append(lists, here)
	}
	for _, list := range lists {
		starts, err := manifest.Starts(root, list)
		if err != nil {
			return err
		}
		for _, start := range starts {
			above(dirs, start)
			err := root.Walk(start, func(p string, info rooted.Info) error {
				if !info.IsDir() {
					return nil
				}
				if !list.Descend(p) {
					return rooted.SkipDir
				}
				dirs[p] = true
				return nil
			})
			if err != nil && !benign(err) {
				return err
			}
		}
	}
	return nil
}

// above adds to dirs all directories above a path: missing ones are made there.
func above(dirs map[string]bool, name string) {
	for dir := path.Dir(name); !dirs[dir]; dir = path.Dir(dir) {
		dirs[dir] = true
	}
}
