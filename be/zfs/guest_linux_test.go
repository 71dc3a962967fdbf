package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/storetest"
)

// The tests in this file need a kernel with ZFS. They are run where there is
// one, in a virtual machine, by this package's test binary:
//
//	BEADM_ZFS_POOL=scratch ./zfs.test
//
// with the name of a pool that does not exist; it is made on a file in
// TMPDIR and destroyed.
func needPool(t *testing.T) string {
	t.Helper()
	pool := os.Getenv("BEADM_ZFS_POOL")
	if pool == "" {
		t.Skip("NOT RUN: BEADM_ZFS_POOL does not name a pool to make; make test-vm runs this on real ZFS")
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: making a pool takes root")
	}
	if exec.Command("zpool", "list", pool).Run() != nil {
		img := filepath.Join(os.TempDir(), pool+".img")
		f, err := os.Create(img)
		if err == nil {
			err = f.Truncate(512 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		run(t, "zpool", "create", "-o", "ashift=12", "-O", "mountpoint=none", "-O", "compression=lz4", "-O", "acltype=posixacl", "-O", "xattr=sa", pool, img)
		poolMade = func() {
			exec.Command("zpool", "destroy", "-f", pool).Run()
			os.Remove(img)
		}
	}
	return pool
}

var poolMade = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	poolMade()
	os.Exit(code)
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

var envs int

// newEnv is a system as the ZFS guides lay it out: a root, a dataset that only
// holds others, one inside another, one with a mount point of its own.
func newEnv(t *testing.T) *storetest.Env {
	pool := needPool(t)
	envs++
	box := fmt.Sprintf("%s/box%d", pool, envs)
	beroot := box + "/ROOT"
	top := beroot + "/default"
	root := t.TempDir()
	t.Cleanup(func() {
		list, _ := mountsBelow(root)
		for range list {
			unix.Unmount(root, unix.MNT_DETACH)
		}
		if !t.Failed() {
			run(t, "zfs", "destroy", "-R", box)
		}
	})
	run(t, "zfs", "create", box)
	run(t, "zfs", "create", "-o", "canmount=off", beroot)
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/", top)
	run(t, "zfs", "create", "-o", "canmount=off", top+"/var")
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "atime=off", top+"/var/lib")
	run(t, "zfs", "create", "-u", top+"/var/lib/deep")
	run(t, "zfs", "create", "-u", "-o", "setuid=off", top+"/srv")
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/opt/data", top+"/data")
	run(t, "mount", "-t", "zfs", "-o", "zfsutil", top, root)
	places := []struct{ ds, path string }{{"var/lib", "var/lib"}, {"srv", "srv"}, {"data", "opt/data"}, {"var/lib/deep", "var/lib/deep"}}
	for _, p := range places {
		if err := os.MkdirAll(filepath.Join(root, p.path), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "mount", "-t", "zfs", "-o", "zfsutil", top+"/"+p.ds, filepath.Join(root, p.path))
	}
	e := &storetest.Env{
		Open: func(t *testing.T) be.Store { return openStore(t, Config{Root: root}) },
		OpenAt: func(t *testing.T, location string) be.Store {
			return openStore(t, Config{Root: root, BERoot: location})
		},
		Root:        root,
		Running:     "default",
		MountSource: pool + "/",
		Intercept:   func(s be.Store, f func(when, what string) error) { s.(*Store).effect = f },
	}
	e.Used = func(t *testing.T) int64 {
		n, err := strconv.ParseInt(run(t, "zfs", "get", "-Hp", "-o", "value", "used", box), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	e.Elsewhere = func(t *testing.T) string {
		dir := t.TempDir()
		run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/var/log", box+"/log")
		run(t, "mount", "-t", "zfs", "-o", "zfsutil", box+"/log", dir)
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		return dir
	}
	e.Beside = func(t *testing.T, far bool) be.Store {
		top := box + "/beside"
		if far {
			top = pool + "far"
			file := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, 128<<20); err != nil {
				t.Fatal(err)
			}
			run(t, "zpool", "create", "-O", "canmount=off", top, file)
			t.Cleanup(func() { run(t, "zpool", "destroy", top) })
		} else {
			run(t, "zfs", "create", "-o", "canmount=off", top)
		}
		run(t, "zfs", "create", "-o", "canmount=off", top+"/ROOT")
		return openStore(t, Config{Root: t.TempDir(), BERoot: top + "/ROOT"})
	}
	dataset := func(name, path string) string {
		for _, p := range places {
			if p.path == path {
				return beroot + "/" + name + "/" + p.ds
			}
		}
		return beroot + "/" + name
	}
	for _, p := range places {
		e.Subordinates = append(e.Subordinates, p.path)
	}
	e.SetMark = func(t *testing.T, name, path, value string) {
		run(t, "zfs", "set", "com.example:mark="+value, "quota=100M", dataset(name, path))
	}
	e.Mark = func(t *testing.T, name, path string) string {
		out := run(t, "zfs", "get", "-Hp", "-o", "value,source", "com.example:mark,quota", dataset(name, path))
		return strings.TrimSuffix(strings.Replace(out, "\tlocal\n104857600\tlocal", "", 1), "\n")
	}
	return e
}

var bootImage string // the disk of the last newBootEnv

// newBootEnv is newEnv where /boot is in another pool, and called otherwise.
func newBootEnv(t *testing.T) *storetest.Env {
	e := newEnv(t)
	pool := needPool(t) + "boot"
	img := filepath.Join(t.TempDir(), "boot.img")
	bootImage = img
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 96<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "zpool", "create", "-o", "ashift=12", "-O", "canmount=off", "-O", "mountpoint=none", pool, img)
	t.Cleanup(func() {
		unix.Unmount(filepath.Join(e.Root, "boot"), unix.MNT_DETACH)
		run(t, "zpool", "destroy", "-f", pool)
	})
	holder := pool + "/BOOT"
	run(t, "zfs", "create", "-o", "canmount=off", "-o", "mountpoint=none", holder)
	run(t, "zfs", "create", "-u", "-o", "mountpoint=/boot", holder+"/first")
	if err := os.MkdirAll(filepath.Join(e.Root, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "zfs", "-o", "zfsutil", holder+"/first", filepath.Join(e.Root, "boot"))
	s := openStore(t, Config{Root: e.Root})
	if _, err := s.Adopt(context.Background(), e.Running); err != nil {
		t.Fatal(err)
	}
	boot := func(name string) string {
		if name == e.Running {
			name = "first"
		}
		return holder + "/" + name
	}
	e.Subordinates = append(e.Subordinates, "boot")
	e.MountSource = needPool(t)
	used, setMark, mark := e.Used, e.SetMark, e.Mark
	e.Used = func(t *testing.T) int64 {
		n, err := strconv.ParseInt(run(t, "zfs", "get", "-Hp", "-o", "value", "used", holder), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return used(t) + n
	}
	e.SetMark = func(t *testing.T, name, path, value string) {
		if path != "boot" {
			setMark(t, name, path, value)
			return
		}
		run(t, "zfs", "set", "com.example:mark="+value, boot(name))
	}
	e.Mark = func(t *testing.T, name, path string) string {
		if path != "boot" {
			return mark(t, name, path)
		}
		return run(t, "zfs", "get", "-Hp", "-o", "value", "com.example:mark", boot(name))
	}
	return e
}

// TestBootPool: what a user sees of a /boot in another pool.
func TestBootPool(t *testing.T) {
	e := newBootEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	holder := s.pool + "boot/BOOT"
	prop := func(prop, ds string) string { return run(t, "zfs", "get", "-Ho", "value", prop, ds) }
	b, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto"})
	must(err)
	for _, ds := range []string{"first", "new"} {
		if got := prop("canmount", holder+"/"+ds) + " " + prop(propIgnore, holder+"/"+ds); got != "noauto on" {
			t.Errorf("%s is mounted by others: %s", ds, got)
		}
	}
	if got := prop(propOf, holder+"/new"); got != string(b.UUID) {
		t.Errorf("it is the /boot of %s", got)
	}
	ref, err := s.RootRef(ctx, "new")
	must(err)
	if !strings.Contains(strings.Join(ref.Needs, ","), be.NeedsBootPool) {
		t.Errorf("a loader is not told: %v", ref.Needs)
	}

	// The second half of a rename is still to come: it is whole, and repeating ends it.
	run(t, "zfs", "rename", "-u", s.dataset("new"), s.dataset("other"))
	must(os.WriteFile(filepath.Join(e.Root, "boot/kernel"), []byte("later"), 0o600))
	dir := t.TempDir()
	must(s.Mount(ctx, "other", dir, false))
	if at, err := datasetAt(filepath.Join(dir, "boot")); at != holder+"/new" || err != nil {
		t.Errorf("on /boot is %q, %v", at, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "boot/kernel")); err == nil {
		t.Error("it has the other one's /boot")
	}
	must(openStore(t, s.cfg).Unmount(ctx, "other", false))
	if _, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto2"}); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "other") {
		t.Errorf("another of the name that its /boot still has: %v", err)
	}
	must(s.Rename(ctx, "other", "other"))
	if run(t, "zfs", "list", "-Ho", "name", holder+"/other") == "" {
		t.Error("repeating the rename does not end it")
	}

	// In a stream it would be missing.
	_, err = s.Snapshot(ctx, "other", "s")
	must(err)
	if err := s.Export(ctx, "other", "s", be.About{}, io.Discard); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "/boot") {
		t.Errorf("Export: %v", err)
	}

	// Without the pool nothing is changed that concerns it, and all is listed.
	run(t, "umount", filepath.Join(e.Root, "boot"))
	run(t, "zpool", "export", s.pool+"boot")
	away := openStore(t, s.cfg)
	list, err := away.List(ctx)
	must(err)
	if len(list) != 2 {
		t.Errorf("listed are %+v", list)
	}
	for what, err := range map[string]error{
		"Mount":   away.Mount(ctx, "other", dir, false),
		"Rename":  away.Rename(ctx, "other", "third"),
		"Destroy": func() error { _, err := away.Destroy(ctx, "other", false); return err }(),
		"Create": func() error {
			_, err := away.Create(ctx, be.CreateOptions{Name: "more", From: "default", AutoSnapshot: "more"})
			return err
		}(),
	} {
		if be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "import the pool") {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(away.Mount(ctx, "other", dir, true)) // a boot looks into what ran last
	must(away.Unmount(ctx, "other", false))
	// Half a snapshot goes, and one is made that has no other half.
	must(away.DestroySnapshot(ctx, "other", "s"))
	_, err = away.Snapshot(ctx, "other", "s")
	must(err)
	must(away.CompleteMounts(ctx, "default", e.Root))
	if pool, mounted := away.BootPool(); pool != s.pool+"boot" || mounted {
		t.Errorf("BootPool is %q %v", pool, mounted)
	}
	run(t, "zpool", "import", "-N", "-d", filepath.Dir(bootImage), s.pool+"boot")
	must(away.CompleteMounts(ctx, "default", e.Root))
	if at, err := datasetAt(filepath.Join(e.Root, "boot")); at != holder+"/first" || err != nil {
		t.Errorf("on /boot is %q, %v", at, err)
	}
	if pool, mounted := away.BootPool(); pool != s.pool+"boot" || !mounted {
		t.Errorf("BootPool is %q %v", pool, mounted)
	}
	again := openStore(t, s.cfg)
	if _, err := again.Create(ctx, be.CreateOptions{Name: "more", From: "other", Snapshot: "s"}); be.KindOf(err) != be.NotFound || !strings.Contains(err.Error(), "no /boot") {
		t.Errorf("from a snapshot that has no /boot: %v", err)
	}
	if _, err := again.Create(ctx, be.CreateOptions{Name: "more", From: "default", AutoSnapshot: "more"}); err != nil {
		t.Error(err)
	}
	if left := run(t, "zfs", "list", "-Hr", "-t", "snapshot", "-o", "name", holder+"/other"); strings.Contains(left, "@s") {
		t.Errorf("half a snapshot is left: %s", left)
	}

	// That on /boot of what runs is another one's is said, and no kernel goes there unseen.
	run(t, "umount", filepath.Join(e.Root, "boot"))
	run(t, "mount", "-t", "zfs", "-o", "zfsutil", holder+"/other", filepath.Join(e.Root, "boot"))
	list2, err := again.Inspect(ctx)
	must(err)
	if !slices.ContainsFunc(list2, func(f be.Finding) bool { return f.ID == "bootpool" && strings.Contains(f.Text, holder+"/other") }) {
		t.Errorf("the doctor says nothing of another one's /boot: %+v", list2)
	}
	run(t, "umount", filepath.Join(e.Root, "boot"))
}

// A store without such a pool asks what it asked before.
func TestNoBootPoolAsksNothing(t *testing.T) {
	e := newEnv(t)
	ctx := context.Background()
	log := &commands{}
	s := openStore(t, Config{Root: e.Root, Logger: log})
	if _, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, op := range []struct {
		what string
		do   func() error
		want int
	}{
		{"List", func() error { _, err := s.List(ctx); return err }, 1},
		{"Mount", func() error { return s.Mount(ctx, "new", dir, true) }, 1},
		{"Unmount", func() error { return s.Unmount(ctx, "new", false) }, 0},
		{"CompleteMounts", func() error { return s.CompleteMounts(ctx, "default", e.Root) }, 1},
		{"Rename", func() error { return s.Rename(ctx, "new", "other") }, 2},
		{"Snapshot", func() error { _, err := s.Snapshot(ctx, "other", "s"); return err }, 3},
		{"Destroy", func() error { _, err := s.Destroy(ctx, "other", false); return err }, 5},
	} {
		log.lines = nil
		if err := op.do(); err != nil {
			t.Fatalf("%s: %v", op.what, err)
		}
		n := 0
		for _, line := range log.lines {
			if strings.HasPrefix(line, "zfs ") || strings.HasPrefix(line, "zpool ") || strings.Contains(line, "/zfs ") {
				n++
			}
		}
		if n != op.want {
			t.Errorf("%s started %d programs, not %d: %q", op.what, n, op.want, log.lines)
		}
	}
}

// TestBootPoolContract is the contract where each boot environment has a /boot in
// another pool. A stream of it is refused, and so is a clone for another store.
func TestBootPoolContract(t *testing.T) {
	needPool(t)
	storetest.Run(t, storetest.Fixture{New: newBootEnv, Without: []string{"Streams", "CloneOfAnother"}})
}

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func TestContract(t *testing.T) {
	needPool(t)
	storetest.Run(t, storetest.Fixture{New: newEnv})
}

// TestNothingMountsItself: what Create makes is mounted by nobody who does
// not name it, and keeps what the source had.
func TestNothingMountsItself(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	if _, err := s.Adopt(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto", Properties: []string{"atime=on"}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"default", "new"} {
		want := map[string]string{"": "noauto", "/var": "off", "/var/lib": "noauto", "/var/lib/deep": "noauto", "/srv": "noauto", "/data": "noauto"}
		for _, line := range strings.Split(run(t, "zfs", "list", "-Hr", "-o", "name,canmount", s.dataset(name)), "\n") {
			ds, canmount, _ := strings.Cut(line, "\t")
			if rel := strings.TrimPrefix(ds, s.dataset(name)); want[rel] != canmount {
				t.Errorf("%s has canmount=%s, want %s", ds, canmount, want[rel])
			}
		}
	}
	for prop, want := range map[string]string{"mountpoint": "/", "atime": "on"} {
		if got := run(t, "zfs", "get", "-Ho", "value,source", prop, s.dataset("new")); got != want+"\tlocal" {
			t.Errorf("%s of the clone is %s, want %s, local", prop, got, want)
		}
	}
	if got := run(t, "zfs", "get", "-Ho", "value,source", "mountpoint", s.dataset("new")+"/data"); got != "/opt/data\tlocal" {
		t.Errorf("the mount point of data in the clone is %s", got)
	}
	if got := run(t, "zfs", "get", "-Ho", "value,source", "mountpoint", s.dataset("new")+"/srv"); !strings.HasPrefix(got, "/srv\tinherited") {
		t.Errorf("the mount point of srv in the clone is %s", got)
	}
	dir := t.TempDir()
	if err := s.Mount(ctx, "new", dir, false); err != nil {
		t.Fatal(err)
	}
	options := run(t, "findmnt", "-no", "OPTIONS", filepath.Join(dir, "srv"))
	if !strings.Contains(options, "nosuid") {
		t.Errorf("srv has setuid=off and is mounted %s", options)
	}
	if err := s.Unmount(ctx, "new", false); err != nil {
		t.Fatal(err)
	}
}

// TestForeignUUID: a UUID that came from somewhere else is not one's own.
func TestForeignUUID(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	b, err := s.Adopt(ctx, "default")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "zfs", "set", propUUID+"=11111111-2222-3333-4444-555555555555", s.root)
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/", s.root+"/inherits")
	run(t, "zfs", "snapshot", s.dataset("default")+"@send")
	run(t, "sh", "-c", fmt.Sprintf("zfs send -p %s@send | zfs receive -u %s/received", s.dataset("default"), s.root))
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", propUUID+"=no-uuid", "-o", "mountpoint=/", s.root+"/broken")
	list, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		want := be.UUID("")
		if l.Name == "default" {
			want = b.UUID
		}
		if l.UUID != want {
			t.Errorf("%s is listed with UUID %q, want %q", l.Name, l.UUID, want)
		}
	}
	for _, name := range []string{"inherits", "received", "broken"} {
		got, err := s.Adopt(ctx, name)
		if err != nil || got.UUID == "" || got.UUID == b.UUID {
			t.Errorf("Adopt(%s): %+v, %v", name, got, err)
		}
	}
}

