package lvm

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
	"beadm/be/storetest"
)

// The tests in this file need a kernel with dm-thin. They are run where there is
// one, in a virtual machine, by this package's test binary:
//
//	BEADM_LVM_VG=scratch-vg ./lvm.test
//
// with the name of a volume group that does not exist; it is made on a file in
// TMPDIR and removed.
func needGroup(t *testing.T) string {
	t.Helper()
	vg := os.Getenv("BEADM_LVM_VG")
	if vg == "" {
		t.Skip("NOT RUN: BEADM_LVM_VG does not name a volume group to make; make test-vm runs this on real LVM")
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: making a volume group takes root")
	}
	if exec.Command("vgs", vg).Run() != nil {
		img := filepath.Join(os.TempDir(), vg+".img")
		if err := os.WriteFile(img, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(img, 700<<20); err != nil {
			t.Fatal(err)
		}
		loop := run(t, "losetup", "-f", "--show", img)
		tool(t, "vgcreate", "-q", "-s", "1M", vg, loop)
		tool(t, "lvcreate", "-q", "-y", "-L", "600M", "--poolmetadatasize", "8M", "--thinpool", "thin-pool", vg)
		groupMade = func() {
			argv := withConfig([]string{"vgremove", "-q", "-y", "-f", vg}, "")
			exec.Command(argv[0], argv[1:]...).Run()
			exec.Command("losetup", "-d", loop).Run()
			os.Remove(img)
		}
	}
	return vg
}

var groupMade = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	groupMade()
	os.Exit(code)
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, words.String())
	}
	return strings.TrimSpace(string(out))
}

// tool runs a command of LVM, with udev or without.
func tool(t *testing.T, argv ...string) string {
	t.Helper()
	return run(t, withConfig(argv, "")...)
}

// removeVolumes removes all in the pool, mounted or not.
func removeVolumes(t *testing.T, vg string) {
	t.Helper()
	list, _ := mounttable.Read()
	for i := len(list) - 1; i >= 0; i-- {
		if groupOf(deviceOf(mounttable.Device(list[i])).name) == vg {
			unix.Unmount(list[i].Mountpoint, unix.MNT_DETACH)
		}
	}
	names := strings.Fields(tool(t, "lvs", "--noheadings", "-o", "lv_full_name", "-S", `pool_lv="thin-pool"`, vg))
	if len(names) > 0 {
		tool(t, append([]string{"lvremove", "-q", "-y", "-f"}, names...)...)
	}
}

// newEnv is a system as Debian's installer names it, on a thin volume.
func newEnv(t *testing.T) *storetest.Env {
	vg := needGroup(t)
	root := t.TempDir()
	t.Cleanup(func() { removeVolumes(t, vg) })
	tool(t, "lvcreate", "-q", "-y", "-V", "96M", "--thinpool", "thin-pool", "-n", "root", vg)
	device := "/dev/" + vg + "/root"
	// Nothing is to be written behind the tests' backs.
	run(t, "mkfs.ext4", "-q", "-N", "4096", "-J", "size=1", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
	run(t, "mount", device, root)
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/fstab"), fmt.Sprintf("# of the installer\n/dev/mapper/%s / ext4 errors=remount-ro 0 1\nUUID=BEAD-BEAD /boot vfat nofail 0 2\n", deviceName(vg, "root")))
	return &storetest.Env{
		Open: func(t *testing.T) be.Store { return openStore(t, Config{Root: root}) },
		OpenAt: func(t *testing.T, location string) be.Store {
			return openStore(t, Config{Root: root, BERoot: location})
		},
		Root:        root,
		Running:     "root",
		MountSource: "/dev/mapper/" + deviceName(vg, ""),
		Intercept:   func(s be.Store, f func(when, what string) error) { s.(*Store).effect = f },
	}
}

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	needGroup(t)
	storetest.Run(t, storetest.Fixture{New: newEnv})
}

var bg = context.Background()

func clone(t *testing.T, s *Store, name, from string) be.BE {
	t.Helper()
	b, err := s.Create(bg, be.CreateOptions{Name: name, UUID: be.NewUUID(), From: from, AutoSnapshot: "auto"})
	check(t, err)
	return b
}

