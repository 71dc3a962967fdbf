package manifest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/synclist"
)

// onBtrfs is a subvolume of a real btrfs on a loop image.
func onBtrfs(t *testing.T) (top string, sh func(script string)) {
	t.Helper()
	dir := t.TempDir()
	sh = func(script string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", "cd "+dir+"; "+script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	sh("truncate -s 256M img; mkfs.btrfs -q img; mkdir mnt; mount -o loop img mnt; btrfs -q subvolume create mnt/be")
	t.Cleanup(func() { exec.Command("umount", filepath.Join(dir, "mnt")).Run() })
	return filepath.Join(dir, "mnt"), sh
}

// A file is not read again where inode and ctime say that nobody touched it,
// in a snapshot too; size and time alone say nothing.
func TestUnchangedIsNotReadAgain(t *testing.T) {
	top, sh := onBtrfs(t)
	for _, name := range []string{"kept", "rewritten", "replaced", "touched"} {
		if err := os.WriteFile(filepath.Join(top, "be", name), []byte("one\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := synclist.Parse("f", []byte("/*\n"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := OpenStore(filepath.Join(t.TempDir(), "sync"))
	if err != nil {
		t.Fatal(err)
	}
	uuid := be.NewUUID()
	take := func(dir string, uuid be.UUID, earlier *Manifest) *Manifest {
		t.Helper()
		root, err := rooted.Open(filepath.Join(top, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		taker := Taker{Store: store, Earlier: earlier}
		m, err := taker.Take(context.Background(), root, uuid, list)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := take("be", uuid, nil)
	one := first.Get("/kept").Hash
	// Whoever does not read a file has this of it.
	mark, err := store.PutBytes([]byte("not read"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range first.Entries {
		e.Hash = mark
	}
	want := func(m *Manifest, why, path string, read bool) {
		t.Helper()
		if got := m.Get(path).Hash != mark; got != read {
			t.Errorf("%s: %s read: %v", why, path, got)
		}
	}
	// Touched a moment before it was read, it may be touched within the same
	// tick of the clock after it.
	want(take("be", uuid, first), "just written", "/kept", true)
	first.Taken = first.Taken.Add(2 * time.Hour) // as if it had been read later

	sh(`btrfs -q subvolume snapshot -r mnt/be mnt/snap
cd mnt/be
touch -r kept ../../time
printf 'two\n' >rewritten; touch -r ../../time rewritten
printf 'two\n' >new; touch -r ../../time new; mv new replaced
chmod 600 touched; chmod 644 touched`)
	second := take("be", uuid, first)
	want(second, "as it was", "/kept", false)
	for _, path := range []string{"/rewritten", "/replaced"} {
		want(second, "same size, same time", path, true)
		if h := second.Get(path).Hash; h == one {
			t.Errorf("%s: the change is not seen", path)
		}
	}
	want(second, "its ctime moved", "/touched", true)
	snap := take("snap", uuid, first)
	for _, path := range []string{"/kept", "/rewritten", "/replaced", "/touched"} {
		want(snap, "in the snapshot", path, false)
	}
	want(take("snap", be.NewUUID(), first), "of another boot environment", "/kept", true)
	if err := store.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(store.blobPath(mark)); err != nil {
		t.Fatal(err)
	}
	want(take("snap", uuid, first), "its content is gone from the store", "/kept", true)
}