// TestVolumeInside: a zvol is the user's, whatever holds it.
func TestVolumeInside(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	run(t, "zfs", "create", "-s", "-V", "8M", s.dataset("default")+"/swap")
	if _, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto"}); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "zfs", "list", "-Hr", "-t", "volume", "-o", "name", s.dataset("new")); out != "" {
		t.Errorf("the volume was cloned: %s", out)
	}
	run(t, "zfs", "create", "-s", "-V", "8M", s.dataset("new")+"/mine")
	if _, err := s.Destroy(ctx, "new", false); be.KindOf(err) != be.InUse {
		t.Errorf("Destroy of one with a volume in it: %v", err)
	}
	if got, err := s.List(ctx); err != nil || len(got) != 2 || got[1].Incomplete {
		t.Errorf("the refusal left %+v, %v", got, err)
	}
}

// TestSameSnapshotName: promoting moves snapshots to where one of the same
// name may be.
func TestSameSnapshotName(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Create(ctx, be.CreateOptions{Name: "a", From: "default", AutoSnapshot: "auto-a"})
	must(err)
	_, err = s.Snapshot(ctx, "a", "daily")
	must(err)
	_, err = s.Create(ctx, be.CreateOptions{Name: "b", From: "a", Snapshot: "daily"})
	must(err)
	_, err = s.Snapshot(ctx, "b", "daily")
	must(err)
	_, err = s.Destroy(ctx, "a", false)
	must(err)
	list, err := s.Snapshots(ctx, "b")
	must(err)
	found := false
	for _, sn := range list {
		found = found || sn.Name == "daily"
	}
	if !found {
		t.Errorf("its own snapshot is gone: %+v", list)
	}
	if _, err := s.Destroy(ctx, "b", false); err != nil {
		t.Error(err)
	}
}

