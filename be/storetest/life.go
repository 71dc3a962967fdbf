package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

func testFound(t *testing.T, e *Env) {
	list, err := e.store.List(bg())
	must(t, "List", err)
	if len(list) != 1 {
		t.Fatalf("a new store lists %d boot environments: %+v", len(list), list)
	}
	b := list[0]
	if b.Name != e.Running || !b.Running || b.Mountpoint != e.Root || b.Incomplete || b.Policy != "static" || b.Created.IsZero() {
		t.Errorf("the running boot environment is listed as %+v", b)
	}
	other := e.Open(t)
	if e.store.GUID() == "" || strings.ContainsAny(e.store.GUID(), "/ ") || other.GUID() != e.store.GUID() {
		t.Errorf("GUIDs %q, then %q", e.store.GUID(), other.GUID())
	}
	if other.Location() != e.store.Location() {
		t.Errorf("locations %q, then %q", e.store.Location(), other.Location())
	}
	if e.OpenAt != nil {
		again := e.OpenAt(t, e.store.Location())
		if again.GUID() != e.store.GUID() || get(t, again, e.Running).Location != b.Location {
			t.Errorf("Location %q opens another store", e.store.Location())
		}
	}
	free, err := e.store.Free(bg())
	must(t, "Free", err)
	if free <= 0 {
		t.Errorf("Free is %d", free)
	}
	must(t, "Flush", e.store.Flush(bg()))
	must(t, "SetDefaultRoot", e.store.SetDefaultRoot(bg(), e.Running))
	wantKind(t, "SetDefaultRoot of a missing one", e.store.SetDefaultRoot(bg(), "missing"), be.NotFound)
}

func testAdopt(t *testing.T, e *Env) {
	first, err := e.store.Adopt(bg(), e.Running)
	must(t, "Adopt", err)
	if _, err := be.ParseUUID(string(first.UUID)); err != nil || first.Name != e.Running || !first.Running {
		t.Errorf("Adopt returned %+v", first)
	}
	again, err := e.Open(t).Adopt(bg(), e.Running)
	must(t, "Adopt again", err)
	if again.UUID != first.UUID {
		t.Errorf("a second Adopt changed the UUID from %s to %s", first.UUID, again.UUID)
	}
	if got := get(t, e.store, e.Running).UUID; got != first.UUID {
		t.Errorf("List says UUID %s after Adopt said %s", got, first.UUID)
	}
}

func testClone(t *testing.T, e *Env) {
	e.fill(t, e.Root, "first")
	if e.SetMark != nil {
		for i, p := range e.places() {
			e.SetMark(t, e.Running, p, fmt.Sprintf("mark %d", i))
		}
	}
	uuid := be.NewUUID()
	b, err := e.store.Create(bg(), be.CreateOptions{Name: "new", UUID: uuid, From: e.Running, AutoSnapshot: "auto", Description: "a clone, with spaces"})
	must(t, "Create", err)
	if b.Name != "new" || b.UUID != uuid || b.Description != "a clone, with spaces" || b.Running || b.Incomplete || b.Mountpoint != "" {
		t.Errorf("Create returned %+v", b)
	}
	if e.store.Caps().Snapshots && b.Origin != e.Running+"@auto" {
		t.Errorf("its origin is %q", b.Origin)
	}
	listed := get(t, e.Open(t), "new")
	if listed.UUID != uuid || listed.Description != b.Description || listed.Location != b.Location || !listed.Created.Equal(b.Created) {
		t.Errorf("Create returned %+v, List says %+v", b, listed)
	}
	if get(t, e.store, e.Running).UUID == uuid {
		t.Error("the source has the clone's UUID")
	}
	// Both ways: neither sees what the other does afterwards.
	e.fill(t, e.Root, "second")
	with(t, e.store, "new", false, func(dir string) {
		e.wantFilled(t, dir, "first")
		e.fill(t, dir, "third")
	})
	e.wantFilled(t, e.Root, "second")
	with(t, e.Open(t), "new", true, func(dir string) { e.wantFilled(t, dir, "third") })
	if e.Mark != nil {
		for i, p := range e.places() {
			if got := e.Mark(t, "new", p); got != fmt.Sprintf("mark %d", i) {
				t.Errorf("the clone's property of %q is %q", p, got)
			}
		}
	}
	if !e.store.Caps().Snapshots {
		return
	}
	list := snapshots(t, e.store, e.Running)
	if len(list) != 1 || list[0].Name != "auto" || list[0].BE != e.Running || list[0].GUID == "" {
		t.Errorf("the source has the snapshots %+v", list)
	}
	if list := snapshots(t, e.store, "new"); len(list) != 0 {
		t.Errorf("the clone has the snapshots %+v", list)
	}
}