// TestEachNamesItself: the fstab of each boot environment names its own volume,
// the kernel is told the same, and after a stop of all, as at a boot, boot
// environments are started and snapshots are not.
func TestEachNamesItself(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	vg := needGroup(t)
	clone(t, s, "new:1_tmeta+x", "root")
	_, err := s.Snapshot(bg, "new:1_tmeta+x", "s1")
	check(t, err)
	check(t, s.Rename(bg, "root", "old-one"))
	for name, want := range map[string]string{"old-one": "be_old-one", "new:1_tmeta+x": "be_new+3a1_+74meta+2bx"} {
		ref, err := s.RootRef(bg, name)
		check(t, err)
		if ref.Args[0] != "root=/dev/"+vg+"/"+want || ref.FS != "ext4" || !slices.Contains(ref.Needs, "thin") || !slices.Contains(ref.Needs, "lvm") {
			t.Errorf("RootRef of %s is %+v", name, ref)
		}
		dir := e.Root
		if name != "old-one" {
			dir = t.TempDir()
			check(t, s.Mount(bg, name, dir, true))
		}
		text, err := os.ReadFile(filepath.Join(dir, "etc/fstab"))
		check(t, err)
		if want := "# of the installer\n/dev/" + vg + "/" + want + " / ext4 errors=remount-ro 0 1\nUUID=BEAD-BEAD /boot vfat nofail 0 2\n"; string(text) != want {
			t.Errorf("the fstab of %s is\n%s", name, text)
		}
	}
	check(t, s.Unmount(bg, "new:1_tmeta+x", false))
	check(t, unix.Unmount(e.Root, 0))
	tool(t, "vgchange", "-q", "-an", vg)
	tool(t, "vgchange", "-q", "-aay", vg)
	started := strings.Fields(tool(t, "lvs", "--noheadings", "-o", "lv_name", "-S", `lv_active="active" && pool_lv="thin-pool"`, vg))
	slices.Sort(started)
	if fmt.Sprint(started) != "[be_new+3a1_+74meta+2bx be_old-one]" {
		t.Errorf("at a boot these are started: %v", started)
	}
}

// TestAfterReboot: the one that the installer made is still listed when another
// one runs, by its mark; and by the pool's name, with nothing running of it.
func TestAfterReboot(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	clone(t, s, "new", "root")
	dir := t.TempDir()
	run(t, "mount", "/dev/"+needGroup(t)+"/be_new", dir)
	for what, cfg := range map[string]Config{"root! new": {Root: e.Root}, "root new!": {Root: dir}, "root new": {Root: t.TempDir(), BERoot: s.Location()}} {
		other := openStore(t, cfg)
		list, err := other.List(bg)
		check(t, err)
		var got []string
		for _, b := range list {
			name := b.Name
			if b.Running {
				name += "!"
			}
			got = append(got, name)
		}
		slices.Sort(got)
		want := strings.Fields(what)
		slices.Sort(want)
		if !slices.Equal(got, want) || other.GUID() != s.GUID() {
			t.Errorf("listed are %v, want %v", got, want)
		}
	}
}

// TestNothingOfOthers: what others made in the pool is no boot environment, and
// is not touched.
func TestNothingOfOthers(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	vg := needGroup(t)
	check(t, e.Open(t).Describe(bg, "root", "mine"))
	tool(t, "lvcreate", "-q", "-y", "-s", "-n", "copy", vg+"/root")
	tool(t, "lvcreate", "-q", "-y", "-V", "16M", "--thinpool", "thin-pool", "-n", "be_data", vg)
	list, err := s.List(bg)
	check(t, err)
	if len(list) != 1 {
		t.Errorf("listed are %+v", list)
	}
	if _, err := s.Create(bg, be.CreateOptions{Name: "data", From: "root", AutoSnapshot: "auto"}); be.KindOf(err) != be.InUse {
		t.Errorf("Create over another's volume: %v", err)
	}
	if _, err := s.Destroy(bg, "copy", false); be.KindOf(err) != be.NotFound {
		t.Errorf("Destroy of another's volume: %v", err)
	}
	b, err := s.Adopt(bg, "copy")
	check(t, err)
	if b.UUID == "" || b.Description != "" {
		t.Errorf("adopted, the copy is %+v", b)
	}
}

