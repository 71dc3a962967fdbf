package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// List is the list in force in the boot environment whose root is dir: what
// is built in for goos, and its own file.
func List(dir, goos string) (synclist.List, error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return synclist.List{}, err
	}
	defer root.Close()
	return synclist.Load(root, goos)
}

// Snapshot is a tree that is read.
type Snapshot struct {
	Root string
	AsOf time.Time // a moment before it was made; zero: not known
}

// Cloned records that created was made from source. If source ran when the
// snapshot was taken, that state is the clone's
// base and its mark on source's present run. Otherwise (snapshot is not read
// then) the clone has what source has: the same base, the same marks. What is
// in conflict there is in conflict here.
func (a *Archive) Cloned(ctx context.Context, created, source be.UUID, snapshot Snapshot, sourceRuns bool) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	from, to := x.know(source), x.know(created)
	*to = known{Base: from.Base, Had: maps.Clone(from.Had), Conflicts: slices.Clone(from.Conflicts),
		Template: from.Template, Fresh: from.Fresh,
		Pending: from.Pending} // what a cut apply put in place there is here too
	for _, r := range x.Runs {
		if r.BE == source && r.End != "" {
			to.Had[r.ID] = hadAll
		}
	}
	if sourceRuns {
		r := x.present(source)
		var since []*manifest.Manifest
		if r != nil {
			if since, err = a.marks(x, r); err != nil {
				return err
			}
		}
		m, err := a.take(ctx, a.store, snapshot, source, nil, since...)
		if err != nil {
			return err
		}
		id, err := a.store.Save(m)
		if err != nil {
			return err
		}
		if r == nil {
			// Nobody saw source begin to run: its run began at its base, or
			// where there is none, for those who part from it now, here.
			start := from.Base
			if start == "" {
				start = id
			}
			r = &run{ID: be.NewToken(), BE: source, Start: start, Began: time.Now().UTC()}
			x.Runs = append(x.Runs, r)
		}
		to.Base, to.Had[r.ID] = id, had(id)
	}
	return a.save(x)
}

// BeginRun records that services are about to start in the boot environment
// whose root is dir. Call it after Reconcile. If its run is recorded already
// it stays as it is: a later start would forget what came before.
func (a *Archive) BeginRun(ctx context.Context, uuid be.UUID, dir string) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	if x.present(uuid) != nil {
		return nil
	}
	var earlier *manifest.Manifest
	if k := x.know(uuid); k.Base != "" {
		if earlier, err = a.store.Load(k.Base); err != nil && !manifest.Lost(err) {
			return err
		}
	}
	m, err := a.take(ctx, a.store, Snapshot{dir, time.Now()}, uuid, earlier)
	if err != nil {
		return err
	}
	id, err := a.store.Save(m)
	if err != nil {
		return err
	}
	x.Runs = append(x.Runs, &run{ID: be.NewToken(), BE: uuid, Start: id, Began: time.Now().UTC()})
	return a.save(x)
}

// EndRun records that the boot environment whose root is dir does not run any
// more, with all that its run changed, and makes that state its base. A
// failed trial's run is set aside: of it, Reconcile delivers only what takes
// rights away. Calling it again changes nothing.
func (a *Archive) EndRun(ctx context.Context, uuid be.UUID, dir string, failed bool) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	k, r := x.know(uuid), x.present(uuid)
	var since []*manifest.Manifest
	switch {
	case r != nil:
		if since, err = a.marks(x, r); err != nil {
			return err
		}
	case k.Base != "":
		base, err := a.store.Load(k.Base)
		if err != nil && !manifest.Lost(err) {
			return err
		}
		if err != nil {
			k.Base = "" // lost: as if there had been none
		} else {
			since = []*manifest.Manifest{base}
		}
	}
	m, err := a.take(ctx, a.store, Snapshot{dir, time.Now()}, uuid, nil, since...)
	if err != nil {
		return err
	}
	if r == nil && k.Base != "" {
		if !differ(since[0], m) {
			return nil
		}
		// It ran where no beadm saw it start. Taking all it differs by for
		// its run carries too much rather than losing a lock.
		r = &run{ID: be.NewToken(), BE: uuid, Start: k.Base}
		x.Runs = append(x.Runs, r)
	}
	id, err := a.store.Save(m)
	if err != nil {
		return err
	}
	if r != nil {
		r.End, r.Failed, r.Ended = id, failed, time.Now().UTC()
	}
	k.Base = id
	// Base and record change in one write: no base without the record
	// against it, whatever is cut.
	if err := a.save(x); err != nil {
		return err
	}
	// The record is durable. That something too much is kept must not hold a
	// boot; Forget says it.
	_ = a.sweep(x)
	return nil
}

func differ(a, b *manifest.Manifest) bool {
	for _, m := range []*manifest.Manifest{a, b} {
		for _, e := range m.Entries {
			if !manifest.Same(a.Get(string(e.Path)), b.Get(string(e.Path))) {
				return true
			}
		}
	}
	return false
}

// Forget drops what is known of a destroyed boot environment. What it changed
// while it ran stays until every other one has had it.
func (a *Archive) Forget(uuid be.UUID) error {
	x, err := a.load()
	if err != nil {
		return err
	}
	delete(x.BEs, uuid)
	if err := a.save(x); err != nil {
		return err
	}
	return a.sweep(x)
}

// sweep drops runs that nobody lacks, and manifests and contents that nothing
// needs. It begins with the index: what is named there is there.
func (a *Archive) sweep(x *index) error {
	var runs []*run
	for _, r := range x.Runs {
		_, exists := x.BEs[r.BE]
		needed := r.End == "" && exists
		if r.End != "" {
			needed = r.Failed && exists // the rest of it can be asked for
			for uuid, k := range x.BEs {
				h := k.Had[r.ID]
				if uuid != r.BE && h != hadAll && !(r.Failed && h == hadSecurity) {
					needed = true
				}
			}
		}
		if needed {
			runs = append(runs, r)
			continue
		}
		for _, k := range x.BEs {
			delete(k.Had, r.ID)
		}
	}
	if len(runs) != len(x.Runs) {
		x.Runs = runs
		if err := a.save(x); err != nil {
			return err
		}
	}
	keep, blobs := map[manifest.ID]bool{}, map[string]bool{}
	for _, r := range x.Runs {
		keep[r.Start], keep[r.End] = true, true
	}
	for _, k := range x.BEs {
		keep[k.Base], keep[k.Template] = true, true
		for _, h := range k.Had {
			if id, ok := h.mark(); ok {
				keep[id] = true
			}
		}
		for _, c := range k.Conflicts {
			for _, e := range []*manifest.Entry{c.Base, c.Outgoing} {
				if e != nil {
					blobs[e.Hash] = true
				}
			}
		}
		if k.Pending != nil {
			keep[k.Pending.Upto] = true
			for _, p := range k.Pending.Paths {
				for _, e := range []*manifest.Entry{p.After, p.Base, p.Consumed} {
					if e != nil {
						blobs[e.Hash] = true
					}
				}
			}
		}
	}
	if err := a.effect("sweep"); err != nil {
		return err
	}
	return a.store.Sweep(keep, blobs)
}
