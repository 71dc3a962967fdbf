package btrfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

var ctx = context.Background()

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// system is a btrfs with a root subvolume, mounted as a root directory.
func system(t *testing.T, subvol string) (device, top, root string) {
	t.Helper()
	device, top = newDisk(t)
	run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, subvol))
	write(t, filepath.Join(top, subvol, "etc/hostname"), "machine\n")
	return device, top, mountAt(t, device, "subvol="+subvol)
}

func create(t *testing.T, s *Store, name, from string) be.BE {
	t.Helper()
	b, err := s.Create(ctx, be.CreateOptions{Name: name, From: from, AutoSnapshot: "auto-" + name})
	check(t, err)
	return b
}

func listNames(t *testing.T, s *Store) string {
	t.Helper()
	list, err := s.List(ctx)
	check(t, err)
	var out []string
	for _, b := range list {
		text := b.Name
		if b.Running {
			text += "!"
		}
		if b.UUID == "" {
			text += "?"
		}
		if b.Incomplete {
			text += "-"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// TestAfterReboot: the one that the installer made is still listed when
// another one runs, by its mark.
func TestAfterReboot(t *testing.T) {
	device, top, root := system(t, "@")
	s := openStore(t, Config{Root: root})
	create(t, s, "new", "default")
	other := openStore(t, Config{Root: mountAt(t, device, "subvol=@be-new")})
	if got := listNames(t, other); got != "default new!" {
		t.Errorf("listed are %s", got)
	}
	if other.GUID() != s.GUID() {
		t.Error("it is another store after the reboot")
	}
	// By its directory, with nothing running of it.
	offline := openStore(t, Config{Root: t.TempDir(), BERoot: top})
	if got := listNames(t, offline); got != "default new" || offline.GUID() != s.GUID() {
		t.Errorf("by its directory, listed are %s", got)
	}
	check(t, unix.Unmount(root, 0))
	_, err := other.Destroy(ctx, "default", false)
	check(t, err)
	if got := listNames(t, other); got != "new!" {
		t.Errorf("listed are %s", got)
	}
}

// TestTopmostMountRuns: what lies on top is what runs.
func TestTopmostMountRuns(t *testing.T) {
	device, _, root := system(t, "@rootfs")
	create(t, openStore(t, Config{Root: root}), "new", "rootfs")
	// The kernel does not put a file system straight upon itself.
	check(t, unix.Mount("none", root, "tmpfs", 0, ""))
	check(t, unix.Mount(device, root, "btrfs", 0, "subvol=@be-new"))
	if got := listNames(t, openStore(t, Config{Root: root})); got != "rootfs new!" {
		t.Errorf("listed are %s", got)
	}
}

// TestHandMadeCopy: the marks in a copy are not its own.
func TestHandMadeCopy(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	one := create(t, s, "one", "rootfs")
	check(t, s.Describe(ctx, "one", "of one"))
	run(t, "btrfs", "-q", "subvolume", "snapshot", top+"/@be-one", top+"/@be-copy")
	run(t, "btrfs", "-q", "subvolume", "snapshot", top+"/@rootfs", top+"/before-upgrade")
	if got := listNames(t, s); got != "rootfs! one copy?" {
		t.Errorf("listed are %s", got)
	}
	b, err := s.Adopt(ctx, "copy")
	check(t, err)
	if b.UUID == "" || b.UUID == one.UUID || b.Description != "" {
		t.Errorf("adopted, it is %+v", b)
	}
	// Any subvolume there can be adopted, but only when asked.
	b, err = s.Adopt(ctx, "before-upgrade")
	check(t, err)
	if b.Location != "/before-upgrade" || listNames(t, s) != "rootfs! one copy before-upgrade" {
		t.Errorf("adopted, it is %+v among %s", b, listNames(t, s))
	}
	check(t, s.Rename(ctx, "before-upgrade", "old"))
	if _, err := os.Stat(top + "/@be-old"); err != nil {
		t.Error(err)
	}
}

// TestFstabFollows: in clones and after a rename it names its own subvolume,
// with owner, mode and what else it says.
func TestFstabFollows(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	const text = "# comment\nUUID=1 / btrfs rw,subvol=/@rootfs,subvolid=256 0 0\nUUID=1 /home btrfs subvol=@home 0 0\n"
	write(t, root+"/etc/fstab", text)
	check(t, os.Chmod(root+"/etc/fstab", 0o640))
	check(t, os.Chown(root+"/etc/fstab", 7, 8))
	check(t, unix.Setxattr(root+"/etc/fstab", "user.kept", []byte("yes"), 0))
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	want := func(file, subvol string) {
		t.Helper()
		b, err := os.ReadFile(file)
		check(t, err)
		if expected := strings.Replace(text, "subvol=/@rootfs,subvolid=256", "subvol=/"+subvol, 1); string(b) != expected {
			t.Errorf("%s holds\n%swant\n%s", file, b, expected)
		}
		var st unix.Stat_t
		check(t, unix.Stat(file, &st))
		if st.Mode&0o7777 != 0o640 || st.Uid != 7 || st.Gid != 8 {
			t.Errorf("%s has mode %o, owner %d:%d", file, st.Mode, st.Uid, st.Gid)
		}
		value := make([]byte, 9)
		if n, err := unix.Getxattr(file, "user.kept", value); err != nil || string(value[:n]) != "yes" {
			t.Errorf("%s lost an attribute: %v", file, err)
		}
	}
	want(top+"/@be-one/etc/fstab", "@be-one")
	check(t, s.Rename(ctx, "one", "two"))
	want(top+"/@be-two/etc/fstab", "@be-two")
	b, err := os.ReadFile(root + "/etc/fstab")
	check(t, err)
	if string(b) != text {
		t.Errorf("the source's fstab became %s", b)
	}
}

// TestFstabIsALinkOutside: a hostile guest's fstab leads nowhere.
func TestFstabIsALinkOutside(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	outside := filepath.Join(t.TempDir(), "fstab")
	write(t, outside, "UUID=1 / btrfs subvol=@rootfs 0 0\n")
	check(t, os.Symlink(outside, root+"/etc/fstab"))
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	if b, _ := os.ReadFile(outside); !strings.Contains(string(b), "@rootfs") {
		t.Errorf("a file outside became %s", b)
	}
	if target, err := os.Readlink(top + "/@be-one/etc/fstab"); err != nil || target != outside {
		t.Errorf("the link is now %s, %v", target, err)
	}
}

// TestOthersSubvolumes: what is not part of the system is not copied, and
// not destroyed with it.
func TestOthersSubvolumes(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	for _, p := range []string{"var/lib/machines", "home"} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755))
		run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(root, p))
	}
	run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(root, "srv"))
	check(t, os.Chmod(root+"/var/lib/machines", 0o700))
	check(t, os.Chown(root+"/var/lib/machines", 5, 6))
	run(t, "btrfs", "-q", "subvolume", "create", root+"/home/me")
	write(t, root+"/home/me/letter", "dear")
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	var st unix.Stat_t
	check(t, unix.Stat(top+"/@be-one/var/lib/machines", &st))
	if st.Mode&0o7777 != 0o700 || st.Uid != 5 || st.Gid != 6 || st.Ino == firstFree {
		t.Errorf("the empty directory is %+v", st)
	}
	write(t, top+"/@be-one/home/new", "can be written")
	if _, err := os.Stat(top + "/@be-one/home/me"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("/home came along: %v", err)
	}
	check(t, unix.Stat(top+"/@be-one/srv", &st))
	if st.Ino != firstFree {
		t.Error("a subvolume of the system did not come along as one")
	}

	// Somebody keeps machines in the inactive one.
	run(t, "rmdir", top+"/@be-one/var/lib/machines")
	run(t, "btrfs", "-q", "subvolume", "create", top+"/@be-one/var/lib/machines")
	check(t, os.Mkdir(top+"/@be-one/var/lib/machines/web", 0o755))
	for _, dry := range []bool{true, false} {
		_, err := s.Destroy(ctx, "one", dry)
		if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "var/lib/machines") {
			t.Errorf("Destroy of one with machines in it: %v", err)
		}
	}
	if got := listNames(t, s); got != "rootfs! one" {
		t.Errorf("the refusal left %s", got)
	}
	check(t, os.Remove(top+"/@be-one/var/lib/machines/web"))
	_, err := s.Destroy(ctx, "one", false)
	check(t, err)
}

