package kernels

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/be"
)

// beWith is a boot environment with a kernel and an initrd.
func beWith(t *testing.T, kernel, initrd string) boot.Entry {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"vmlinuz": kernel, "initrd.img": initrd} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return boot.Entry{ID: "b0123456789ab", Dir: dir, Kernel: "/vmlinuz", Initrd: "/initrd.img"}
}

func testDir(t *testing.T) Dir {
	return Dir{Path: filepath.Join(t.TempDir(), "kernels"), Where: "the disk", Disk: durable.Disk{Settle: func(string) error { return nil }}}
}

func none() ([][]byte, error) { return nil, nil }

func bring(t *testing.T, d Dir, e boot.Entry, entries Entries) []string {
	t.Helper()
	src, err := Open(t.Context(), e, false)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := d.Bring(e.ID, src, entries); err != nil {
		t.Fatal(err)
	}
	return src.Names()
}

func TestWhatIsNoKernelIsNotOpened(t *testing.T) {
	for what, spoil := range map[string]func(e *boot.Entry){
		"a link out of the root": func(e *boot.Entry) {
			os.Remove(filepath.Join(e.Dir, "vmlinuz"))
			os.Symlink("/etc/passwd", filepath.Join(e.Dir, "vmlinuz"))
		},
		"a directory":     func(e *boot.Entry) { e.Kernel = "/" },
		"a relative path": func(e *boot.Entry) { e.Initrd = "initrd.img" },
		"an empty initrd": func(e *boot.Entry) { os.Truncate(filepath.Join(e.Dir, "initrd.img"), 0) },
		"no root":         func(e *boot.Entry) { e.Dir = filepath.Join(e.Dir, "nosuch") },
	} {
		e := beWith(t, "MZ kernel", "initrd")
		spoil(&e)
		if src, err := Open(t.Context(), e, false); be.KindOf(err) != be.Unbootable {
			t.Errorf("%s: %v %v", what, src, err)
		}
	}
	e := beWith(t, "ELF kernel", "initrd")
	if _, err := Open(t.Context(), e, true); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "UEFI") {
		t.Errorf("no EFI image: %v", err)
	}
	if src, err := Open(t.Context(), e, false); err != nil {
		t.Error(err)
	} else {
		src.Close()
	}
}

func TestASourceThatChangesIsNotBrought(t *testing.T) {
	d, e := testDir(t), beWith(t, "MZ kernel", "initrd")
	src, err := Open(t.Context(), e, false)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := os.WriteFile(filepath.Join(e.Dir, "vmlinuz"), []byte("MZ another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Bring(e.ID, src, none); be.KindOf(err) != be.Unbootable || NoRoom(err) {
		t.Errorf("Bring: %v", err)
	}
	if list, err := os.ReadDir(d.Path); err != nil || len(list) != 0 {
		t.Errorf("there are %v %v", list, err)
	}
}

// TestNothingGoesWhileAnEntryCannotBeRead: it might name it.
func TestNothingGoesWhileAnEntryCannotBeRead(t *testing.T) {
	d := testDir(t)
	names := bring(t, d, beWith(t, "MZ kernel", "initrd"), none)
	if err := d.Drop(func() ([][]byte, error) { return nil, errors.New("input/output error") }); err != nil {
		t.Error(err)
	}
	if err := d.Whole(names...); err != nil {
		t.Error(err)
	}
	other := bring(t, d, beWith(t, "MZ another", "initrd"), func() ([][]byte, error) { return [][]byte{[]byte("linux " + names[0])}, nil })
	if err := d.Whole(append(slices.Clone(other), names...)...); err != nil {
		t.Error(err)
	}
	if err := d.Drop(none, other...); err != nil {
		t.Error(err)
	}
	if d.There(other...) != nil || d.There(names[0]) == nil {
		t.Errorf("%q are wanted, %q is not", other, names[0])
	}
}

func TestNoRoomNamesTheBytes(t *testing.T) {
	d, e := testDir(t), beWith(t, "MZ kernel", "initrd")
	d.Free = func(string) (int64, error) { return 1000, nil }
	src, err := Open(t.Context(), e, false)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := d.Fits(e.ID, src, none); !NoRoom(err) {
		t.Errorf("Fits: %v", err)
	}
	err = d.Bring(e.ID, src, none)
	if be.KindOf(err) != be.Unbootable || !NoRoom(err) || !strings.Contains(err.Error(), "the disk has no room") || !strings.Contains(err.Error(), "(2097167 bytes)") || !strings.Contains(err.Error(), "(1000 bytes)") {
		t.Errorf("Bring: %v", err)
	}
	if list, _ := os.ReadDir(d.Path); len(list) != 0 {
		t.Errorf("there are %v", list)
	}
	// What nothing names any more makes room, and is not touched beforehand.
	large := filepath.Join(d.Path, "initrd-old")
	if err := os.WriteFile(large, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Fits(e.ID, src, none); err != nil {
		t.Errorf("with 3 MiB that go: %v", err)
	}
	if err := d.Fits(e.ID, src, func() ([][]byte, error) { return [][]byte{[]byte("initrd initrd-old")}, nil }); !NoRoom(err) {
		t.Errorf("with 3 MiB that stay: %v", err)
	}
	if _, err := os.Stat(large); err != nil {
		t.Error(err)
	}
}