func testCloneOfSnapshot(t *testing.T, e *Env) {
	if !e.store.Caps().Snapshots {
		t.Skip("a store without snapshots")
	}
	e.fill(t, e.Root, "then")
	_, err := e.store.Snapshot(bg(), e.Running, "s1")
	must(t, "Snapshot", err)
	e.fill(t, e.Root, "now")
	b, err := e.store.Create(bg(), be.CreateOptions{Name: "old", UUID: be.NewUUID(), From: e.Running, Snapshot: "s1", AutoSnapshot: "unused"})
	must(t, "Create", err)
	if b.Origin != e.Running+"@s1" {
		t.Errorf("its origin is %q", b.Origin)
	}
	with(t, e.store, "old", true, func(dir string) { e.wantFilled(t, dir, "then") })
	_, err = e.store.Destroy(bg(), "old", false)
	must(t, "Destroy", err)
	if list := snapshots(t, e.store, e.Running); len(list) != 1 || list[0].Name != "s1" {
		t.Errorf("a user's snapshot went with the clone: %+v are left", list)
	}
}

func testEmpty(t *testing.T, e *Env) {
	b, err := e.store.Create(bg(), be.CreateOptions{Name: "bare", UUID: be.NewUUID()})
	must(t, "Create", err)
	if b.Origin != "" || b.Incomplete || b.UUID == "" {
		t.Errorf("Create returned %+v", b)
	}
	with(t, e.store, "bare", false, func(dir string) {
		list, err := os.ReadDir(dir)
		must(t, "ReadDir", err)
		if len(list) != 0 {
			t.Errorf("an empty boot environment holds %v", list)
		}
		write(t, filepath.Join(dir, "file"), "text")
	})
	_, err = e.store.Destroy(bg(), "bare", false)
	must(t, "Destroy", err)
}

func testRefusals(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	before := state(t, e.store)
	dir := t.TempDir()
	s := e.store
	_, err := s.Create(bg(), be.CreateOptions{Name: "one", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "x"})
	wantKind(t, "Create of an existing name", err, be.InUse)
	_, err = s.Create(bg(), be.CreateOptions{Name: e.Running, UUID: be.NewUUID()})
	wantKind(t, "Create of the running one's name", err, be.InUse)
	_, err = s.Create(bg(), be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: "missing", AutoSnapshot: "x"})
	wantKind(t, "Create from a missing one", err, be.NotFound)
	for _, property := range []string{"canmount=on", "mountpoint=/elsewhere", "used=1", "nosuch=1", "=on", "readonly"} {
		opts := be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "x", Properties: []string{property}}
		_, err = s.Create(bg(), opts)
		wantKind(t, "Create with the property "+property, err, be.Usage)
		if check, ok := s.(be.PropertyChecker); ok {
			wantKind(t, "CheckProperties of "+property, check.CheckProperties(bg(), opts), be.Usage)
		}
	}
	wantKind(t, "Rename to an existing name", s.Rename(bg(), "one", e.Running), be.InUse)
	wantKind(t, "Rename of a missing one", s.Rename(bg(), "missing", "other"), be.NotFound)
	wantKind(t, "Describe of a missing one", s.Describe(bg(), "missing", "text"), be.NotFound)
	wantKind(t, "Mount of a missing one", s.Mount(bg(), "missing", dir, true), be.NotFound)
	wantKind(t, "Unmount of a missing one", s.Unmount(bg(), "missing", false), be.NotFound)
	wantKind(t, "Mount of the running one", s.Mount(bg(), e.Running, dir, true), be.InUse)
	wantKind(t, "Unmount of the running one", s.Unmount(bg(), e.Running, false), be.InUse)
	_, err = s.Adopt(bg(), "missing")
	wantKind(t, "Adopt of a missing one", err, be.NotFound)
	_, err = s.RootRef(bg(), "missing")
	wantKind(t, "RootRef of a missing one", err, be.NotFound)
	_, err = s.Destroy(bg(), "missing", false)
	wantKind(t, "Destroy of a missing one", err, be.NotFound)
	_, err = s.Destroy(bg(), e.Running, false)
	wantKind(t, "Destroy of the running one", err, be.InUse)
	if s.Caps().Snapshots {
		_, err = s.Snapshots(bg(), "missing")
		wantKind(t, "Snapshots of a missing one", err, be.NotFound)
		_, err = s.Create(bg(), be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: "one", Snapshot: "missing"})
		wantKind(t, "Create from a missing snapshot", err, be.NotFound)
		_, err = s.Snapshot(bg(), "missing", "snap")
		wantKind(t, "Snapshot of a missing one", err, be.NotFound)
		wantKind(t, "DestroySnapshot of a missing one", s.DestroySnapshot(bg(), "one", "missing"), be.NotFound)
		wantKind(t, "MountSnapshot of a missing one", s.MountSnapshot(bg(), "one", "missing", dir), be.NotFound)
		for _, bad := range []string{"", "-r", "a/b", "a@b", "..", "a b"} {
			if _, err := s.Snapshot(bg(), "one", bad); be.KindOf(err) != be.Usage {
				t.Errorf("Snapshot named %q: %v, want kind Usage", bad, err)
			}
		}
	}
	if now := state(t, e.store); now != before {
		t.Errorf("what was refused left a trace:\n%s\nbefore:\n%s", now, before)
	}
}

