package activate

import (
	"context"
	"testing"

	"beadm/be"
)

// What is in /run is the host's: the state of a guest, or of a store on another
// pool that is changed from here, neither writes it nor takes it away.
func TestOfHost(t *testing.T) {
	for _, c := range []struct {
		root string
		all  []be.BE
		want bool
	}{
		{"/", []be.BE{{Name: "a"}, {Name: "b", Running: true}}, true},
		{"/", []be.BE{{Name: "a"}}, false},
		{"/guest", []be.BE{{Name: "a", Running: true}}, false},
	} {
		s := &Session{Target: &Target{Store: upgraded{all: c.all}, Root: c.root}}
		if got := s.ofHost(); got != c.want {
			t.Errorf("%s %+v: %v", c.root, c.all, got)
		}
	}
}

type destroyed struct {
	upgraded
	names []string
}

func (d *destroyed) Destroy(_ context.Context, name string, _ bool) (be.DestroyReport, error) {
	d.names = append(d.names, name)
	return be.DestroyReport{}, nil
}

// A create that was cut, or was refused because of it, does not take away what
// another tool made under the same name.
func TestUndoOfCreateIsOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		there []be.BE
		want  int
	}{
		{nil, 0},
		{[]be.BE{{Name: "new"}}, 0},
		{[]be.BE{{Name: "new", UUID: uuidOf("2")}}, 0},
		{[]be.BE{{Name: "new", UUID: uuidOf("1")}}, 1},
		{[]be.BE{{Name: "new", Incomplete: true}}, 1},
	} {
		store := &destroyed{upgraded: upgraded{all: c.there}}
		s := &Session{Target: &Target{Store: store, Root: t.TempDir(), Runtime: t.TempDir()}}
		if err := s.createPlan(createArgs{Name: "new", UUID: uuidOf("1")}).Steps[0].Undo(t.Context()); err != nil || len(store.names) != c.want {
			t.Errorf("%+v: destroyed %q, %v", c.there, store.names, err)
		}
	}
}
