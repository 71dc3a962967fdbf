package grub

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/loadertest"
	"beadm/be"
)

// TestHookOfMirror has the one ESP of two partitions for GRUB call the one that
// was set up first, first, and the other if that is gone.
func TestHookOfMirror(t *testing.T) {
	esp := memory(t)
	stub := filepath.Join(esp, "EFI/debian/grub.cfg")
	if err := os.MkdirAll(filepath.Dir(stub), 0o755); err != nil {
		t.Fatal(err)
	}
	const theirs = "search.fs_uuid abc root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
	if err := os.WriteFile(stub, []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	one, two := medium{uuid: "1111-abcd"}, medium{uuid: "2222-2222"}
	for range 2 { // setup is run again
		for _, m := range []medium{one, two} {
			cfg := testConfig(memory(t), nil)
			cfg.ESP, cfg.Self = esp, "partition of "+m.uuid
			if err := New(cfg).hook(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := os.ReadFile(stub)
	if err != nil {
		t.Fatal(err)
	}
	if want := hookText(one) + hookText(two) + theirs; string(b) != want {
		t.Errorf("the stub is\n%s\nwant\n%s", b, want)
	}
	if !hooked(esp, "") || !hooked(esp, "1111-ABCD") || !hooked(esp, two.uuid) || hooked(esp, "abc") || len(b) > maxHooked || strings.Count(string(b), hookBegin) != 2 {
		t.Error("the stub is no stub any more")
	}
}

// TestCallOfAnotherMirror: the ESP calls one of two partitions. The other is not
// come to by that, nor by a call that was copied onto itself.
func TestCallOfAnotherMirror(t *testing.T) {
	esp, dir := memory(t), memory(t)
	unreached := func(context.Context, string) error { return be.E(be.NoStore, "not seen") }
	cfg := testConfig(dir, nil)
	cfg.ESP, cfg.Self, cfg.Reached = esp, "the second", unreached
	probe := func(calls string) error {
		t.Helper()
		stub := filepath.Join(esp, "EFI/debian/grub.cfg")
		err := os.MkdirAll(filepath.Dir(stub), 0o755)
		if err == nil {
			err = os.WriteFile(stub, []byte(hookText(medium{uuid: calls})+"configfile ($root)/grub.cfg\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return New(cfg).Probe(t.Context())
	}
	e := loadertest.Entry("a", "A")
	cfg.Reached = Vouched
	if err := New(cfg).Install(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	cfg.Reached = unreached
	if err := probe("1111-1111"); be.KindOf(err) != be.NoStore {
		t.Errorf("a call of another partition is believed: %v", err)
	}
	ours, err := New(cfg).medium()
	if err != nil {
		t.Fatal(err)
	}
	if err := probe(ours.uuid); err != nil {
		t.Error(err)
	}
	// On itself, seen by its files.
	cfg.Reached = func(_ context.Context, dir string) error { return reachedByFiles(esp, ours.uuid) }
	if err := probe("1111-1111"); be.KindOf(err) != be.NoStore {
		t.Errorf("a copied call of another partition is believed: %v", err)
	}
	if err := probe(ours.uuid); err != nil {
		t.Error(err)
	}
	// The only one believes any: its file system's UUID may have been given anew.
	cfg.Self, cfg.Reached = "", unreached
	if err := probe("1111-1111"); err != nil {
		t.Error(err)
	}
}
