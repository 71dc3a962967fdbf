package durable

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func atOnce(string) error { return nil }

func sector(c string) []byte { return bytes.Repeat([]byte(c), Sector) }

func TestOverwriteKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, sector("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	var d Disk
	if err := d.Overwrite(path, sector("b")); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(path)
	if b, _ := os.ReadFile(path); !os.SameFile(before, after) || !bytes.Equal(b, sector("b")) {
		t.Error("it is another file, or does not hold what was written")
	}
	for name, data := range map[string][]byte{"short": sector("a")[1:], "long": append(sector("a"), 'a'), "empty": nil} {
		if d.Overwrite(path, data) == nil {
			t.Errorf("%s data accepted", name)
		}
	}
	for name, content := range map[string][]byte{"empty": nil, "long": append(sector("a"), 'a')} {
		other := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(other, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if d.Overwrite(other, sector("b")) == nil {
			t.Errorf("%s file overwritten: it would need new blocks", name)
		}
	}
	if d.Overwrite(path+"missing", sector("b")) == nil {
		t.Error("a missing file was made")
	}
}

// TestReplaceOrder holds the steps against the argument in Replace.
func TestReplaceOrder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.cfg")
	var steps []string
	d := Disk{Settle: atOnce, Step: func(s string) error {
		if rest, ok := strings.CutPrefix(s, "after "); ok {
			steps = append(steps, rest)
		}
		return nil
	}}
	settle := "settle " + filepath.Base(dir)
	for _, want := range [][]string{
		{"write f.cfg.new", settle, "rename to f.cfg", settle}, // new
		{settle}, // the same again
		{"write f.cfg.new", settle, "rename to f.cfg", settle, settle}, // changed: the old is let go last
	} {
		steps = nil
		data := []byte("one")
		if len(want) == 5 {
			data = []byte("two")
		}
		if err := d.Replace(path, data); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(steps, want) {
			t.Errorf("steps %q, want %q", steps, want)
		}
		if b, _ := os.ReadFile(path); !bytes.Equal(b, data) {
			t.Errorf("holds %q", b)
		}
	}
}

func TestReplaceCut(t *testing.T) {
	cut := errors.New("cut")
	for n := 1; ; n++ {
		path := filepath.Join(t.TempDir(), "f.cfg")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		count := 0
		d := Disk{Settle: atOnce, Step: func(string) error {
			if count++; count == n {
				return cut
			}
			return nil
		}}
		err := d.Replace(path, []byte("new"))
		if b, _ := os.ReadFile(path); string(b) != "old" && string(b) != "new" {
			t.Errorf("cut %d leaves %q", n, b)
		}
		if count < n {
			return
		}
		if !errors.Is(err, cut) {
			t.Errorf("cut %d: %v", n, err)
		}
		d.Step = nil
		if err := errors.Join(d.Replace(path, []byte("new")), d.Sweep(filepath.Dir(path))); err != nil {
			t.Error(err)
		}
		if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
			t.Errorf("cut %d: %d files are left", n, len(list))
		}
	}
}

func TestReadOnlyRegular(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir, 10); err == nil {
		t.Error("a directory was read")
	}
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path, 10); err != nil || len(b) != 10 {
		t.Error(err)
	}
	if _, err := Read(path, 9); err == nil {
		t.Error("more than the limit was read")
	}
}

func TestMkdirRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	var d Disk
	for range 2 {
		if err := d.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d.Mkdir(file) == nil {
		t.Error("a file is a directory")
	}
	for range 2 {
		if err := d.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// A kernel's command line may hold a secret: nobody else reads it here.
func TestRootOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "beadm")
	var d Disk
	if err := d.Mkdir(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "entry")
	if err := d.Replace(file, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestCopyInIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "linux")
	sum := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	d := Disk{Settle: atOnce}
	if err := d.CopyIn(path, strings.NewReader("kernel"), sum("other")); err == nil {
		t.Error("what is not what it should be was accepted")
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
	for cut := 0; ; cut++ {
		n := 0
		d.Step = func(string) error {
			if n++; n > cut {
				return errors.New("cut")
			}
			return nil
		}
		err := d.CopyIn(path, strings.NewReader("kernel"), sum("kernel"))
		if b, rerr := os.ReadFile(path); rerr == nil && string(b) != "kernel" {
			t.Errorf("cut %d leaves %q", cut, b)
		}
		if err == nil {
			break
		}
	}
	if got, err := Sum(path); err != nil || got != sum("kernel") {
		t.Errorf("sum is %s %v", got, err)
	}
	if _, err := Sum(dir); err == nil {
		t.Error("a directory has a sum")
	}
}
