package grub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	one, two := medium{uuid: "1111-1111"}, medium{uuid: "2222-2222"}
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
	if !hooked(esp) || len(b) > maxHooked || strings.Count(string(b), hookBegin) != 2 {
		t.Error("the stub is no stub any more")
	}
}
