package grubenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func block(size int, body string) []byte {
	b := Signature + body
	return []byte(b + strings.Repeat("#", size-len(b)))
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		what string
		in   []byte
		want map[string]string // nil: refused
	}{
		{"empty block", block(512, ""), map[string]string{}},
		{"large block", block(1024, "a=b\n"), map[string]string{"a": "b"}},
		{"empty value", block(512, "a=\n"), map[string]string{"a": ""}},
		{"value with =", block(512, "a=b=c\n"), map[string]string{"a": "b=c"}},
		{"escapes", block(512, "a=b\\\\c\\\nd\nx=y\n"), map[string]string{"a": "b\\c\nd", "x": "y"}},
		{"last wins", block(512, "a=1\na=2\n"), map[string]string{"a": "2"}},
		{"remark", block(512, "# WARNING: do not edit\na=1\n"), map[string]string{"a": "1"}},
		{"no bytes", nil, nil},
		{"zeros", make([]byte, 512), nil},
		{"odd size", block(600, ""), nil},
		{"cut short", block(512, "a=b\n")[:511], nil},
		{"no signature", bytes.Repeat([]byte("#"), 512), nil},
		{"no =", block(512, "abc\n"), nil},
		{"no name", block(512, "=abc\n"), nil},
		{"no end", []byte(Signature + "a=" + strings.Repeat("b", 512-len(Signature)-2)), nil},
		{"end in escape", []byte(Signature + "a=" + strings.Repeat("\\", 512-len(Signature)-2-1) + "\\"), nil},
		{"dirt in padding", append(block(512, "a=b\n")[:511], 'x'), nil},
		{"nul", append(block(512, "a=b\n")[:511], 0), nil},
	} {
		e, err := Parse(c.in)
		if (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if err != nil {
			continue
		}
		if len(e.Names()) != len(c.want) {
			t.Errorf("%s: names %q, want %q", c.what, e.Names(), c.want)
		}
		for k, v := range c.want {
			if got, ok := e.Get(k); !ok || got != v {
				t.Errorf("%s: %s is %q, want %q", c.what, k, got, v)
			}
		}
	}
}

func TestSetKeepsOthers(t *testing.T) {
	e, err := Parse(block(512, "# note\nsaved_entry=0\nbeadm_trial=b1\nother=x\\\\y\nbeadm_trial=b2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Set("beadm_trial", ""); err != nil {
		t.Fatal(err)
	}
	e.Set("new", "a\nb\\")
	e.Unset("saved_entry")
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := block(512, "# note\nbeadm_trial=\nother=x\\\\y\nnew=a\\\nb\\\\\n"); !bytes.Equal(b, want) {
		t.Errorf("got %q", b)
	}
	for _, name := range []string{"", "#a", "a=b", "a\nb", "a\\"} {
		if e.Set(name, "") == nil {
			t.Errorf("name %q accepted", name)
		}
	}
	if e.Set("a", "x\x00y") == nil {
		t.Error("NUL accepted")
	}
}

func TestFull(t *testing.T) {
	e := New()
	room := Size - len(Signature) - len("a=\n")
	e.Set("a", strings.Repeat("x", room))
	if b, err := e.Encode(); err != nil || len(b) != Size {
		t.Errorf("what just fits is refused: %v", err)
	}
	e.Set("a", strings.Repeat("x", room-1)+"\\")
	if _, err := e.Encode(); !errors.Is(err, ErrFull) {
		t.Errorf("too much by an escape: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(block(512, "a=b\\\nc\n# x\n"))
	f.Add(block(1024, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		out, err := e.Encode()
		if err != nil { // decoding never grows: redundant escapes only shrink
			t.Fatalf("parsed but does not fit: %v", err)
		}
		again, err := Parse(out)
		if err != nil || len(out) != len(b) {
			t.Fatalf("own output refused: %v", err)
		}
		for _, n := range e.Names() {
			v, _ := e.Get(n)
			if w, ok := again.Get(n); !ok || v != w {
				t.Fatalf("%q: %q became %q", n, v, w)
			}
		}
	})
}

// TestAgainstGrubEditenv asks the owner of the format, both ways.
func TestAgainstGrubEditenv(t *testing.T) {
	tool, err := exec.LookPath("grub-editenv")
	if err != nil {
		t.Fatalf("%v: install grub-common", err)
	}
	file := filepath.Join(t.TempDir(), "env")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(tool, append([]string{file}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("grub-editenv %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	read := func() *Env {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse(b)
		if err != nil {
			t.Fatalf("%v\n%q", err, b)
		}
		return e
	}
	write := func(e *Env) {
		t.Helper()
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	run("create")
	e := read()
	if len(e.Names()) != 0 {
		t.Errorf("a fresh block holds %q", e.Names())
	}
	values := map[string]string{"plain": "x", "empty": "", "back": `a\b\\c`, "line": "a\nb", "eq": "a=b", "hash": "#x", "byte": "\xff\x01"}
	for k, v := range values {
		run("set", k+"="+v)
	}
	for k, v := range values {
		if got, ok := read().Get(k); !ok || got != v {
			t.Errorf("theirs read by us: %s is %q, want %q", k, got, v)
		}
	}
	run("unset", "plain")
	if _, ok := read().Get("plain"); ok {
		t.Error("unset is still there")
	}
	for _, e := range []*Env{New(), read()} {
		e.Set("foreign", "kept")
		for k, v := range values {
			if k != "line" { // list prints it over two lines
				e.Set(k, v)
			}
		}
		write(e)
		out := run("list")
		for k, v := range values {
			if k != "line" && !strings.Contains("\n"+out, "\n"+k+"="+v+"\n") {
				t.Errorf("ours read by them: %s=%q is not in %q", k, v, out)
			}
		}
		size := len(mustEncode(t, e))
		run("set", "plain=changed")
		again := read()
		if v, _ := again.Get("plain"); v != "changed" {
			t.Error("ours changed by them, read by us:", v)
		}
		if v, _ := again.Get("foreign"); v != "kept" || len(mustEncode(t, again)) != size {
			t.Error("changing ours lost something")
		}
	}
}

func mustEncode(t *testing.T, e *Env) []byte {
	t.Helper()
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
