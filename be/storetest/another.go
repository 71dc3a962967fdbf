package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"beadm/be"
)

// testCloneOfAnother holds a store to be.CrossCreator.
func testCloneOfAnother(t *testing.T, e *Env) {
	_, ok := e.store.(be.CrossCreator)
	if ok != (e.Beside != nil) {
		t.Fatalf("it clones what is in others: %v; there is one to try: %v", ok, e.Beside != nil)
	}
	if !ok {
		return
	}
	e.fill(t, e.Root, "then")
	_, err := e.store.Snapshot(bg(), e.Running, "s1")
	must(t, "Snapshot", err)
	e.fill(t, e.Root, "now")
	other := e.Beside(t, false)
	before := state(t, e.store)
	opts := be.CreateOptions{Name: "copy", UUID: be.NewUUID(), From: e.Running, Snapshot: "s1", Description: "of another"}
	must(t, "CanCreateFrom", other.(be.CrossCreator).CanCreateFrom(e.store))
	b, err := other.(be.CrossCreator).CreateFrom(bg(), e.store, opts)
	must(t, "CreateFrom", err)
	if b.UUID != opts.UUID || b.Name != "copy" || b.Description != "of another" || b.Incomplete || b.Running {
		t.Errorf("CreateFrom returned %+v", b)
	}
	if after := state(t, e.store); after != before {
		t.Errorf("the other store was\n%s\nand is\n%s", before, after)
	}
	if err := e.store.DestroySnapshot(bg(), e.Running, "s1"); e.store.Caps().Promote {
		wantKind(t, "DestroySnapshot of what was cloned", err, be.InUse)
	} else {
		must(t, "DestroySnapshot", err)
	}
	with(t, other, "copy", false, func(dir string) {
		e.wantFilled(t, dir, "then")
		e.fill(t, dir, "later")
	})
	e.wantFilled(t, e.Root, "now")

	_, err = other.(be.CrossCreator).CreateFrom(bg(), e.store, be.CreateOptions{Name: "copy", UUID: be.NewUUID(), From: e.Running, Snapshot: "s1"})
	wantKind(t, "CreateFrom of a name that is there", err, be.InUse)
	for what, opts := range map[string]be.CreateOptions{
		"snapshot":         {Name: "no", UUID: be.NewUUID(), From: e.Running, Snapshot: "not-there"},
		"boot environment": {Name: "no", UUID: be.NewUUID(), From: "missing", Snapshot: "s1"},
	} {
		_, err = other.(be.CrossCreator).CreateFrom(bg(), e.store, opts)
		wantKind(t, "CreateFrom of a missing "+what, err, be.NotFound)
	}
	_, err = other.(be.CrossCreator).CreateFrom(bg(), e.store, be.CreateOptions{Name: "no", UUID: be.NewUUID(), From: e.Running})
	wantKind(t, "CreateFrom of no snapshot", err, be.Usage)
	far := e.Beside(t, true).(be.CrossCreator)
	wantKind(t, "CanCreateFrom a store too far", far.CanCreateFrom(e.store), be.NoStore)
	_, err = far.CreateFrom(bg(), e.store, opts)
	wantKind(t, "CreateFrom of a store too far", err, be.NoStore)
	if list := names(t, other); len(list) != 1 {
		t.Errorf("it holds %v", list)
	}
	if e.Intercept != nil {
		e.failingClones(t, other)
	}
	// It outlives what it came of.
	create(t, e.store, "template", e.Running)
	with(t, e.store, "template", false, func(dir string) { e.fill(t, dir, "pattern") })
	_, err = e.store.Snapshot(bg(), "template", "s3")
	must(t, "Snapshot", err)
	_, err = other.(be.CrossCreator).CreateFrom(bg(), e.store, be.CreateOptions{Name: "orphan", UUID: be.NewUUID(), From: "template", Snapshot: "s3"})
	must(t, "CreateFrom", err)
	_, err = e.Open(t).Destroy(bg(), "template", false)
	must(t, "Destroy of what was cloned", err)
	with(t, other, "orphan", true, func(dir string) { e.wantFilled(t, dir, "pattern") })
	for _, name := range []string{"orphan", "copy"} {
		_, err = other.Destroy(bg(), name, false)
		must(t, "Destroy", err)
	}
}

// failingClones has a clone to other fail at each effect in turn: nothing of it
// is left.
func (e *Env) failingClones(t *testing.T, other be.Store) {
	t.Helper()
	_, err := e.store.Snapshot(bg(), e.Running, "s2")
	must(t, "Snapshot", err)
	stop := errors.New("stop")
	for fail := 1; ; fail++ {
		n := 0
		e.Intercept(other, func(when, what string) error {
			if when == "before" {
				n++
			}
			if when == "before" && n == fail {
				return stop
			}
			return nil
		})
		_, err := other.(be.CrossCreator).CreateFrom(bg(), e.store, be.CreateOptions{Name: "cut", UUID: be.NewUUID(), From: e.Running, Snapshot: "s2"})
		e.Intercept(other, func(string, string) error { return nil })
		if n < fail {
			must(t, "CreateFrom", err)
			_, err = other.Destroy(bg(), "cut", false)
			must(t, "Destroy", err)
			return
		}
		if _, there := find(t, other, "cut"); there || !errors.Is(err, stop) {
			t.Fatalf("effect %d failed (%v), and the clone is there: %v", fail, err, there)
		}
	}
}

// testSealed holds a store to be.Sealer.
func testSealed(t *testing.T, e *Env) {
	sealer, ok := e.store.(be.Sealer)
	if !ok {
		return
	}
	e.fill(t, e.Root, "first")
	_, err := e.store.Create(bg(), be.CreateOptions{Name: "ro", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "auto", Properties: []string{"readonly=on"}})
	must(t, "Create", err)
	file := func(dir string) error { return os.WriteFile(filepath.Join(dir, "content"), []byte("second "), 0o640) }
	is := func(when string) {
		t.Helper()
		if !get(t, e.Open(t), "ro").ReadOnly {
			t.Errorf("%s it is not listed as read-only", when)
		}
		with(t, e.store, "ro", true, func(dir string) {
			if err := file(dir); !errors.Is(err, syscall.EROFS) {
				t.Errorf("%s it can be written: %v", when, err)
			}
		})
	}
	is("new")
	with(t, e.store, "ro", false, func(dir string) {
		must(t, "write", file(dir))
		if !get(t, e.Open(t), "ro").ReadOnly {
			t.Error("open, it is not listed as read-only")
		}
		must(t, "Describe", e.store.Describe(bg(), "ro", "text"))
		must(t, "write", file(dir))
	})
	is("after a mount")
	for range 2 {
		must(t, "Unseal", sealer.Unseal(bg(), "ro"))
	}
	if c := create(t, e.store, "clone", "ro"); !c.ReadOnly {
		t.Error("a clone of it while it is open is not read-only")
	}
	for range 2 {
		must(t, "Seal", sealer.Seal(bg(), "ro"))
	}
	is("sealed")
	create(t, e.store, "rw", e.Running)
	must(t, "Unseal", sealer.Unseal(bg(), "rw"))
	must(t, "Seal", sealer.Seal(bg(), "rw"))
	if get(t, e.store, "rw").ReadOnly {
		t.Error("one that can be written is read-only after Seal")
	}
	with(t, e.store, "rw", false, func(dir string) { must(t, "write", file(dir)) })
	wantKind(t, "Unseal of a missing one", sealer.Unseal(bg(), "missing"), be.NotFound)
	wantKind(t, "Seal of a missing one", sealer.Seal(bg(), "missing"), be.NotFound)
}