// TestNearlyFull: a pool that is nearly full is refused before it hurts, and
// room is found again by destroying.
func TestNearlyFull(t *testing.T) {
	vg := needGroup(t)
	tool(t, "lvcreate", "-q", "-y", "-L", "24M", "--thinpool", "small", vg)
	t.Cleanup(func() { tool(t, "lvremove", "-q", "-y", "-f", vg+"/small") })
	tool(t, "lvcreate", "-q", "-y", "-V", "48M", "--thinpool", "small", "-n", "sys", vg)
	run(t, "mkfs.ext4", "-q", "-O", "^has_journal", "/dev/"+vg+"/sys")
	root := t.TempDir()
	run(t, "mount", "/dev/"+vg+"/sys", root)
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	s := openStore(t, Config{Root: root})
	clone(t, s, "one", "sys")
	for i := 0; ; i++ {
		tree, err := s.scan(bg)
		check(t, err)
		if tree.named("small").data >= maxData {
			break
		}
		write(t, filepath.Join(root, fmt.Sprint("fill", i)), strings.Repeat("0123456789abcde\n", 1<<15))
		check(t, s.Flush(bg))
	}
	for what, f := range map[string]func() error{
		"Create":         func() error { _, err := s.Create(bg, be.CreateOptions{Name: "two", From: "sys"}); return err },
		"an empty one":   func() error { _, err := s.Create(bg, be.CreateOptions{Name: "two"}); return err },
		"Snapshot":       func() error { _, err := s.Snapshot(bg, "sys", "s1"); return err },
		"a share volume": func() error { return s.CreateVolume(bg, be.ShareVolume) },
	} {
		if err := f(); be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "% full") || !strings.Contains(err.Error(), "lvextend") {
			t.Errorf("%s in a pool without room: %v", what, err)
		}
	}
	if list, err := s.List(bg); err != nil || len(list) != 2 {
		t.Errorf("left are %+v, %v", list, err)
	}
	_, err := s.Destroy(bg, "one", false)
	check(t, err)
}

// TestSpace: what a destroyed one held comes back, as it was said.
func TestSpace(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	clone(t, s, "new", "root")
	dir := t.TempDir()
	check(t, s.Mount(bg, "new", dir, false))
	write(t, filepath.Join(dir, "data"), strings.Repeat("0123456789abcde\n", 1<<20))
	check(t, s.Unmount(bg, "new", false))
	was, err := s.Free(bg)
	check(t, err)
	spaces, err := s.Spaces(bg)
	check(t, err)
	// As one that was killed leaves it.
	check(t, message(deviceName(s.vg, s.pool)+"-tpool", "reserve_metadata_snap"))
	frees, err := s.Frees(bg, []string{"new"})
	check(t, err)
	_, err = s.Destroy(bg, "new", false)
	check(t, err)
	is, err := s.Free(bg)
	check(t, err)
	if got := is - was; frees.Bytes < 16<<20 || frees.AtLeast || got < frees.Bytes-1<<20 || got > frees.Bytes+2<<20 || spaces["new"] != frees.Bytes {
		t.Errorf("it was said to hold %d and to free %+v, and freed %d", spaces["new"], frees, got)
	}
}

