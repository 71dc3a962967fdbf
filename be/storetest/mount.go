package storetest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/be"
)

func testMount(t *testing.T, e *Env) {
	e.fill(t, e.Root, "text")
	create(t, e.store, "one", e.Running)
	table := e.mountTable(t)
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "one", dir, false))
	if got := get(t, e.store, "one").Mountpoint; got != dir {
		t.Errorf("mounted at %s, listed as mounted at %q", dir, got)
	}
	e.wantFilled(t, dir, "text")
	wantKind(t, "Mount of a mounted one", e.store.Mount(bg(), "one", t.TempDir(), false), be.InUse)
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))
	must(t, "Unmount again", e.store.Unmount(bg(), "one", false))
	if got := get(t, e.store, "one").Mountpoint; got != "" {
		t.Errorf("unmounted, listed as mounted at %q", got)
	}

	must(t, "Mount read-only", e.store.Mount(bg(), "one", dir, true))
	for _, p := range e.places() {
		if err := os.WriteFile(filepath.Join(dir, p, "new"), nil, 0o600); err == nil {
			t.Errorf("a read-only mount can be written at %q", p)
		}
	}
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))

	full := t.TempDir()
	write(t, filepath.Join(full, "file"), "")
	wantKind(t, "Mount on a directory with something in it", e.store.Mount(bg(), "one", full, false), be.InUse)
	if err := e.store.Mount(bg(), "one", filepath.Join(full, "missing"), false); err == nil {
		t.Error("Mount on a missing directory worked")
	}
	// What is mounted at a name that needs escaping is found again.
	odd := filepath.Join(t.TempDir(), `a b\c`)
	must(t, "Mkdir", os.Mkdir(odd, 0o700))
	must(t, "Mount", e.store.Mount(bg(), "one", odd, true))
	if got := get(t, e.store, "one").Mountpoint; got != odd {
		t.Errorf("mounted at %s, listed as mounted at %q", odd, got)
	}
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))
	if left := more(e.mountTable(t), table); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
	// The persistent mount properties are as they were: nothing appears where
	// the boot environment says its parts belong.
	if lost := more(table, e.mountTable(t)); len(lost) > 0 {
		t.Errorf("no longer mounted: %v", lost)
	}
}

func testMountBusy(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	table := e.mountTable(t)
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "one", dir, false))
	f, err := os.Create(filepath.Join(dir, "busy"))
	must(t, "Create file", err)
	defer f.Close()
	wantKind(t, "Unmount of a busy one", e.store.Unmount(bg(), "one", false), be.InUse)
	if got := get(t, e.store, "one").Mountpoint; got != dir {
		t.Errorf("a refused Unmount left it mounted at %q", got)
	}
	e.fill(t, dir, "whole") // its subordinates too
	must(t, "Unmount by force", e.store.Unmount(bg(), "one", true))
	f.Close()
	if left := more(e.mountTable(t), table); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
	with(t, e.store, "one", true, func(dir string) { e.wantFilled(t, dir, "whole") })
}

// testMountStaysInside puts a link where a subordinate is to be mounted.
func testMountStaysInside(t *testing.T, e *Env) {
	create(t, e.store, "trap", e.Running)
	outside := t.TempDir()
	for _, sub := range e.Subordinates {
		must(t, "Mkdir", os.MkdirAll(filepath.Join(outside, sub), 0o755))
	}
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "trap", dir, false))
	tried := false
	for i := len(e.Subordinates) - 1; i >= 0; i-- {
		sub := filepath.Join(dir, e.Subordinates[i])
		if !e.isMountpoint(t, sub) {
			continue
		}
		must(t, "UnmountDir", e.store.UnmountDir(bg(), sub))
		must(t, "Remove", os.RemoveAll(sub))
		must(t, "Symlink", os.Symlink(filepath.Join(outside, e.Subordinates[i]), sub))
		tried = true
	}
	must(t, "Unmount", e.store.Unmount(bg(), "trap", false))
	if !tried {
		t.Skip("subordinates are not mounts of their own here")
	}
	table := e.mountTable(t)
	err := e.store.Mount(bg(), "trap", dir, false)
	for _, line := range more(e.mountTable(t), table) {
		if where, _, _ := strings.Cut(line, " "); where != dir && !strings.HasPrefix(where, dir+"/") {
			t.Errorf("mounted outside: %s", line)
		}
	}
	if err == nil {
		must(t, "Unmount", e.store.Unmount(bg(), "trap", false))
	}
	if left := more(e.mountTable(t), table); len(left) > 0 {
		t.Errorf("left mounted: %v (Mount said %v)", left, err)
	}
}

