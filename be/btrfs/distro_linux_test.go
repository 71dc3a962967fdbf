package btrfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/btrfs/layouttest"
)

// installed is a layout on a disk of its own, its root mounted and what its fstab
// mounts in it.
type installed struct {
	t           *testing.T
	device, top string
	layout      layouttest.Layout
	fsid, root  string
}

func install(t *testing.T, l layouttest.Layout) *installed {
	t.Helper()
	device, top := newDisk(t)
	dir, err := os.Open(top)
	check(t, err)
	defer dir.Close()
	fsid, err := fsUUID(int(dir.Fd()))
	check(t, err)
	l.Make(t, top, fsid)
	m := &installed{t: t, device: device, top: top, layout: l, fsid: fsid}
	for _, subvol := range l.Mounts {
		write(t, filepath.Join(top, subvol, "data"), "of "+subvol)
	}
	m.boot("") // as the installer set it up: nothing names the root but its fstab
	return m
}

// boot mounts a root as the kernel arguments name it, and what its fstab mounts.
func (m *installed) boot(rootflags string) {
	m.t.Helper()
	if m.root != "" {
		check(m.t, unix.Unmount(m.root, unix.MNT_DETACH))
	}
	if rootflags == "" && m.layout.Default == "" {
		rootflags = "subvol=" + m.layout.Root
	}
	m.root = mountAt(m.t, m.device, rootflags)
	for at, subvol := range m.layout.Mounts {
		check(m.t, unix.Mount(m.device, filepath.Join(m.root, at), "btrfs", 0, "subvol="+subvol))
	}
}

func flagsOf(t *testing.T, s *Store, name string) string {
	t.Helper()
	ref, err := s.RootRef(ctx, name)
	check(t, err)
	i := slices.IndexFunc(ref.Args, func(a string) bool { return strings.HasPrefix(a, "rootflags=") })
	if i < 0 {
		t.Fatalf("the kernel is told no subvolume of %s: %q", name, ref.Args)
	}
	return strings.TrimPrefix(ref.Args[i], "rootflags=")
}