// TestXFS: copies of an xfs have the same UUID, and the kernel mounts the second
// one only where it is told not to look. The file system is made elsewhere.
func TestXFS(t *testing.T) {
	vg := needGroup(t)
	image := os.Getenv("BEADM_LVM_XFS")
	if image == "" {
		t.Skip("NOT RUN: BEADM_LVM_XFS does not name an xfs, packed by gzip; make test-vm runs this")
	}
	tool(t, "lvcreate", "-q", "-y", "-V", "320M", "--thinpool", "thin-pool", "-n", "xroot", vg)
	root := t.TempDir()
	t.Cleanup(func() { removeVolumes(t, vg) })
	unpack(t, image, "/dev/"+vg+"/xroot")
	run(t, "mount", "/dev/"+vg+"/xroot", root)
	check(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	write(t, filepath.Join(root, "etc/fstab"), "UUID=1-2 / xfs defaults 0 0\n")
	s := openStore(t, Config{Root: root})
	clone(t, s, "new", "xroot")
	_, err := s.Snapshot(bg, "xroot", "s1")
	check(t, err)
	write(t, filepath.Join(root, "etc/late"), "text")
	dir, snap := t.TempDir(), t.TempDir()
	check(t, s.Mount(bg, "new", dir, false))
	check(t, s.MountSnapshot(bg, "xroot", "s1", snap))
	for at, want := range map[string]string{dir: "/dev/" + vg + "/be_new / xfs defaults 0 0\n", snap: "UUID=1-2 / xfs defaults 0 0\n"} {
		text, err := os.ReadFile(filepath.Join(at, "etc/fstab"))
		check(t, err)
		if string(text) != want {
			t.Errorf("the fstab in %s is %q, not %q", at, text, want)
		}
		if _, err := os.Stat(filepath.Join(at, "etc/late")); err == nil {
			t.Errorf("what was written later is in %s", at)
		}
	}
	write(t, filepath.Join(dir, "etc/own"), "text")
	check(t, s.UnmountDir(bg, snap))
	check(t, s.Unmount(bg, "new", false))
	// As at a boot into the new one: the kernel is told nothing of it.
	check(t, unix.Unmount(root, 0))
	run(t, "mount", "/dev/"+vg+"/be_new", root)
	next := openStore(t, Config{Root: root})
	ref, err := next.RootRef(bg, "new")
	check(t, err)
	if ref.FS != "xfs" || ref.Args[0] != "root=/dev/"+vg+"/be_new" {
		t.Errorf("RootRef is %+v", ref)
	}
	// A read-only one, whose device refuses to play back a journal.
	_, err = next.Create(bg, be.CreateOptions{Name: "ro", From: "new", AutoSnapshot: "auto-ro", Properties: []string{"readonly=on"}})
	check(t, err)
	for _, readOnly := range []bool{true, false, true} {
		check(t, next.Mount(bg, "ro", dir, readOnly))
		write := os.WriteFile(filepath.Join(dir, "etc/second"), []byte("text"), 0o644)
		if (write != nil) != readOnly {
			t.Errorf("mounted with read-only %v, a write says %v", readOnly, write)
		}
		check(t, next.Unmount(bg, "ro", false))
	}
	check(t, next.Mount(bg, "xroot", dir, false))
	if _, err := os.Stat(filepath.Join(dir, "etc/own")); err == nil {
		t.Error("what was written into the copy is in the original")
	}
	check(t, next.Unmount(bg, "xroot", false))
	_, err = next.Destroy(bg, "xroot", false)
	check(t, err)
}

// unpack writes an image to a new thin volume, but for its zeros.
func unpack(t *testing.T, image, device string) {
	t.Helper()
	f, err := os.Open(image)
	check(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	check(t, err)
	d, err := os.OpenFile(device, os.O_WRONLY, 0)
	check(t, err)
	buf := make([]byte, 64<<10)
	zeros := make([]byte, len(buf))
	for at := int64(0); ; {
		n, err := io.ReadFull(z, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			_, err := d.WriteAt(buf[:n], at)
			check(t, err)
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		check(t, err)
	}
	check(t, d.Sync())
	check(t, d.Close())
}

// TestSealedRoot: a read-only one is so for who mounts it by hand, and as the root
// that runs; while it is open it can be written, and no cut makes it writable for
// good or one that cannot be mounted.
func TestSealedRoot(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	_, err := s.Create(bg, be.CreateOptions{Name: "ro", UUID: be.NewUUID(), From: "root", AutoSnapshot: "auto", Properties: []string{"readonly=on"}})
	check(t, err)
	ref, err := s.RootRef(bg, "ro")
	check(t, err)
	if !slices.Contains(ref.Args, "ro") {
		t.Errorf("the kernel is told %q", ref.Args)
	}
	device := "/dev/" + s.vg + "/be_ro"
	dir := t.TempDir()
	if err := unix.Mount(device, dir, "ext4", 0, ""); !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
		t.Errorf("mounted by hand to be written: %v", err)
	}
	// As one that a power cut ended while it was open.
	check(t, s.Unseal(bg, "ro"))
	run(t, "debugfs", "-w", "-R", "feature needs_recovery", device)
	check(t, s.Seal(bg, "ro"))
	check(t, s.Rename(bg, "ro", "closed"))
	check(t, unix.Unmount(e.Root, 0))
	run(t, "mount", "-o", "ro,nodev", "/dev/"+s.vg+"/be_closed", e.Root)
	s = e.Open(t).(*Store)
	text, err := os.ReadFile(filepath.Join(e.Root, "etc/fstab"))
	check(t, err)
	if want := "# of the installer\n/dev/" + s.vg + "/be_closed / ext4 errors=remount-ro,ro 0 1\nUUID=BEAD-BEAD /boot vfat nofail 0 2\n"; string(text) != want {
		t.Errorf("the fstab is\n%s", text)
	}
	file := func() error { return os.WriteFile(filepath.Join(e.Root, "file"), []byte("text"), 0o644) }
	for range 2 {
		if err := file(); !errors.Is(err, unix.EROFS) {
			t.Errorf("it runs and can be written: %v", err)
		}
		check(t, s.Unseal(bg, "closed"))
		check(t, s.Unseal(bg, "closed"))
		check(t, file())
		if b, err := s.listed(bg, "closed"); err != nil || !b.ReadOnly || !b.Running {
			t.Errorf("open, it is %+v, %v", b, err)
		}
		check(t, s.Seal(bg, "closed"))
	}
	check(t, s.Unseal(bg, "closed"))
	held, err := os.Create(filepath.Join(e.Root, "held"))
	check(t, err)
	if err := s.Seal(bg, "closed"); be.KindOf(err) != be.InUse {
		t.Errorf("Seal while a file is open for writing: %v", err)
	}
	check(t, held.Close())
	check(t, s.Seal(bg, "closed"))
	var st unix.Statfs_t
	check(t, unix.Statfs(e.Root, &st))
	if st.Flags&unix.ST_NODEV == 0 {
		t.Error("how it was mounted is forgotten")
	}
	// What runs read-only is cloned as it is, and writable where that is asked for.
	_, err = s.Create(bg, be.CreateOptions{Name: "rw", From: "closed", AutoSnapshot: "auto-rw", Properties: []string{"readonly=off"}})
	check(t, err)
	check(t, s.Mount(bg, "rw", dir, false))
	text, err = os.ReadFile(filepath.Join(dir, "etc/fstab"))
	check(t, err)
	if !strings.Contains(string(text), " / ext4 errors=remount-ro 0 1\n") {
		t.Errorf("the fstab of a writable copy is\n%s", text)
	}
	write(t, filepath.Join(dir, "own"), "text")
	check(t, s.Unmount(bg, "rw", false))
	_, err = s.Destroy(bg, "rw", false)
	check(t, err)
}

// TestSealedCut cuts what opens, closes or makes a read-only one.
func TestSealedCut(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	_, err := s.Create(bg, be.CreateOptions{Name: "ro", UUID: be.NewUUID(), From: "root", AutoSnapshot: "auto", Properties: []string{"readonly=on"}})
	check(t, err)
	stopAt := func(n int, f func(s *Store) error) (where string) {
		s := e.Open(t).(*Store)
		defer func() {
			if v := recover(); v != nil {
				where = v.(string)
			}
		}()
		s.effect = func(when, what string) error {
			if n--; n == 0 {
				panic(when + " " + what)
			}
			return nil
		}
		check(t, f(s))
		return ""
	}
	for what, f := range map[string]func(s *Store) error{
		"Unseal and Seal": func(s *Store) error { return errors.Join(s.Unseal(bg, "ro"), s.Seal(bg, "ro")) },
		"Rename":          func(s *Store) error { return errors.Join(s.Rename(bg, "ro", "other"), s.Rename(bg, "other", "ro")) },
		"Create": func(s *Store) error {
			_, err := s.Create(bg, be.CreateOptions{Name: "clone", UUID: be.NewUUID(), From: "ro", AutoSnapshot: "auto2"})
			return err
		},
	} {
		for n := 1; ; n++ {
			where := stopAt(n, f)
			now := e.Open(t).(*Store)
			list, err := now.List(bg)
			check(t, err)
			for _, b := range list {
				if b.Running || b.Incomplete {
					continue
				}
				if !b.ReadOnly {
					t.Errorf("%s cut %s: %s can be written", what, where, b.Name)
				}
				check(t, now.Seal(bg, b.Name))
				dir := t.TempDir()
				check(t, now.Mount(bg, b.Name, dir, true))
				if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); !errors.Is(err, unix.EROFS) {
					t.Errorf("%s cut %s: %s can be written by hand: %v", what, where, b.Name, err)
				}
				check(t, now.Unmount(bg, b.Name, false))
			}
			for _, b := range list {
				switch b.Name {
				case "other":
					check(t, now.Rename(bg, "other", "ro"))
				case "clone":
					_, err := now.Destroy(bg, "clone", false)
					check(t, err)
				}
			}
			if where == "" {
				break
			}
		}
	}
}

// TestFillingStops: what is brought does not fill the pool, of which all others
// live.
func TestFillingStops(t *testing.T) {
	vg := needGroup(t)
	tool(t, "lvcreate", "-q", "-y", "-L", "48M", "--thinpool", "small", vg)
	t.Cleanup(func() { tool(t, "lvremove", "-q", "-y", "-f", vg+"/small") })
	tool(t, "lvcreate", "-q", "-y", "-V", "96M", "--thinpool", "small", "-n", "sys", vg)
	run(t, "mkfs.ext4", "-q", "-O", "^has_journal", "/dev/"+vg+"/sys")
	root := t.TempDir()
	run(t, "mount", "/dev/"+vg+"/sys", root)
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	s := openStore(t, Config{Root: root})
	_, err := s.CreateFilled(bg, be.CreateOptions{Name: "big"}, func(ctx context.Context, f be.Filling) error {
		for i := range 740 { // 46 MiB, of 48
			if err := ctx.Err(); err != nil {
				return err
			}
			write(t, filepath.Join(f.Dir, fmt.Sprint("file", i)), strings.Repeat("0123456789abcde\n", 1<<12))
			time.Sleep(10 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
			return errors.New("nobody stopped it")
		}
	})
	if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "% full") {
		t.Errorf("CreateFilled of more than the pool takes: %v", err)
	}
	if list, err := s.List(bg); err != nil || len(list) != 1 {
		t.Errorf("left are %+v, %v", list, err)
	}
	write(t, filepath.Join(root, "still"), "text")
	check(t, s.Flush(bg))
}

// TestUsrApart: a system in two parts is not copied by halves.
func TestUsrApart(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	check(t, os.WriteFile(filepath.Join(e.Root, "etc/fstab"), []byte("/dev/vg/usr /usr ext4 defaults 0 2\n"), 0o644))
	_, err := s.Create(bg, be.CreateOptions{Name: "new", From: "root", AutoSnapshot: "auto"})
	if be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "/usr") {
		t.Errorf("Create: %v", err)
	}
	list, err := s.List(bg)
	check(t, err)
	snapshots, err := s.Snapshots(bg, "root")
	check(t, err)
	if len(list) != 1 || len(snapshots) != 0 {
		t.Errorf("left are %+v %+v", list, snapshots)
	}
}

