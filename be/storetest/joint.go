package storetest

import (
	"path/filepath"
	"testing"

	"beadm/be"
)

// testJoint holds a store to be.JointSnapshotter.
func testJoint(t *testing.T, e *Env) {
	joiner, ok := e.store.(be.JointSnapshotter)
	if !ok {
		t.Skip("the store makes no snapshot of several boot environments as one")
	}
	e.fill(t, e.Root, "then")
	other := create(t, e.store, "other", e.Running)
	with(t, e.store, "other", false, func(dir string) { write(t, filepath.Join(dir, "file"), "then") })
	locations := []string{get(t, e.store, e.Running).Location, other.Location}

	// One that is not there: none is made.
	if err := joiner.SnapshotJointly(bg(), "joint", append(locations, other.Location+"-not")); err == nil {
		t.Error("a joint snapshot of what does not exist was made")
	}
	for _, name := range []string{e.Running, "other"} {
		for _, sn := range snapshots(t, e.store, name) {
			if sn.Name == "joint" {
				t.Errorf("a joint snapshot that was refused left %s@%s", name, sn.Name)
			}
		}
	}

	must(t, "SnapshotJointly", joiner.SnapshotJointly(bg(), "joint", locations))
	e.fill(t, e.Root, "now")
	for _, name := range []string{e.Running, "other"} {
		b, err := e.Open(t).Create(bg(), be.CreateOptions{Name: "of-" + name, UUID: be.NewUUID(), From: name, Snapshot: "joint"})
		must(t, "Create", err)
		if b.Origin != name+"@joint" {
			t.Errorf("the origin of %s is %q", b.Name, b.Origin)
		}
	}
	store := e.Open(t)
	with(t, store, "of-"+e.Running, true, func(dir string) { e.wantFilled(t, dir, "then") })
	for _, name := range []string{e.Running, "other"} {
		report, err := store.Destroy(bg(), "of-"+name, false)
		must(t, "Destroy", err)
		if len(report.Promotes) > 0 {
			t.Errorf("to destroy of-%s, %v were promoted", name, report.Promotes)
		}
		for _, sn := range snapshots(t, store, name) {
			if sn.Name == "joint" {
				t.Errorf("%s@joint was left by its last clone", name)
			}
		}
	}

	// One that nothing came of goes by the next Create.
	must(t, "SnapshotJointly", joiner.SnapshotJointly(bg(), "spare", locations))
	create(t, e.Open(t), "last", e.Running)
	for _, sn := range snapshots(t, e.Open(t), e.Running) {
		if sn.Name == "spare" {
			t.Error("a joint snapshot that nothing was cloned of was left")
		}
	}
}