// TestReadOnly: a read-only one is cloned, described and renamed as such.
func TestReadOnly(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	write(t, root+"/etc/fstab", "UUID=1 / btrfs subvol=@rootfs 0 0\n")
	s := openStore(t, Config{Root: root})
	b, err := s.Create(ctx, be.CreateOptions{Name: "ro", From: "rootfs", AutoSnapshot: "auto", Properties: []string{"ro=true"}})
	check(t, err)
	if !b.ReadOnly {
		t.Errorf("ro=true gave %+v", b)
	}
	if c := create(t, s, "clone", "ro"); !c.ReadOnly {
		t.Errorf("its clone is %+v", c)
	}
	check(t, s.Describe(ctx, "ro", "text"))
	check(t, s.Rename(ctx, "ro", "still"))
	if err := os.WriteFile(top+"/@be-still/file", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing into it: %v", err)
	}
	if text, _ := os.ReadFile(top + "/@be-still/etc/fstab"); !strings.Contains(string(text), "@be-still") {
		t.Errorf("its fstab says %s", text)
	}
	for _, name := range []string{"still", "clone"} {
		_, err = s.Destroy(ctx, name, false)
		check(t, err)
	}
	_, err = s.Create(ctx, be.CreateOptions{Name: "x", From: "rootfs", AutoSnapshot: "a", Properties: []string{"quota=1"}})
	if be.KindOf(err) != be.Usage {
		t.Errorf("an unknown property: %v", err)
	}
}