// TestBusyElsewhere: one that is in use where it cannot be seen stays whole.
func TestBusyElsewhere(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	clone(t, s, "new", "root")
	dir := t.TempDir()
	holder := exec.Command("unshare", "-m", "sh", "-c", fmt.Sprintf("mount /dev/%s/be_new %s && echo ready && read x", s.vg, dir))
	in, err := holder.StdinPipe()
	check(t, err)
	out, err := holder.StdoutPipe()
	check(t, err)
	check(t, holder.Start())
	out.Read(make([]byte, 6))
	if _, err := s.Destroy(bg, "new", false); be.KindOf(err) != be.InUse {
		t.Errorf("Destroy of one in use: %v (kind %d)", err, be.KindOf(err))
	}
	list, err := s.List(bg)
	check(t, err)
	if len(list) != 2 || list[1].Incomplete {
		t.Errorf("left are %+v", list)
	}
	in.Close()
	holder.Wait()
	_, err = s.Destroy(bg, "new", false)
	check(t, err)
}

// TestNoStore: where there is no thin pool, the error says what to give.
func TestNoStore(t *testing.T) {
	vg := needGroup(t)
	tool(t, "lvcreate", "-q", "-y", "-L", "16M", "-n", "thick", vg)
	defer tool(t, "lvremove", "-q", "-y", vg+"/thick")
	run(t, "mkfs.ext4", "-q", "/dev/"+vg+"/thick")
	dir := t.TempDir()
	run(t, "mount", "/dev/"+vg+"/thick", dir)
	defer unix.Unmount(dir, 0)
	for what, cfg := range map[string]Config{
		"no volume":             {Root: t.TempDir()},
		"not thin":              {Root: dir},
		"no such group":         {Root: "/", BERoot: "missing/pool"},
		"no such pool":          {Root: "/", BERoot: vg + "/missing"},
		"not a pool":            {Root: "/", BERoot: vg + "/thick"},
		"an option":             {Root: "/", BERoot: "-a/-f"},
		"a name only":           {Root: "/", BERoot: vg},
		"a directory not there": {Root: filepath.Join(t.TempDir(), "missing")},
	} {
		_, err := Open(bg, cfg)
		if k := be.KindOf(err); k != be.NoStore && k != be.Usage {
			t.Errorf("%s: %v (kind %d)", what, err, k)
		}
	}
}
