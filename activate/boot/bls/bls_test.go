package bls

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var hostile = []string{
	"x\ny", "x\ry", "x\x00y", "\n", "x\noptions init=/bin/sh", "x\rlinux /evil", " x", "x ", "\tx", `"x"`, `"`, `""`, `x"`, `"x`,
	"# x", "#", "options x", "linux /evil", "", "\xff", "x\x1by", "\x7f", "日本語", "a=\"b c\"", `\`, `\n`, "'", "$(x)", "x\u2028y", strings.Repeat("x", 5000),
}

func TestEntryIsReadBackAsItIsOrNotWritten(t *testing.T) {
	for _, h := range hostile {
		for i, e := range []Entry{
			{Title: h, Linux: "/l", Initrd: []string{"/i"}, Options: "o"},
			{Version: h, Linux: "/l", Options: "o"},
			{SortKey: h, Linux: "/l"},
			{Linux: h, Options: "o"},
			{Linux: "/l", Initrd: []string{"/a", h}, Options: "o"},
			{Linux: "/l", Options: h},
		} {
			roundTrip(t, i, e)
		}
	}
	b, err := Entry{Title: "t", Version: "v", SortKey: "s", Linux: "/l", Initrd: []string{"/a", "/b"}, Options: "x y"}.Encode()
	if want := "title t\nversion v\nsort-key s\nlinux /l\ninitrd /a\ninitrd /b\noptions x y\n"; err != nil || string(b) != want {
		t.Errorf("got %q %v", b, err)
	}
}

// roundTrip returns whether the entry could be written.
func roundTrip(t *testing.T, what any, e Entry) bool {
	t.Helper()
	b, err := e.Encode()
	if err != nil {
		return false
	}
	if got := ParseEntry(b); !reflect.DeepEqual(got, e) {
		t.Errorf("%v: wrote %q, which is read as %+v and not %+v", what, b, got, e)
	}
	fields := len(e.Initrd)
	for _, f := range []string{e.Title, e.Version, e.SortKey, e.Linux, e.Options} {
		if f != "" {
			fields++
		}
	}
	if n := len(splitLines(string(b))); n != fields {
		t.Errorf("%v: %q has %d lines, want %d", what, b, n, fields)
	}
	return true
}

func FuzzEntry(f *testing.F) {
	for _, h := range hostile {
		f.Add(h, "v", h, h)
	}
	f.Fuzz(func(t *testing.T, title, version, initrd, options string) {
		roundTrip(t, title, Entry{Title: title, Version: version, Linux: "/l", Initrd: []string{initrd}, Options: options})
	})
}

func FuzzConf(f *testing.F) {
	for _, h := range hostile {
		f.Add([]byte("timeout 3\ndefault "+h+"\r\n"), h)
	}
	f.Fuzz(func(t *testing.T, b []byte, value string) {
		c := ParseConf(b)
		if !bytes.Equal(c.Encode(), b) {
			t.Fatalf("%q became %q", b, c.Encode())
		}
		timeout, had := c.Get("timeout")
		if c.Set("default", value) != nil {
			if !bytes.Equal(c.Encode(), b) {
				t.Errorf("refused, and changed to %q", c.Encode())
			}
			return
		}
		c = ParseConf(c.Encode())
		if got, ok := c.Get("default"); !ok || got != value {
			t.Errorf("%q: default is read as %q, want %q", c.Encode(), got, value)
		}
		if got, has := c.Get("timeout"); got != timeout || has != had {
			t.Errorf("%q: timeout is %q, was %q", c.Encode(), got, timeout)
		}
	})
}

func TestConfKeepsWhatItIsNotAskedFor(t *testing.T) {
	in := "# mine\n timeout  5 \ndefault debian-*\nunknown \"x y\"\n\ndefault \"other.conf\""
	c := ParseConf([]byte(in))
	if v, _ := c.Get("default"); v != "other.conf" {
		t.Errorf("default is %q", v)
	}
	if err := c.Remark("was other.conf"); err != nil {
		t.Fatal(err)
	}
	if err := c.Set("default", "beadm-b0123456789ab.conf"); err != nil {
		t.Fatal(err)
	}
	want := "# mine\n timeout  5 \ndefault beadm-b0123456789ab.conf\nunknown \"x y\"\n\n# was other.conf\n"
	if got := string(c.Encode()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := ParseConf([]byte("# default x\ndefault\n")).Get("default"); ok {
		t.Error("a remark or a key alone has a value")
	}
}

// TestBootctlReadsIt asks the owner of the format.
func TestBootctlReadsIt(t *testing.T) {
	tool, err := exec.LookPath("bootctl")
	if err != nil {
		t.Skip("NOT RUN: bootctl is missing (install systemd): entries are held against nothing but our own reading and, in the VM, the loader's")
	}
	esp := t.TempDir()
	want := Entry{Title: `a "b" # c`, Version: "1.2~3", SortKey: "beadm", Linux: "/k/linux", Initrd: []string{"/k/initrd"}, Options: `root=x a="b c" \d`}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"loader/entries/x.conf": b, "k/linux": []byte("MZ"), "k/initrd": []byte("i")} {
		path := filepath.Join(esp, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tool, "--esp-path="+esp, "--no-pager", "list")
	cmd.Env = append(os.Environ(), "SYSTEMD_RELAX_ESP_CHECKS=1", "LC_ALL=C", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bootctl list: %v\n%s", err, out)
	}
	for _, line := range []string{"title: " + want.Title, "version: " + want.Version, "sort-key: " + want.SortKey, "options: " + want.Options} {
		if !strings.Contains(string(out), line) {
			t.Errorf("bootctl does not say %q:\n%s", line, out)
		}
	}
}