// TestGuests: a store in a directory of its own, on the file system of a
// store of the host.
func TestGuests(t *testing.T) {
	device, top, root := system(t, "@rootfs")
	check(t, os.MkdirAll(top+"/guests/web", 0o755))
	run(t, "btrfs", "-q", "subvolume", "create", top+"/guests/web/@be-first")
	write(t, top+"/guests/web/@be-first/etc/hostname", "web\n")
	groot := mountAt(t, device, "subvol=guests/web/@be-first")
	host, guest := openStore(t, Config{Root: root}), openStore(t, Config{Root: groot})
	if got := listNames(t, guest); got != "first!?" {
		t.Errorf("the guest's are %s", got)
	}
	create(t, guest, "second", "first")
	create(t, host, "one", "rootfs")
	if a, b := listNames(t, guest), listNames(t, host); a != "first! second" || b != "rootfs! one" {
		t.Errorf("the guest's are %s, the host's are %s", a, b)
	}
	if host.GUID() == guest.GUID() || host.Location() == guest.Location() {
		t.Errorf("both are %s at %s", host.GUID(), host.Location())
	}
	byDir := openStore(t, Config{Root: groot, BERoot: top + "/guests/web"})
	if byDir.GUID() != guest.GUID() || listNames(t, byDir) != "first! second" {
		t.Errorf("by its directory it is %s with %s", byDir.GUID(), listNames(t, byDir))
	}
	// One state for all, a share for each.
	check(t, guest.CreateVolume(ctx, be.StateVolume))
	check(t, guest.CreateVolume(ctx, be.ShareVolume))
	for v, want := range map[be.Volume]bool{be.StateVolume: true, be.ShareVolume: false} {
		if there, err := host.VolumeExists(ctx, v); err != nil || there != want {
			t.Errorf("the host's volume %s: %v, %v", v, there, err)
		}
	}
	for _, p := range []string{"@beadm", "guests/web/@varshare"} {
		if _, err := os.Stat(filepath.Join(top, p)); err != nil {
			t.Error(err)
		}
	}
	ref, err := guest.RootRef(ctx, "second")
	check(t, err)
	if ref.Prefix != "/guests/web/@be-second" || !slices.Contains(ref.Needs, "extended_iref") || !slices.Contains(ref.Needs, "skinny_metadata") {
		t.Errorf("RootRef is %+v", ref)
	}
}

