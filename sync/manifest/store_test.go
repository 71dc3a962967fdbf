//go:build !solaris

package manifest

import (
	"bytes"
	"os"
	"testing"
)

// Content that is damaged in the store, its length kept, is whole again once it
// is stored again.
func TestDamagedContentIsStoredAgain(t *testing.T) {
	store, err := OpenStore(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	data := []byte("by hand\n")
	for name, put := range map[string]func() string{
		"in memory": func() string {
			hash, err := store.PutBytes(data)
			must(err)
			return hash
		},
		"as a blob": func() string {
			blob, err := store.NewBlob()
			must(err)
			_, err = blob.Write(data)
			must(err)
			hash, err := blob.Finish()
			must(err)
			return hash
		},
	} {
		for how, spoilt := range map[string][]byte{"damaged": []byte("by hard\n"), "cut": nil} {
			hash := put()
			must(store.Flush())
			must(os.WriteFile(store.blobPath(hash), spoilt, 0o600))
			if _, err := store.Read(hash); err == nil {
				t.Fatalf("%s, %s: not found out", name, how)
			}
			put()
			must(store.Flush())
			if got, err := store.Read(hash); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: %q, %v", name, how, got, err)
			}
		}
	}
}

// A flush that failed halfway, its disk full say, is done again whole.
func TestFlushAgain(t *testing.T) {
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for i := range 4 * fewBlobs {
		hash, err := store.PutBytes(bytes.Repeat([]byte{byte(i)}, i))
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	// Where one of them has to go is in the way of its name.
	if err := os.MkdirAll(store.blobPath(hashes[3]), 0o700); err != nil {
		t.Fatal(err)
	}
	if store.staged[hashes[3]] == "" || store.Flush() == nil {
		t.Fatal("a flush in the way of which something is did not fail")
	}
	for _, hash := range hashes {
		if _, err := store.Read(hash); err != nil {
			t.Errorf("in between: %v", err)
		}
	}
	if err := os.Remove(store.blobPath(hashes[3])); err != nil {
		t.Fatal(err)
	}
	if err := store.Flush(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStore(store.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range hashes {
		if _, err := again.Read(hash); err != nil {
			t.Error(err)
		}
	}
}