// TestHeld: a hold is somebody's word that the snapshot is needed.
func TestHeld(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	if _, err := s.Create(ctx, be.CreateOptions{Name: "a", From: "default", AutoSnapshot: "auto"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(ctx, "a", "kept"); err != nil {
		t.Fatal(err)
	}
	run(t, "zfs", "hold", "me", s.dataset("a")+"@kept")
	if _, err := s.Destroy(ctx, "a", false); be.KindOf(err) != be.InUse {
		t.Errorf("Destroy of one with a held snapshot: %v", err)
	}
	run(t, "zfs", "release", "me", s.dataset("a")+"@kept")
	if _, err := s.Destroy(ctx, "a", false); err != nil {
		t.Error(err)
	}
}

// TestFull: a pool without space fails the operation and leaves nothing.
func TestFull(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	run(t, "zfs", "set", "quota=1M", s.root)
	f, err := os.Create(filepath.Join(e.Root, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, 1<<16)
	for i := range junk {
		junk[i] = byte(i * i >> 3)
	}
	for range 64 {
		if _, err := f.Write(junk); err != nil {
			break
		}
		f.Sync()
	}
	f.Close()
	_, err = s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto", Properties: []string{"reservation=100M"}})
	if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "full") {
		t.Errorf("Create without space: %v (kind %d)", err, be.KindOf(err))
	}
	if list, err := s.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("left are %+v, %v", list, err)
	}
	if list, err := s.Snapshots(ctx, "default"); err != nil || len(list) != 0 {
		t.Errorf("left are the snapshots %+v, %v", list, err)
	}
}

// TestNoStore: where no dataset of the right kind is mounted, the error says
// what to give.
func TestNoStore(t *testing.T) {
	pool := needPool(t)
	ctx := context.Background()
	for what, cfg := range map[string]Config{
		"not ZFS":               {Root: t.TempDir()},
		"a dataset not there":   {Root: "/", BERoot: pool + "/missing"},
		"not a dataset's name":  {Root: "/", BERoot: "-r"},
		"a pool that is not":    {Root: "/", BERoot: "nopool/ROOT"},
		"a directory not there": {Root: filepath.Join(t.TempDir(), "missing")},
	} {
		_, err := Open(ctx, cfg)
		if k := be.KindOf(err); k != be.NoStore && k != be.Usage {
			t.Errorf("%s: %v (kind %d)", what, err, k)
		}
	}
	// Everybody's jails beside each other are not boot environments.
	dir := t.TempDir()
	run(t, "zfs", "create", "-o", "mountpoint="+dir, pool+"/jails")
	run(t, "zfs", "create", pool+"/jails/web1")
	run(t, "zfs", "create", pool+"/jails/web2")
	defer run(t, "zfs", "destroy", "-r", pool+"/jails")
	if _, err := Open(ctx, Config{Root: dir + "/web1"}); be.KindOf(err) != be.NoStore {
		t.Errorf("a jail beside others: %v", err)
	}
}

// TestAltroot: in a rescue system the mount points of a clone are those that
// the system itself will see.
func TestAltroot(t *testing.T) {
	needPool(t)
	ctx := context.Background()
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 80<<20); err != nil {
		t.Fatal(err)
	}
	alt := t.TempDir()
	run(t, "zpool", "create", "-R", alt, "-O", "mountpoint=none", "rescued", img)
	defer run(t, "zpool", "destroy", "rescued")
	run(t, "zfs", "create", "-o", "canmount=off", "rescued/ROOT")
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/", "rescued/ROOT/a")
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/opt/data", "rescued/ROOT/a/data")
	s := openStore(t, Config{Root: t.TempDir(), BERoot: "rescued/ROOT"})
	if _, err := s.Create(ctx, be.CreateOptions{Name: "b", From: "a", AutoSnapshot: "auto"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.Mount(ctx, "b", dir, false); err != nil {
		t.Fatal(err)
	}
	if at, err := datasetAt(dir + "/opt/data"); at != "rescued/ROOT/b/data" {
		t.Errorf("at /opt/data is %q, %v", at, err)
	}
	if err := s.Unmount(ctx, "b", false); err != nil {
		t.Fatal(err)
	}
	run(t, "zpool", "export", "rescued")
	run(t, "zpool", "import", "-N", "-d", filepath.Dir(img), "rescued")
	if got := run(t, "zfs", "list", "-Hr", "-o", "name,mountpoint", "rescued/ROOT/b"); got != "rescued/ROOT/b\t/\nrescued/ROOT/b/data\t/opt/data" {
		t.Errorf("mount points are\n%s", got)
	}
}

// TestBusyElsewhere: one that is in use where it cannot be seen stays whole.
func TestBusyElsewhere(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	if _, err := s.Create(ctx, be.CreateOptions{Name: "new", From: "default", AutoSnapshot: "auto"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	holder := exec.Command("unshare", "-m", "sh", "-c", fmt.Sprintf("mount -t zfs -o zfsutil %s %s && echo ready && read x", s.dataset("new"), dir))
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 6))
	if _, err := s.Destroy(ctx, "new", false); be.KindOf(err) != be.InUse {
		t.Errorf("Destroy of one in use: %v (kind %d)", err, be.KindOf(err))
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("left are %+v, %v", list, err)
	}
	t.Logf("left: %+v", list[1])
	in.Close()
	holder.Wait()
	if _, err := s.Destroy(ctx, "new", false); err != nil {
		t.Error(err)
	}
}

// TestRunningSystem looks at the machine that it runs on, if its root is ZFS:
// what the first process of a boot needs is one command.
func TestRunningSystem(t *testing.T) {
	needPool(t)
	ds, err := datasetAt("/")
	if err != nil {
		t.Fatal(err)
	}
	if ds == "" {
		t.Skip("NOT RUN: the root of this machine is not on ZFS")
	}
	ctx := context.Background()
	log := &commands{}
	s := openStore(t, Config{Logger: log})
	if s.Location() != parent(ds) {
		t.Errorf("%s is mounted at /, the store is %s", ds, s.Location())
	}
	was, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CompleteMounts(ctx, filepath.Base(ds), "/"); err != nil {
		t.Error(err)
	}
	if len(log.lines) > 1 {
		t.Errorf("finding the store and completing its mounts took %q", log.lines)
	}
	now, err := readMounts()
	if err != nil || fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("with all mounted, the mounts became %v (%v), from %v", now, err, was)
	}
	list, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.Running != (b.Location == ds) || b.Running && b.Mountpoint != "/" {
			t.Errorf("listed is %+v", b)
		}
	}
	ref, err := s.RootRef(ctx, filepath.Base(ds))
	if err != nil || ref.Args[0] != "root=ZFS="+ds || !strings.HasSuffix(ref.Prefix, "/"+filepath.Base(ds)+"@") {
		t.Errorf("RootRef is %+v, %v", ref, err)
	}
	if err := s.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// commands keeps what is logged.
type commands struct {
	sync.Mutex
	lines []string
}

func (c *commands) Debugf(format string, args ...any) {
	c.Lock()
	defer c.Unlock()
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// What is mounted for others to run is read-only until it is opened, where it is
// mounted.
func TestReadOnlyWhereItRuns(t *testing.T) {
	e := newEnv(t)
	s := e.Open(t).(*Store)
	ctx := context.Background()
	if _, err := s.Create(ctx, be.CreateOptions{Name: "ro", From: "default", AutoSnapshot: "auto", Properties: []string{"readonly=on"}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.Unseal(ctx, "ro"); err != nil { // as a cut leaves it
		t.Fatal(err)
	}
	if err := s.Attach(ctx, "ro", dir); err != nil {
		t.Fatal(err)
	}
	defer s.UnmountDir(ctx, dir)
	for _, step := range []struct {
		do   func() error
		want error
	}{
		{func() error { return nil }, unix.EROFS},
		{func() error { return s.Unseal(ctx, "ro") }, nil},
		{func() error { return s.Seal(ctx, "ro") }, unix.EROFS},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"file", "srv/file"} {
			if err := os.WriteFile(filepath.Join(dir, place), []byte("text"), 0o600); !errors.Is(err, step.want) {
				t.Errorf("writing to %s: %v, want %v", place, err, step.want)
			}
		}
	}
}