func (e *Env) isMountpoint(t *testing.T, dir string) bool {
	for _, line := range e.mountTable(t) {
		if strings.HasPrefix(line, dir+" ") {
			return true
		}
	}
	return false
}

func testCompleteMounts(t *testing.T, e *Env) {
	e.fill(t, e.Root, "text")
	create(t, e.store, "one", e.Running)
	dir := t.TempDir()
	must(t, "Mount", e.store.Mount(bg(), "one", dir, false))
	whole := e.mountTable(t)
	// As after an initramfs that mounts less and less of it.
	for i := len(e.Subordinates); i >= 0; i-- {
		for _, sub := range e.Subordinates[i:] {
			if e.isMountpoint(t, filepath.Join(dir, sub)) {
				must(t, "UnmountDir", e.store.UnmountDir(bg(), filepath.Join(dir, sub)))
			}
		}
		must(t, "CompleteMounts", e.store.CompleteMounts(bg(), "one", dir))
		e.wantFilled(t, dir, "text")
		now := e.mountTable(t)
		if a, b := more(now, whole), more(whole, now); len(a)+len(b) > 0 {
			t.Errorf("too many mounts: %v; missing: %v", a, b)
		}
	}
	must(t, "Unmount", e.store.Unmount(bg(), "one", false))
	// The running one, whose root is the target's.
	must(t, "CompleteMounts of the running one", e.store.CompleteMounts(bg(), e.Running, e.Root))
	e.wantFilled(t, e.Root, "text")
	wantKind(t, "CompleteMounts of a missing one", e.store.CompleteMounts(bg(), "missing", dir), be.NotFound)
}

func testSnapshots(t *testing.T, e *Env) {
	if !e.store.Caps().Snapshots {
		t.Skip("a store without snapshots")
	}
	e.fill(t, e.Root, "first")
	one, err := e.store.Snapshot(bg(), e.Running, "s1")
	must(t, "Snapshot", err)
	e.fill(t, e.Root, "second")
	two, err := e.store.Snapshot(bg(), e.Running, "s2:with.all_of-it")
	must(t, "Snapshot", err)
	_, err = e.store.Snapshot(bg(), e.Running, "s1")
	wantKind(t, "Snapshot of an existing name", err, be.InUse)
	if one.GUID == "" || one.GUID == two.GUID || one.Name != "s1" || one.BE != e.Running || one.Created.IsZero() {
		t.Errorf("Snapshot returned %+v, then %+v", one, two)
	}
	list := snapshots(t, e.Open(t), e.Running)
	if len(list) != 2 || list[0].Name != "s1" || list[1].Name != two.Name || list[0].GUID != one.GUID {
		t.Errorf("listed are %+v", list)
	}
	e.fill(t, e.Root, "third")
	withSnapshot(t, e.store, e.Running, "s1", func(dir string) {
		e.wantFilled(t, dir, "first")
		for _, p := range e.places() {
			if err := os.WriteFile(filepath.Join(dir, p, "new"), nil, 0o600); err == nil {
				t.Errorf("a snapshot can be written at %q", p)
			}
		}
		// The other at the same time.
		withSnapshot(t, e.store, e.Running, two.Name, func(dir string) { e.wantFilled(t, dir, "second") })
	})
	e.wantFilled(t, e.Root, "third")

	must(t, "DestroySnapshot", e.store.DestroySnapshot(bg(), e.Running, "s1"))
	wantKind(t, "DestroySnapshot again", e.store.DestroySnapshot(bg(), e.Running, "s1"), be.NotFound)
	// One that a clone came of either stays or goes without harm.
	_, err = e.store.Create(bg(), be.CreateOptions{Name: "clone", UUID: be.NewUUID(), From: e.Running, Snapshot: two.Name})
	must(t, "Create", err)
	if err := e.store.DestroySnapshot(bg(), e.Running, two.Name); err != nil {
		wantKind(t, "DestroySnapshot of an origin", err, be.InUse)
	}
	with(t, e.store, "clone", true, func(dir string) { e.wantFilled(t, dir, "second") })

	// A boot environment goes with its snapshots.
	_, err = e.store.Snapshot(bg(), "clone", "own")
	must(t, "Snapshot", err)
	_, err = e.store.Destroy(bg(), "clone", false)
	must(t, "Destroy of one with a snapshot", err)
	create(t, e.store, "clone", e.Running)
	if list := snapshots(t, e.store, "clone"); len(list) != 0 {
		t.Errorf("a new one of that name has the snapshots %+v", list)
	}
}

