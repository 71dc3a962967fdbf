package activate

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"beadm/activate/guest"
	"beadm/be"
)

// keeper is a runtime whose guest the system keeps boot environments of.
type keeper struct {
	guest.Runtime
	kept guest.Kept
	err  error
}

func (k keeper) Kept(context.Context, guest.Guest) (guest.Kept, error) { return k.kept, k.err }

// newKept is a guest of keeper, with its root.
func newKept(t *testing.T, k keeper) *Machine {
	t.Helper()
	root := filepath.Join(t.TempDir(), "web1", "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Machine{Guest: guest.Guest{Name: "web1", Runtime: "zone", Root: root}, Runtime: k, Place: guest.Place{Root: root}}
}

func TestStandingOfAGuestThatTheSystemKeeps(t *testing.T) {
	kept := guest.Kept{Starts: "zbe-1", Others: []string{"zbe"}}
	g := newKept(t, keeper{kept: kept}).Standing(t.Context())
	if g.Managed || g.Runs != "zbe-1" || g.Kept == nil || !reflect.DeepEqual(*g.Kept, kept) || g.Error != "" {
		t.Errorf("%+v", g)
	}
	g = newKept(t, keeper{err: be.E(be.Unbootable, "none is active")}).Standing(t.Context())
	if g.Runs != "" || g.Error != "none is active" {
		t.Errorf("none is active: %+v", g)
	}
	if g = newKept(t, keeper{}).Standing(t.Context()); g.Runs != "" || g.Error != "" {
		t.Errorf("nothing is kept: %+v", g)
	}
}

func TestInitOfAGuestThatTheSystemKeeps(t *testing.T) {
	m := newKept(t, keeper{})
	for _, dry := range []bool{true, false} {
		err := m.Init(t.Context(), "default", dry, nil)
		if be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "cannot adopt the zone web1: its boot environments are the system's own") {
			t.Errorf("it says %v", err)
		}
	}
	list, err := os.ReadDir(filepath.Dir(m.Place.Root))
	if err != nil || len(list) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
}
