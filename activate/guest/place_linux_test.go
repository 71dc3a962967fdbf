package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
)

// mounted is a Storage that unmounts all that is in a root, as that of ZFS does.
type mounted struct {
	subvolumes
	detached, attached *[]string
}

func (m mounted) Attach(_ Place, name string) error {
	*m.attached = append(*m.attached, name)
	return nil
}

func (m mounted) Detach(p Place, name string) error {
	*m.detached = append(*m.detached, name)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Join(p.Dir(), name)))
	for _, at := range mounts {
		err = errors.Join(err, unix.Unmount(at.Mountpoint, 0))
	}
	return err
}

// adoptable is a Storage that any directory suits.
type adoptable struct{ subvolumes }

func (adoptable) CanAdopt(Place) error { return nil }

// Only the mapped root of a guest comes to where its roots are: no group of the
// host's, and nobody whom a guest that runs already names.
func TestWhoIsLetIn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: giving files to others takes root")
	}
	const mapped = 1<<31 - 7 // nobody's
	for _, c := range []struct {
		uid, gid int
		adopted  bool
		in, kind int
	}{
		{0, 0, false, 0, 0},
		{0, 100, false, 0, 0},
		{0, mapped, false, 0, 0},
		{mapped, mapped, false, mapped, 0},
		{mapped, 0, false, 0, 0},
		{mapped, 100, false, 0, int(be.InUse)}, // Debian's users
		{mapped, 100, true, 0, 0},
		{mapped, mapped, true, 0, 0},
	} {
		p := Place{Root: filepath.Join(t.TempDir(), "web1"), Storage: adoptable{}}
		root := p.Root
		if c.adopted {
			root = filepath.Join(p.Dir(), "@be-default")
			if err := os.MkdirAll(p.Dir(), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(p.link("@be-default"), p.Root); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(root, c.uid, c.gid); err != nil {
			t.Fatal(err)
		}
		err := p.Make()
		if got := be.KindOf(err); err == nil && c.kind != 0 || err != nil && int(got) != c.kind {
			t.Errorf("%+v: %v", c, err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(p.Dir(), &st); err != nil {
			if c.kind == 0 || !errors.Is(err, unix.ENOENT) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		want := uint32(0o700)
		if c.in != 0 {
			want = 0o710
		}
		if c.kind != 0 || st.Mode&0o777 != want || st.Uid != 0 || int(st.Gid) != c.in {
			t.Errorf("%+v: %o, of %d:%d", c, st.Mode&0o777, st.Uid, st.Gid)
		}
	}
}

// Where somebody of this host could put a link in the place of what is beside the
// root, root makes nothing there.
func TestWayToTheRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: giving files to others takes root")
	}
	const mapped, daemon, users = 1<<31 - 7, 1, 100
	for _, c := range []struct {
		at       string // from the one that holds all
		uid, gid int
		mode     os.FileMode
		says     string
	}{
		{at: "a/b", mode: 0o755},
		{at: "a/b", mode: 0o775},
		{at: "a/b", uid: mapped, gid: mapped, mode: 0o770}, // as LXC gives it
		{at: "a", mode: 0o777 | os.ModeSticky},
		{at: "a/b", mode: 0o777 | os.ModeSticky, says: "everybody can rename what is in "},
		{at: "a", mode: 0o777, says: "everybody can rename what is in "},
		{at: "a", uid: daemon, mode: 0o755, says: "daemon can rename what is in "},
		{at: "a/b", uid: daemon, mode: 0o555, says: "daemon can rename what is in "},
		{at: "a", gid: users, mode: 0o775, says: "the group users can rename what is in "},
		{at: "a", gid: users, mode: 0o755},
		{at: "link", uid: daemon, mode: 0o755, says: "daemon can rename what is in "},
	} {
		top := t.TempDir()
		for _, dir := range []string{"a/b/web1", "link"} {
			if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("../a/b", filepath.Join(top, "link/b")); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(top, c.at)
		if err := errors.Join(os.Chown(at, c.uid, c.gid), os.Chmod(at, c.mode)); err != nil {
			t.Fatal(err)
		}
		way := "a/b"
		if c.at == "link" {
			way = "link/b"
		}
		err := Place{Root: filepath.Join(top, way, "web1"), Storage: adoptable{}}.Make()
		if c.says == "" && err != nil || c.says != "" && (be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), c.says+at+": ")) {
			t.Errorf("%+v: %v", c, err)
		}
		if _, err := os.Lstat(filepath.Join(top, "a/b", ours)); (err == nil) != (c.says == "") {
			t.Errorf("%+v: .beadm: %v", c, err)
		}
	}
}

// A name is no pattern: what is another guest's stays, and nothing of its own.
func TestForgetOfANameLikeAPattern(t *testing.T) {
	dir := t.TempDir()
	p, other := Place{Root: filepath.Join(dir, "web[1]")}, Place{Root: filepath.Join(dir, "web1")}
	for _, one := range []Place{p, other} {
		if err := os.MkdirAll(filepath.Join(one.Dir(), snapshots, "default"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Forget(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(p.Dir()); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%s: %v", p.Dir(), err)
	}
	if _, err := os.Lstat(filepath.Join(other.Dir(), snapshots, "default")); err != nil {
		t.Errorf("what is another's: %v", err)
	}
}

// What the host has mounted in a root stays there when the guest is to start from
// another, and keeps the root from being given back.
func TestHostsMountStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting takes root")
	}
	var detached, attached []string
	p := Place{Root: filepath.Join(t.TempDir(), "web1"), Storage: mounted{detached: &detached, attached: &attached}}
	for _, dir := range []string{"@be-old/srv", "@be-new"} {
		if err := os.MkdirAll(filepath.Join(p.Dir(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(p.link("@be-old"), p.Root); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(p.Dir(), "@be-old/srv")
	if err := unix.Mount("backup", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(at, 0) })
	if err := p.Release(); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "backup at /srv") {
		t.Errorf("release: %v", err)
	}
	for _, name := range []string{"@be-new", "@be-old", "@be-old"} {
		if err := p.Point(name); err != nil {
			t.Fatal(err)
		}
		if is, _, err := p.Current(); is != name {
			t.Errorf("it starts from %s: %v", is, err)
		}
		if is, err := mountinfo.Mounted(at); !is {
			t.Fatalf("the host's mount is gone: %v", err)
		}
	}
	if strings.Join(detached, " ") != "@be-new" || strings.Join(attached, " ") != "@be-new @be-old @be-old" {
		t.Errorf("detached were %q, attached %q", detached, attached)
	}
}