func testVolumes(t *testing.T, e *Env) {
	s := e.store
	for _, v := range []be.Volume{be.StateVolume, be.ShareVolume} {
		t.Run(string(v), func(t *testing.T) {
			there, err := s.VolumeExists(bg(), v)
			must(t, "VolumeExists", err)
			if there {
				t.Fatal("it is there before it was made")
			}
			dir := t.TempDir()
			wantKind(t, "MountVolume of a missing one", s.MountVolume(bg(), v, dir), be.NotFound)
			must(t, "DestroyVolume of a missing one", s.DestroyVolume(bg(), v))
			must(t, "CreateVolume", s.CreateVolume(bg(), v))
			must(t, "CreateVolume again", s.CreateVolume(bg(), v))
			there, err = e.Open(t).VolumeExists(bg(), v)
			must(t, "VolumeExists", err)
			if !there {
				t.Fatal("made, it does not exist")
			}
			must(t, "MountVolume", s.MountVolume(bg(), v, dir))
			table := e.mountTable(t)
			must(t, "MountVolume again", e.Open(t).MountVolume(bg(), v, dir))
			if again := more(e.mountTable(t), table); len(again) > 0 {
				t.Errorf("it was mounted a second time: %v", again)
			}
			info, err := os.Stat(dir)
			must(t, "Stat", err)
			want := os.FileMode(0o755)
			if v == be.StateVolume {
				want = 0o700
			}
			if info.Mode().Perm() != want {
				t.Errorf("its mode is %v, want %v", info.Mode().Perm(), want)
			}
			write(t, filepath.Join(dir, "file"), "first")
			if got := names(t, s); len(got) != 1 {
				t.Errorf("it is listed among the boot environments: %v", got)
			}
			wantKind(t, "DestroyVolume of a mounted one", s.DestroyVolume(bg(), v), be.InUse)
			if s.Caps().Snapshots {
				sn, err := s.SnapshotVolume(bg(), v, "s1")
				must(t, "SnapshotVolume", err)
				if sn.Name != "s1" || sn.BE != "" || sn.GUID == "" {
					t.Errorf("SnapshotVolume returned %+v", sn)
				}
				_, err = s.SnapshotVolume(bg(), v, "s1")
				wantKind(t, "SnapshotVolume of an existing name", err, be.InUse)
				write(t, filepath.Join(dir, "file"), "second")
				list, err := s.VolumeSnapshots(bg(), v)
				must(t, "VolumeSnapshots", err)
				if len(list) != 1 || list[0].Name != "s1" {
					t.Errorf("its snapshots are %+v", list)
				}
				at := t.TempDir()
				must(t, "MountVolumeSnapshot", s.MountVolumeSnapshot(bg(), v, "s1", at))
				wantFile(t, filepath.Join(at, "file"), "first")
				wantFile(t, filepath.Join(dir, "file"), "second")
				must(t, "UnmountDir", s.UnmountDir(bg(), at))
				wantKind(t, "MountVolumeSnapshot of a missing one", s.MountVolumeSnapshot(bg(), v, "missing", at), be.NotFound)
				_, err = s.SnapshotVolume(bg(), v, "s2")
				must(t, "SnapshotVolume", err)
				must(t, "DestroyVolumeSnapshot", s.DestroyVolumeSnapshot(bg(), v, "s2"))
				wantKind(t, "DestroyVolumeSnapshot again", s.DestroyVolumeSnapshot(bg(), v, "s2"), be.NotFound)
			}
			must(t, "UnmountDir", s.UnmountDir(bg(), dir))
			must(t, "UnmountDir again", s.UnmountDir(bg(), dir))
			must(t, "DestroyVolume", s.DestroyVolume(bg(), v))
			there, err = s.VolumeExists(bg(), v)
			must(t, "VolumeExists", err)
			if there {
				t.Error("destroyed, it exists")
			}
			if s.Caps().Snapshots {
				must(t, "CreateVolume anew", s.CreateVolume(bg(), v))
				list, err := s.VolumeSnapshots(bg(), v)
				must(t, "VolumeSnapshots", err)
				if len(list) != 0 {
					t.Errorf("a new one has the snapshots %+v", list)
				}
			}
		})
	}
}