// TestDistributions: what each installs is adopted in place, and boot environments
// of it live and die beside it.
func TestDistributions(t *testing.T) {
	for _, l := range layouttest.All(t) {
		t.Run(l.Name, func(t *testing.T) {
			m := install(t, l)
			first := map[string]string{"debian": "rootfs", "ubuntu": "default", "fedora": "root", "opensuse": "snapper-1"}[l.Name]
			s := openStore(t, Config{Root: m.root})
			if got := listNames(t, s); got != first+"!?" {
				t.Fatalf("as it is installed, listed are %s", got)
			}
			if want := "btrfs:" + m.fsid + ":/"; s.Location() != want {
				t.Errorf("the boot environments are in %s, not in %s", s.Location(), want)
			}
			b, err := s.Adopt(ctx, first)
			check(t, err)
			if b.Location != "/"+l.Root || b.UUID == "" {
				t.Errorf("adopted, it is %+v", b)
			}
			create(t, s, "new", first)
			fstab, err := os.ReadFile(filepath.Join(m.top, "@be-new/etc/fstab"))
			check(t, err)
			for i, line := range strings.Split(l.Fstab(m.fsid), "\n") {
				got := strings.Split(string(fstab), "\n")[i]
				if f := strings.Fields(line); len(f) < 4 || f[1] != "/" {
					if got != line {
						t.Errorf("line %d of its fstab is %q, not %q", i, got, line)
					}
					continue
				}
				options := strings.Split(strings.Fields(got)[3], ",")
				for _, o := range strings.Split(strings.Fields(line)[3], ",") {
					if !strings.HasPrefix(o, "subvol=") && !slices.Contains(options, o) {
						t.Errorf("the options of / are %q, without %s", options, o)
					}
				}
				if !slices.Contains(options, "subvol=@be-new") {
					t.Errorf("the options of / are %q", options)
				}
			}
			if text, _ := os.ReadFile(filepath.Join(m.top, l.Root, "etc/fstab")); string(text) != l.Fstab(m.fsid) {
				t.Errorf("the fstab that was there is now\n%s", text)
			}
			if got := flagsOf(t, s, "new"); got != "subvol=@be-new" {
				t.Errorf("the kernel is told %s of new", got)
			}
			if got := flagsOf(t, s, first); got != "subvol="+l.Root {
				t.Errorf("the kernel is told %s of %s", got, first)
			}
			// Whatever is the default subvolume.
			m.boot(flagsOf(t, s, "new"))
			s = openStore(t, Config{Root: m.root})
			if got := listNames(t, s); got != first+" new!" {
				t.Fatalf("in new, listed are %s", got)
			}
			for at, subvol := range l.Mounts {
				if text, err := os.ReadFile(filepath.Join(m.root, at, "data")); err != nil || string(text) != "of "+subvol {
					t.Errorf("in new, %s holds %q, %v", at, text, err)
				}
			}
			for _, path := range []string{"var/lib/machines", "var/lib/portables"} {
				var st unix.Stat_t
				if unix.Stat(filepath.Join(m.top, l.Root, path), &st) != nil || st.Ino != firstFree {
					continue
				}
				check(t, unix.Stat(filepath.Join(m.top, "@be-new", path), &st))
				if st.Ino == firstFree {
					t.Errorf("%s came along", path)
				}
			}
			// The first one is looked into, snapshot and gone back to.
			at := t.TempDir()
			check(t, s.Mount(ctx, first, at, false))
			write(t, filepath.Join(at, "etc/later"), "x")
			check(t, s.Unmount(ctx, first, false))
			_, err = s.Snapshot(ctx, first, "kept")
			check(t, err)
			_, err = s.Create(ctx, be.CreateOptions{Name: "back", From: first, Snapshot: "kept"})
			check(t, err)
			if _, err := os.Stat(filepath.Join(m.top, "@be-back/etc/later")); err != nil {
				t.Error(err)
			}
			frees, err := s.Frees(ctx, []string{first})
			check(t, err)
			if _, err := s.Destroy(ctx, first, true); l.Default == "" && err != nil || l.Default != "" && be.KindOf(err) != be.InUse {
				t.Errorf("destroying what the installer made, which would free %v: %v", frees, err)
			}
			m.boot("")
			s = openStore(t, Config{Root: m.root})
			if got := listNames(t, s); got != first+"! new back" {
				t.Fatalf("back in the first, listed are %s", got)
			}
			m.boot(flagsOf(t, s, "back"))
			s = openStore(t, Config{Root: m.root})
			check(t, s.Rename(ctx, first, "first"))
			if got := flagsOf(t, s, "first"); got != "subvol=@be-first" {
				t.Errorf("renamed, it is %s", got)
			}
			if text, _ := os.ReadFile(filepath.Join(m.top, "@be-first/etc/fstab")); !strings.Contains(string(text), "subvol=@be-first") {
				t.Errorf("renamed, its fstab is\n%s", text)
			}
			if l.Default != "" {
				run(t, "btrfs", "subvolume", "set-default", m.top)
			}
			for _, name := range []string{"first", "new"} {
				_, err := s.Destroy(ctx, name, false)
				check(t, err)
			}
			if got := listNames(t, s); got != "back!" {
				t.Errorf("at the end, listed are %s", got)
			}
			for at, subvol := range l.Mounts {
				if text, err := os.ReadFile(filepath.Join(m.root, at, "data")); err != nil || string(text) != "of "+subvol {
					t.Errorf("at the end, %s holds %q, %v", at, text, err)
				}
			}
		})
	}
}

func finds(t *testing.T, s *Store) map[string]be.Finding {
	t.Helper()
	list, err := s.Inspect(ctx)
	check(t, err)
	found := map[string]be.Finding{}
	for _, f := range list {
		found[f.ID+" "+f.Text] = f
	}
	return found
}

func wants(t *testing.T, found map[string]be.Finding, id, severity, text string) {
	t.Helper()
	for _, f := range found {
		if f.ID == id && f.Severity == severity && strings.Contains(f.Text, text) {
			return
		}
	}
	t.Errorf("there is no %s %q that says %q among %v", severity, id, text, found)
}

