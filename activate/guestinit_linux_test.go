package activate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
)

// mounter is a runtime that mounts the root of its guest by itself.
type mounter struct{ paper }

func (*mounter) FollowsLink(context.Context, guest.Guest) error {
	return be.E(be.Decision, "write where the root is")
}

// An empty directory is said to be what its runtime says, and any other to be in
// no store of ours, where it is in none.
func TestWhyAGuestIsNotAdopted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a tmpfs takes root")
	}
	root := filepath.Join(t.TempDir(), "web1")
	must(t, os.Mkdir(root, 0o755))
	must(t, unix.Mount("none", root, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(root, 0) })
	m := &Machine{Guest: guest.Guest{Name: "web1", Root: root}, Runtime: &mounter{}, Place: guest.Place{Root: root}}
	if err := m.Init(t.Context(), "default", false, silent{}); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "write where") {
		t.Errorf("an empty root: %v", err)
	}
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	if err := m.Init(t.Context(), "default", false, silent{}); be.KindOf(err) != be.NoStore {
		t.Errorf("a root: %v", err)
	}
}
