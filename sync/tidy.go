package reconcile

import (
	"fmt"
	"path"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/manifest"
)

// Tidy removes from the boot environment uuid, mounted at dir, what a
// Reconcile into it that was cut staged and did not name. The next Reconcile
// would do it, too.
func (a *Archive) Tidy(uuid be.UUID, dir string) error {
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
				dirs[path.Dir(string(e.Path))] = true
			}
		}
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot tidy %s: %w", dir, err)
	}
	defer root.Close()
	for dir := range dirs {
		if err := root.SweepTemp(dir); err != nil && !benign(err) {
			return err
		}
	}
	return nil
}