// TestSnapper: what snapper deletes and chooses is its own; what it might delete of
// ours is said, and can be moved out of there.
func TestSnapper(t *testing.T) {
	m := install(t, layouttest.Get(t, "opensuse"))
	s := openStore(t, Config{Root: m.root})
	create(t, s, "new", "snapper-1")
	wants(t, finds(t, s), "snapper", be.FindingNote, "snapper-1 is /@/.snapshots/1/snapshot")
	// Snapper's cleanup: a snapshot of what runs, which has its marks, goes and
	// comes; nothing of it is a boot environment, and nothing of ours is there.
	number := func(n string) string { return filepath.Join(m.top, "@/.snapshots", n) }
	check(t, os.Mkdir(number("2"), 0o755))
	run(t, "btrfs", "-q", "subvolume", "snapshot", "-r", m.root, number("2")+"/snapshot")
	if got := listNames(t, s); got != "snapper-1! new" {
		t.Errorf("beside a snapshot of snapper's, listed are %s", got)
	}
	if list, err := os.ReadDir(number("1")); err != nil || len(list) != 1 {
		t.Errorf("in snapper's directory is now %v, %v", list, err)
	}
	run(t, "btrfs", "-q", "subvolume", "delete", number("2")+"/snapshot")
	// snapper rollback: a new root, which is the default subvolume.
	check(t, os.Mkdir(number("3"), 0o755))
	run(t, "btrfs", "-q", "subvolume", "snapshot", m.root, number("3")+"/snapshot")
	run(t, "btrfs", "subvolume", "set-default", number("3")+"/snapshot")
	wants(t, finds(t, s), "snapper", be.FindingWarning, "snapper may delete")
	m.boot(flagsOf(t, s, "new"))
	s = openStore(t, Config{Root: m.root})
	if got := listNames(t, s); got != "snapper-1 new!" {
		t.Errorf("the kernel's arguments do not rule: listed are %s", got)
	}
	check(t, s.Rename(ctx, "snapper-1", "suse"))
	if found := finds(t, s); len(found) > 0 {
		t.Errorf("moved out of there, it is still %v", found)
	}
	// Somebody starts what snapper rolled back to: it is adopted like the first.
	m.boot("subvol=@/.snapshots/3/snapshot")
	s = openStore(t, Config{Root: m.root})
	if got := listNames(t, s); got != "suse new snapper-3!?" {
		t.Errorf("in what snapper rolled back to, listed are %s", got)
	}
	_, err := s.Adopt(ctx, "snapper-3")
	check(t, err)
	m.boot(flagsOf(t, s, "new"))
	s = openStore(t, Config{Root: m.root})
	if got := listNames(t, s); got != "suse new! snapper-3" {
		t.Errorf("listed are %s", got)
	}
	// Snapper deletes it all the same: it is gone, and nothing stumbles over it.
	run(t, "btrfs", "subvolume", "set-default", m.top)
	run(t, "btrfs", "-q", "subvolume", "delete", number("3")+"/snapshot")
	if got := listNames(t, s); got != "suse new!" {
		t.Errorf("listed are %s", got)
	}
}

// TestMarkOfAGuest: what only a mark calls a boot environment, in a directory like
// snapper's, is none: the mark is a guest's to make.
func TestMarkOfAGuest(t *testing.T) {
	m := install(t, layouttest.Get(t, "opensuse"))
	s := openStore(t, Config{Root: m.root})
	create(t, s, "new", "snapper-1")
	at := filepath.Join(m.top, "@/var/machines/web/.snapshots/1/snapshot")
	check(t, os.MkdirAll(filepath.Dir(at), 0o755))
	run(t, "btrfs", "-q", "subvolume", "create", at)
	woods, err := s.scan()
	check(t, err)
	for _, sv := range woods.byID {
		if sv.name == "snapshot" && sv.id != s.nowID {
			check(t, unix.Setxattr(at, markAttr, []byte(sv.uuid+" "+string(be.NewUUID())), 0))
		}
	}
	if got := listNames(t, s); got != "snapper-1! new" {
		t.Errorf("listed are %s", got)
	}
}

// TestNestedIsListed: a subvolume that no other boot environment will have is said,
// and a hundred of a container program in one line.
func TestNestedIsListed(t *testing.T) {
	m := install(t, layouttest.Get(t, "debian"))
	docker := filepath.Join(m.top, "@rootfs/var/lib/docker/btrfs/subvolumes")
	check(t, os.MkdirAll(docker, 0o755))
	for _, name := range []string{"one", "two"} {
		run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(docker, name))
		write(t, filepath.Join(docker, name, "file"), "x")
	}
	for _, path := range []string{".snapshots", "var/lib/data", "srv"} {
		run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@rootfs", path))
		write(t, filepath.Join(m.top, "@rootfs", path, "file"), "x")
	}
	write(t, filepath.Join(m.root, "etc/fstab"), m.layout.Fstab(m.fsid)+"UUID="+m.fsid+" /srv btrfs subvol=@rootfs/srv 0 0\n")
	found := finds(t, openStore(t, Config{Root: m.root}))
	wants(t, found, "nested", be.FindingWarning, "/var/lib/docker holds data")
	wants(t, found, "nested", be.FindingWarning, "/.snapshots holds data")
	wants(t, found, "nested", be.FindingNote, "/var/lib/machines is a subvolume")
	wants(t, found, "nested", be.FindingNote, "/var/lib/portables is a subvolume")
	if len(found) != 4 {
		t.Errorf("found are %v", found)
	}
}
