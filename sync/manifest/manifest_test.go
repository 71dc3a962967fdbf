//go:build !solaris

package manifest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/synclist"
)

func TestTextHoldsAnyByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Text(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Text
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			t.Fatalf("%q became %s and %q, %v", want, data, got, err)
		}
	})
}

func TestTakeSaveLoad(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	must(os.MkdirAll(filepath.Join(dir, "t/sub"), 0o751))
	must(os.MkdirAll(filepath.Join(dir, "var/share/mail"), 0o755))
	must(os.Symlink("share/mail", filepath.Join(dir, "var/mail")))
	must(os.WriteFile(filepath.Join(dir, "t/small\xff"), []byte("x"), 0o640))
	must(os.WriteFile(filepath.Join(dir, "t/large"), make([]byte, Inline+1), 0o644))
	must(os.WriteFile(filepath.Join(dir, "t/no"), nil, 0o644))
	must(os.Symlink("a\xfe", filepath.Join(dir, "t/link")))
	must(unix.Mkfifo(filepath.Join(dir, "t/fifo"), 0o644))
	if err := unix.Setxattr(filepath.Join(dir, "t/small\xff"), "user.k", []byte("v\x00"), 0); err != nil {
		t.Skipf("NOT RUN: the file system of %s keeps no attributes of users (TMPDIR): %v", dir, err)
	}
	must(unix.Setxattr(filepath.Join(dir, "t/sub"), "user.d", []byte("d"), 0))

	root, err := rooted.Open(dir)
	must(err)
	defer root.Close()
	store, err := OpenStore(filepath.Join(t.TempDir(), "sync"))
	must(err)
	list, err := synclist.Parse("f", []byte("/t MERGE\n!/t/no\n/var/mail\n/gone\n/t/large/below\n"))
	must(err)
	taker := Taker{Store: store, Shared: []string{"/var/share"}}
	m, err := taker.Take(context.Background(), root, be.NewUUID(), list)
	must(err)
	id, err := store.Save(m)
	must(err)
	got, err := store.Load(id)
	must(err)
	var names []string
	for _, e := range got.Entries {
		names = append(names, string(e.Path)+" "+string(e.Type))
		if !Same(e, m.Get(string(e.Path))) {
			t.Errorf("%q is not as it was saved", e.Path)
		}
	}
	want := "/t dir|/t/fifo special|/t/large file|/t/link link|/t/small\xff file|/t/sub dir"
	if s := strings.Join(names, "|"); s != want {
		t.Errorf("entries %q, want %q", s, want)
	}
	small := got.Get("/t/small\xff")
	if small.Mode != 0o640 || string(small.Xattrs["user.k"]) != "v\x00" || !small.Stored || got.Get("/t/link").Target != "a\xfe" {
		t.Errorf("small: %+v", small)
	}
	if got.Get("/t/large").Stored {
		t.Error("a large file that did not change is stored")
	}
	if len(got.Shared) != 1 || got.Shared[0] != "/var/mail" {
		t.Errorf("shared: %q", got.Shared)
	}
	if !got.Covers("/t/new") || got.Covers("/t/no") || got.Covers("/etc") {
		t.Error("what it covers is not what the list says")
	}

	// Changed, it is stored whatever its size.
	must(os.WriteFile(filepath.Join(dir, "t/large"), make([]byte, Inline+2), 0o644))
	m2, err := taker.Take(context.Background(), root, be.NewUUID(), list, got)
	must(err)
	if !m2.Get("/t/large").Stored {
		t.Error("a large file that changed is not stored")
	}
	// A blob that is damaged is not taken for good.
	path := store.blobPath(small.Hash)
	must(os.WriteFile(path, []byte("y"), 0o600))
	if _, err := store.Read(small.Hash); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged blob: %v", err)
	}
}