// testElsewhere holds a store to be.MountSnapshotter.
func testElsewhere(t *testing.T, e *Env) {
	s, ok := e.store.(be.MountSnapshotter)
	if ok != (e.Elsewhere != nil) {
		t.Fatalf("the store snapshots what is mounted elsewhere: %v", ok)
	}
	if !ok {
		return
	}
	dir := e.Elsewhere(t)
	v, part, err := s.VolumeAt(bg(), dir)
	must(t, "VolumeAt", err)
	if v == "" || part {
		t.Fatalf("at %s is %q, of a boot environment: %v", dir, v, part)
	}
	sub := filepath.Join(dir, "sub")
	must(t, "Mkdir", os.Mkdir(sub, 0o755))
	for _, other := range []string{sub, t.TempDir()} {
		if v, part, err := s.VolumeAt(bg(), other); v != "" || part || err != nil {
			t.Errorf("at %s is %q %v %v", other, v, part, err)
		}
	}
	_, _, err = s.VolumeAt(bg(), filepath.Join(dir, "none"))
	wantKind(t, "VolumeAt of a missing directory", err, be.NotFound)
	for _, p := range e.Subordinates {
		v, part, err := s.VolumeAt(bg(), filepath.Join(e.Root, p))
		if must(t, "VolumeAt", err); v != "" && !part {
			t.Errorf("/%s of the boot environment is %q, of none", p, v)
		}
	}
	write(t, filepath.Join(dir, "file"), "first")
	_, err = e.store.SnapshotVolume(bg(), v, "s1")
	must(t, "SnapshotVolume", err)
	write(t, filepath.Join(dir, "file"), "second")
	// At a boot it is not mounted yet.
	must(t, "UnmountDir", e.store.UnmountDir(bg(), dir))
	store := e.Open(t)
	_, err = store.SnapshotVolume(bg(), v, "s2")
	must(t, "SnapshotVolume of what is not mounted", err)
	_, err = store.SnapshotVolume(bg(), v, "s2")
	wantKind(t, "SnapshotVolume of an existing name", err, be.InUse)
	list, err := store.VolumeSnapshots(bg(), v)
	must(t, "VolumeSnapshots", err)
	if len(list) != 2 || list[0].Name != "s1" || list[1].Name != "s2" {
		t.Errorf("its snapshots are %+v", list)
	}
	for snap, want := range map[string]string{"s1": "first", "s2": "second"} {
		at := t.TempDir()
		must(t, "MountVolumeSnapshot", store.MountVolumeSnapshot(bg(), v, snap, at))
		wantFile(t, filepath.Join(at, "file"), want)
		must(t, "UnmountDir", store.UnmountDir(bg(), at))
		must(t, "DestroyVolumeSnapshot", store.DestroyVolumeSnapshot(bg(), v, snap))
	}
	if list, err := store.VolumeSnapshots(bg(), v); len(list) != 0 || err != nil {
		t.Errorf("destroyed, its snapshots are %+v %v", list, err)
	}
	if got := names(t, store); len(got) != 1 {
		t.Errorf("it is listed among the boot environments: %v", got)
	}
}

func testRootRef(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	if !e.store.Caps().Hosts {
		t.Skip("not for hosts")
	}
	seen := map[string]bool{}
	for _, name := range []string{e.Running, "one"} {
		ref, err := e.store.RootRef(bg(), name)
		must(t, "RootRef", err)
		if ref.FS == "" || ref.Label == "" && ref.FSUUID == "" || !strings.HasPrefix(ref.Prefix, "/") || len(ref.Args) == 0 || !strings.HasPrefix(ref.Args[0], "root=") {
			t.Errorf("RootRef(%s) is %+v", name, ref)
		}
		// No loader looks for a directory on a thin volume.
		byPrefix := !slices.Contains(ref.Needs, "thin")
		if key := strings.Join(ref.Args, " "); seen[key] || byPrefix && seen[ref.Prefix] {
			t.Errorf("RootRef(%s) is another one's: %+v", name, ref)
		} else {
			seen[key], seen[ref.Prefix] = true, true
		}
		for _, arg := range ref.Args {
			if strings.ContainsAny(arg, " \t\n\"'") {
				t.Errorf("kernel argument %q needs quoting", arg)
			}
		}
	}
}

func testCancelled(t *testing.T, e *Env) {
	create(t, e.store, "one", e.Running)
	before := state(t, e.store)
	ctx, cancel := context.WithCancel(bg())
	cancel()
	if _, err := e.store.Create(ctx, be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "x"}); err == nil {
		t.Error("a cancelled Create worked")
	}
	if now := state(t, e.store); now != before {
		t.Errorf("a cancelled Create left\n%s\nbefore:\n%s", now, before)
	}
	if e.Intercept == nil {
		return
	}
	// In the middle: all of it, or nothing.
	for n := 1; n < 6; n++ {
		ctx, cancel := context.WithCancel(bg())
		s := e.Open(t)
		count := 0
		e.Intercept(s, func(when, what string) error {
			if count++; count == n {
				cancel()
			}
			return nil
		})
		_, err := s.Create(ctx, be.CreateOptions{Name: "two", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "x"})
		e.Intercept(s, nil)
		cancel()
		if err == nil {
			_, err := s.Destroy(bg(), "two", false)
			must(t, "Destroy", err)
		}
		if now := state(t, e.store); now != before {
			t.Errorf("a Create cancelled at its effect %d left\n%s\nbefore:\n%s", n, now, before)
		}
		closeStore(s)
	}
}