// TestDefaultSubvolume: the kernel does not delete it, so nothing of it goes.
func TestDefaultSubvolume(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	_, err := s.Snapshot(ctx, "one", "snap")
	check(t, err)
	run(t, "btrfs", "subvolume", "set-default", top+"/@be-one")
	if _, err := s.Destroy(ctx, "one", false); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "set-default") {
		t.Errorf("Destroy of the default subvolume: %v", err)
	}
	if list, err := s.Snapshots(ctx, "one"); err != nil || len(list) != 1 {
		t.Errorf("left are the snapshots %v, %v", list, err)
	}
	run(t, "btrfs", "subvolume", "set-default", top)
	_, err = s.Destroy(ctx, "one", false)
	check(t, err)
}

// TestSpace: what a boot environment holds is measured, with and without quotas,
// and never said where it is not known.
func TestSpace(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	if b := create(t, s, "one", "rootfs"); b.Space != be.SpaceUnknown {
		t.Errorf("Space, which nobody measured, is %d", b.Space)
	}
	check(t, os.WriteFile(top+"/@be-one/big", make([]byte, 4<<20), 0o600))
	run(t, "btrfs", "filesystem", "sync", top)
	holds := func(when string) {
		t.Helper()
		spaces, err := s.Spaces(ctx)
		check(t, err)
		frees, err := s.Frees(ctx, []string{"one"})
		check(t, err)
		if got := spaces["one"]; got < 4<<20 || got > 5<<20 || frees.AtLeast || frees.Bytes < 4<<20 || frees.Bytes > 5<<20 {
			t.Errorf("%s, 4 MiB of its own are %d, and would free %+v", when, got, frees)
		}
	}
	holds("without quotas")
	run(t, "btrfs", "quota", "enable", top)
	run(t, "btrfs", "quota", "rescan", "-w", top)
	holds("with quotas")
	late, cancel := context.WithDeadline(ctx, time.Now())
	defer cancel()
	if frees, err := s.Frees(late, []string{"one"}); err != nil || !frees.AtLeast || frees.Bytes > 5<<20 {
		t.Errorf("without time it would free %+v, %v", frees, err)
	}
	if spaces, err := s.Spaces(late); err != nil || len(spaces) > 0 {
		t.Errorf("without time they hold %v, %v", spaces, err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Frees(stopped, []string{"one"}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestCompressedSpace: extents count as they are on the disk.
func TestCompressedSpace(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	run(t, "btrfs", "property", "set", top+"/@be-one", "compression", "zstd")
	check(t, os.WriteFile(top+"/@be-one/big", make([]byte, 64<<20), 0o600))
	frees, err := s.Frees(ctx, []string{"one"})
	check(t, err)
	if frees.AtLeast || frees.Bytes < 1<<20 || frees.Bytes > 4<<20 {
		t.Errorf("64 MiB of zeros, compressed, would free %+v", frees)
	}
}

// TestSnapshotSpace is what a snapshot of a volume holds alone, without quotas.
func TestSnapshotSpace(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	check(t, s.CreateVolume(ctx, be.ShareVolume))
	share := top + "/@varshare/"
	for name, size := range map[string]int{"stays": 3 << 20, "goes": 2 << 20, "linked": 1 << 20} {
		check(t, os.WriteFile(share+name, make([]byte, size), 0o600))
	}
	check(t, os.Link(share+"linked", share+"again"))
	check(t, os.Symlink("/dev/zero", share+"link"))
	check(t, unix.Mkfifo(share+"fifo", 0o600))
	check(t, os.Mkdir(share+"dir", 0))
	space := func(snap string, want int64) {
		t.Helper()
		run(t, "btrfs", "filesystem", "sync", top)
		if got, err := s.VolumeSnapshotSpace(ctx, be.ShareVolume, snap); got != want || err != nil {
			t.Errorf("%s holds %d alone (%v), wanted %d", snap, got, err, want)
		}
	}
	_, err := s.SnapshotVolume(ctx, be.ShareVolume, "s1")
	check(t, err)
	space("s1", 0)
	for _, name := range []string{"goes", "linked", "again"} {
		check(t, os.Remove(share+name))
	}
	space("s1", 3<<20)
	check(t, os.WriteFile(share+"dir/more", make([]byte, 1<<20), 0o600))
	_, err = s.SnapshotVolume(ctx, be.ShareVolume, "s2")
	check(t, err)
	check(t, os.Remove(share+"dir/more"))
	space("s1", 3<<20)
	space("s2", 1<<20)
	if _, err := s.VolumeSnapshotSpace(ctx, be.ShareVolume, "s3"); be.KindOf(err) != be.NotFound {
		t.Errorf("one that is not there: %v", err)
	}
}

// TestNoStore says what to give instead.
func TestNoStore(t *testing.T) {
	device, _, root := system(t, "@rootfs")
	for what, cfg := range map[string]Config{
		"not a btrfs":          {Root: t.TempDir()},
		"the top level":        {Root: mountAt(t, device, "subvolid=5")},
		"a directory inside":   {Root: root + "/etc"},
		"not there":            {Root: root + "/missing"},
		"a BE root not there":  {Root: root, BERoot: root + "/missing"},
		"no such file system":  {Root: root, BERoot: "btrfs:01234567-89ab-cdef-0123-456789abcdef:/"},
		"not a file system id": {Root: root, BERoot: "btrfs:../../etc:/"},
	} {
		if _, err := Open(ctx, cfg); be.KindOf(err) != be.NoStore {
			t.Errorf("%s: %v (kind %d)", what, err, be.KindOf(err))
		}
	}
}

// TestNothingStaysMounted: a store that is open, and one that its process
// left behind, show in no mount table.
func TestNothingStaysMounted(t *testing.T) {
	device, _, root := system(t, "@rootfs")
	// Others may work on this host at the same time.
	mounts := func() int {
		b, err := os.ReadFile("/proc/self/mountinfo")
		check(t, err)
		return strings.Count(string(b), " - btrfs "+device+" ")
	}
	before := mounts()
	s := openStore(t, Config{Root: root})
	create(t, s, "one", "rootfs")
	if now := mounts(); before != 2 || now != before {
		t.Errorf("%d mounts became %d", before, now)
	}
}

// TestFull: no space for metadata fails the operation and leaves nothing.
func TestFull(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	s := openStore(t, Config{Root: root})
	_, err := s.Adopt(ctx, "rootfs")
	check(t, err)
	run(t, "btrfs", "quota", "enable", top)
	write(t, root+"/etc/fstab", "UUID=1 / btrfs subvol=@rootfs 0 0\n"+strings.Repeat("# filler\n", 20000))
	check(t, unix.Setxattr(root, "trusted.x", nil, 0))
	run(t, "btrfs", "filesystem", "sync", top)
	fails := 0
	s.effect = func(when, what string) error {
		if when == before && strings.HasPrefix(what, "name @be-") {
			fails++
			return unix.ENOSPC
		}
		return nil
	}
	_, err = s.Create(ctx, be.CreateOptions{Name: "one", From: "rootfs", AutoSnapshot: "auto"})
	if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "full") || fails != 1 {
		t.Errorf("without space: %v (kind %d)", err, be.KindOf(err))
	}
	if got := listNames(t, s); got != "rootfs!" {
		t.Errorf("left are %s", got)
	}
	if list, err := s.Snapshots(ctx, "rootfs"); err != nil || len(list) != 0 {
		t.Errorf("left are the snapshots %+v, %v", list, err)
	}
}

// TestFullAtEachStep: wherever the file system turns out to be full, it is said in one
// sentence, and all is as it was.
func TestFullAtEachStep(t *testing.T) {
	_, top, root := system(t, "@rootfs")
	write(t, root+"/etc/fstab", "UUID=1 / btrfs subvol=@rootfs 0 0\n")
	run(t, "btrfs", "-q", "subvolume", "create", root+"/srv")
	s := openStore(t, Config{Root: root})
	_, err := s.Adopt(ctx, "rootfs")
	check(t, err)
	create(t, s, "old", "rootfs")
	check(t, s.CreateVolume(ctx, be.ShareVolume))
	// All subvolumes, all boot environments, snapshots and fstabs.
	world := func() string {
		t.Helper()
		text := run(t, "btrfs", "subvolume", "list", "-o", top) + listNames(t, s)
		for _, name := range []string{"rootfs", "old"} {
			list, err := s.Snapshots(ctx, name)
			check(t, err)
			for _, sn := range list {
				text += " " + name + "@" + sn.Name
			}
		}
		paths, _ := filepath.Glob(top + "/@*/etc/fstab")
		for _, p := range paths {
			b, err := os.ReadFile(p)
			check(t, err)
			text += "\n" + p + " " + string(b)
		}
		// The top level's generation changes with every commit.
		return regexp.MustCompile(`gen [0-9]+`).ReplaceAllString(text, "gen")
	}
	for what, f := range map[string]func() error{
		"create": func() error {
			_, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "old", AutoSnapshot: "auto"})
			return err
		},
		"create empty": func() error { _, err := s.Create(ctx, be.CreateOptions{Name: "new"}); return err },
		"fill": func() error {
			_, err := s.CreateFilled(ctx, be.CreateOptions{Name: "new"}, func(_ context.Context, f be.Filling) error {
				return os.WriteFile(f.Dir+"/file", []byte("x"), 0o600)
			})
			return err
		},
		"snapshot":        func() error { _, err := s.Snapshot(ctx, "old", "good"); return err },
		"volume snapshot": func() error { _, err := s.SnapshotVolume(ctx, be.ShareVolume, "good"); return err },
		"rename":          func() error { return s.Rename(ctx, "old", "older") },
		"state volume":    func() error { return s.CreateVolume(ctx, be.StateVolume) },
	} {
		was := world()
		for n := 1; ; n++ {
			seen, at := 0, ""
			s.effect = func(when, effect string) error {
				if when != before {
					return nil
				}
				if seen++; seen == n {
					at = effect
					return unix.ENOSPC
				}
				return nil
			}
			err := f()
			s.effect = nil
			if at == "" {
				if err != nil || n == 1 {
					t.Errorf("%s with room for all: %v, in %d steps", what, err, n-1)
				}
				break
			}
			if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "the file system is full") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, full at %q: %v (kind %d)", what, at, err, be.KindOf(err))
			}
			if now := world(); now != was {
				t.Fatalf("%s, full at %q, left\n%s\nnot\n%s", what, at, now, was)
			}
		}
		// It was done in the end.
		switch what {
		case "create", "create empty", "fill":
			_, err = s.Destroy(ctx, "new", false)
		case "snapshot":
			err = s.DestroySnapshot(ctx, "old", "good")
		case "rename":
			err = s.Rename(ctx, "older", "old")
		}
		check(t, err)
	}
}
