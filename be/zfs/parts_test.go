package zfs

import (
	"context"
	"testing"

	"beadm/be"
)

// TestParts: each holds what is below none of the others, and what is mounted
// nowhere has no path.
func TestParts(t *testing.T) {
	s := &Store{root: "p/ROOT", memory: &memory{trees: map[string]*tree{"p/ROOT": grow(t,
		"p/ROOT canmount=off",
		"p/ROOT/a used=1000 origin=p/ROOT/b@s",
		"p/ROOT/a/home used=300 mountpoint=/home",
		"p/ROOT/a/home/x used=100 mountpoint=/home/x",
		"p/ROOT/a/usr used=50 mountpoint=/usr canmount=off",
		"p/ROOT/a/swap type=volume used=200",
		"p/ROOT/a@own used=70",
		"p/ROOT/b used=5",
		"p/ROOT/b@s clones=p/ROOT/a",
	)}}}
	list, err := s.Parts(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := []be.Part{
		{Location: "p/ROOT/a", Path: "/", Space: 450, Origin: "p/ROOT/b@s"},
		{Location: "p/ROOT/a/home", Path: "/home", Space: 200},
		{Location: "p/ROOT/a/home/x", Path: "/home/x", Space: 100},
		{Location: "p/ROOT/a/usr", Path: "", Space: 50},
	}
	if len(list) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i, p := range list {
		p.Created = want[i].Created
		if p != want[i] {
			t.Errorf("%+v, not %+v", p, want[i])
		}
	}
	if _, err := s.Parts(context.Background(), "none"); be.KindOf(err) != be.NotFound {
		t.Error(err)
	}
}