func testChain(t *testing.T, e *Env) {
	e.fill(t, e.Root, "zero")
	create(t, e.store, "a", e.Running)
	with(t, e.store, "a", false, func(dir string) { e.fill(t, dir, "in a") })
	create(t, e.store, "b", "a")
	with(t, e.store, "b", false, func(dir string) { e.fill(t, dir, "in b") })
	create(t, e.store, "c", "b")
	create(t, e.store, "d", "a")

	for _, name := range []string{"a", "b"} {
		report, err := e.store.Destroy(bg(), name, false)
		must(t, "Destroy "+name, err)
		if len(report.Removes) == 0 {
			t.Errorf("destroying %s is reported to remove nothing", name)
		}
		if e.store.Caps().Promote && len(report.Promotes) == 0 {
			t.Errorf("destroying %s, which others were cloned from, is reported to promote nothing", name)
		}
		if _, ok := find(t, e.store, name); ok {
			t.Errorf("%s is still listed", name)
		}
	}
	with(t, e.store, "c", true, func(dir string) { e.wantFilled(t, dir, "in b") })
	with(t, e.store, "d", true, func(dir string) { e.wantFilled(t, dir, "in a") })
	e.wantFilled(t, e.Root, "zero")

	for _, name := range []string{"d", "c"} {
		_, err := e.store.Destroy(bg(), name, false)
		must(t, "Destroy "+name, err)
	}
	if got := names(t, e.store); len(got) != 1 || got[0] != e.Running {
		t.Errorf("left are %v", got)
	}
	if e.store.Caps().Snapshots {
		if list := snapshots(t, e.store, e.Running); len(list) != 0 {
			t.Errorf("automatic snapshots are left: %+v", list)
		}
	}
	e.wantFilled(t, e.Root, "zero")
}

func testDestroy(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	create(t, e.store, "two", "one")
	before := state(t, e.store)
	report, err := e.store.Destroy(bg(), "one", true)
	must(t, "Destroy as a dry run", err)
	if now := state(t, e.store); now != before {
		t.Errorf("a dry run changed\n%s\nto\n%s", before, now)
	}
	if len(report.Removes) == 0 {
		t.Error("the dry run says nothing of what goes")
	}
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "one", dir, true))
	_, err = e.store.Destroy(bg(), "one", false)
	wantKind(t, "Destroy of a mounted one", err, be.InUse)
	_, err = e.store.Destroy(bg(), "one", true)
	wantKind(t, "Destroy of a mounted one as a dry run", err, be.InUse)
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))
	if now := state(t, e.store); now != before {
		t.Errorf("a refused Destroy changed\n%s\nto\n%s", before, now)
	}
	done, err := e.store.Destroy(bg(), "one", false)
	must(t, "Destroy", err)
	if fmt.Sprint(done.Removes, done.Promotes) != fmt.Sprint(report.Removes, report.Promotes) {
		t.Errorf("the dry run said %+v, what was done is %+v", report, done)
	}
	_, err = e.store.Destroy(bg(), "one", false)
	wantKind(t, "Destroy again", err, be.NotFound)
	create(t, e.store, "one", "two") // the name is free
}

func testRename(t *testing.T, e *Env) {
	e.fill(t, e.Root, "text")
	b := create(t, e.store, "one", e.Running)
	child := create(t, e.store, "child", "one")
	if e.store.Caps().Snapshots {
		_, err := e.store.Snapshot(bg(), "one", "s1")
		must(t, "Snapshot", err)
	}
	must(t, "Rename", e.store.Rename(bg(), "one", "other"))
	got := get(t, e.Open(t), "other")
	if got.UUID != b.UUID || got.Description != b.Description || !got.Created.Equal(b.Created) || got.Origin != b.Origin {
		t.Errorf("renamed, %+v became %+v", b, got)
	}
	if _, ok := find(t, e.store, "one"); ok {
		t.Error("the old name is still listed")
	}
	with(t, e.store, "other", true, func(dir string) { e.wantFilled(t, dir, "text") })
	if e.store.Caps().Snapshots {
		found := false
		for _, sn := range snapshots(t, e.store, "other") {
			found = found || sn.Name == "s1"
		}
		if !found {
			t.Error("its snapshot did not come with it")
		}
		if got := get(t, e.store, child.Name).Origin; !strings.HasPrefix(got, "other@") {
			t.Errorf("the origin of its clone is %q", got)
		}
	}
	ref, err := e.store.RootRef(bg(), "other")
	must(t, "RootRef", err)
	if strings.Contains(fmt.Sprint(ref), "one") {
		t.Errorf("RootRef still names the old one: %+v", ref)
	}
}

func testDescribe(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	for _, text := range []string{"tab\tand ü, = and \"quotes\"", "", strings.Repeat("long ", 100)} {
		must(t, "Describe", e.store.Describe(bg(), "one", text))
		if got := get(t, e.Open(t), "one").Description; got != text {
			t.Errorf("described as %q, listed as %q", text, got)
		}
	}
	// A clone's description is its own.
	must(t, "Describe", e.store.Describe(bg(), "one", "of one"))
	_, err := e.store.Create(bg(), be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: "one", AutoSnapshot: "auto"})
	must(t, "Create", err)
	if got := get(t, e.store, "two").Description; got != "" {
		t.Errorf("a clone created without a description has %q", got)
	}
}
