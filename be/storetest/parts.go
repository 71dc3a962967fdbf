package storetest

import (
	"path/filepath"
	"slices"
	"testing"

	"beadm/be"
)

// testParts: a boot environment's parts are its root and its subordinates, each
// once, and a clone's are its own.
func testParts(t *testing.T, e *Env) {
	lister, ok := e.store.(be.PartLister)
	if !ok {
		return // a boot environment here is one thing
	}
	create(t, e.store, "one", e.Running)
	parts := func(name string) []be.Part {
		t.Helper()
		list, err := lister.Parts(bg(), name)
		must(t, "Parts", err)
		return list
	}
	want := []string{"/"}
	for _, sub := range e.Subordinates {
		want = append(want, "/"+sub)
	}
	slices.Sort(want)
	for _, name := range []string{e.Running, "one"} {
		b := get(t, e.store, name)
		var at, locations []string
		for _, p := range parts(name) {
			if p.Created.IsZero() || p.Space < -1 {
				t.Errorf("%s: %+v", name, p)
			}
			if name == "one" && (p.Origin == "" || p.Mountpoint != "") {
				t.Errorf("a clone that is not mounted has %+v", p)
			}
			if p.Path != "" { // else it is mounted nowhere
				at = append(at, p.Path)
			}
			locations = append(locations, p.Location)
		}
		slices.Sort(at)
		if !slices.Equal(at, want) {
			t.Errorf("the parts of %s are at %q, not %q", name, at, want)
		}
		if !slices.IsSorted(locations) || locations[0] != b.Location {
			t.Errorf("the parts of %s, which is %s: %q", name, b.Location, locations)
		}
	}
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "one", dir, true))
	for _, p := range parts("one") {
		if want := filepath.Join(dir, p.Path); p.Path != "" && p.Mountpoint != want {
			t.Errorf("%s is mounted at %s, and listed at %q", p.Location, want, p.Mountpoint)
		}
	}
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))
	_, err := lister.Parts(bg(), "none")
	wantKind(t, "Parts of one that is not there", err, be.NotFound)
}
