package efivar

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestStrings(t *testing.T) {
	for s, want := range map[string]string{"": "\x00\x00", "a.b": "a\x00.\x00b\x00\x00\x00", "ä𝄞": "\xe4\x00\x34\xd8\x1e\xdd\x00\x00"} {
		b, err := EncodeString(s)
		if err != nil || string(b) != want {
			t.Errorf("%q is %q %v, want %q", s, b, err, want)
		}
		if got, err := DecodeString(b); err != nil || got != s {
			t.Errorf("%q is read back as %q %v", s, got, err)
		}
	}
	for _, s := range []string{"a\x00b", "\xff", "\xed\xa0\x80"} {
		if b, err := EncodeString(s); err == nil {
			t.Errorf("%q was written as %q", s, b)
		}
	}
	for _, b := range []string{"a", "a\x00b", "\x34\xd8", "\x34\xd8a\x00", "\x1e\xdda\x00"} {
		if s, err := DecodeString([]byte(b)); err == nil {
			t.Errorf("%q was read as %q", b, s)
		}
	}
	if s, err := DecodeString([]byte("a\x00\x00\x00b\x00")); err != nil || s != "a" {
		t.Errorf("behind the zero: %q %v", s, err)
	}
}

func FuzzString(f *testing.F) {
	f.Add([]byte("a\x00"), "x")
	f.Add([]byte("\x34\xd8\x1e\xdd"), "\x00")
	f.Fuzz(func(t *testing.T, b []byte, s string) {
		if got, err := DecodeString(b); err == nil {
			again, err := EncodeString(got)
			if err != nil || !bytes.HasPrefix(append(bytes.Clone(b), 0, 0), again) {
				t.Errorf("%q is read as %q, which is written as %q %v", b, got, again, err)
			}
		}
		if b, err := EncodeString(s); err == nil {
			if got, err := DecodeString(b); err != nil || got != s {
				t.Errorf("%q is read back as %q %v", s, got, err)
			}
		}
	})
}

// The files as efivarfs has them; that the kernel and the firmware take them
// is for the VM.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	d := Dir(dir)
	if _, err := d.Read(OneShot); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none is there: %v", err)
	}
	if err := d.Delete(OneShot); err != nil {
		t.Error(err)
	}
	for _, v := range []string{"one", "two"} {
		if err := d.Write(OneShot, []byte(v)); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read(OneShot); err != nil || string(b) != v {
			t.Errorf("read %q %v, want %q", b, err, v)
		}
	}
	file := filepath.Join(dir, "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
	if b, err := os.ReadFile(file); err != nil || string(b) != "\x07\x00\x00\x00two" {
		t.Errorf("the file holds %q %v", b, err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(OneShot); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a failed write left is a variable: %v", err)
	}
	if err := os.WriteFile(file, []byte("\x07\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(OneShot); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file: %v", err)
	}
	if err := d.Delete(OneShot); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if d.Writable() == nil || d.Present() == nil {
		t.Error("a plain directory is taken for efivarfs")
	}
}
