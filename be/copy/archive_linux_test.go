package copier

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func packed(t *testing.T, dir string) []byte {
	t.Helper()
	src, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var out bytes.Buffer
	if _, err := Pack(context.Background(), src, &out, Archive{Name: "web", Description: "a\ntext"}, Options{}); err != nil {
		t.Fatalf("Pack: %v", err)
	}
	return out.Bytes()
}

func unpackTo(t *testing.T, archive io.Reader, dir string) (Archive, error) {
	t.Helper()
	dst, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	a, _, err := Unpack(context.Background(), archive, dst, nil, Options{})
	return a, err
}

// Whatever a tree holds, but sockets, is what its archive makes of an empty
// directory.
func TestRandomArchives(t *testing.T) {
	asRoot(t)
	made := map[string]int{}
	at := places(t)
	var where []string
	for name := range at {
		where = append(where, name)
	}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		p := at[rapid.SampledFrom(where).Draw(rt, "place")]
		src, dst := fmt.Sprintf("%s/%d", p[0], round), fmt.Sprintf("%s/%d-unpacked", p[1], round)
		for _, dir := range []string{src, dst} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				rt.Fatal(err)
			}
			defer os.RemoveAll(dir)
		}
		f := &forest{t: rt, top: src, dirs: []string{src}, made: made}
		for range f.number("things", 1, 25) {
			f.grow()
		}
		err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSocket != 0 {
				err = os.Remove(path)
			}
			return err
		})
		if err != nil {
			rt.Fatal(err)
		}
		for _, list := range []*[]string{&f.others, &f.files, &f.links} {
			*list = slices.DeleteFunc(*list, func(path string) bool { _, err := os.Lstat(path); return err != nil })
		}
		f.dressAll()
		want := describe(t, src)
		archive := packed(t, src)
		a, err := unpackTo(t, bytes.NewReader(archive), dst)
		if err != nil {
			rt.Fatalf("Unpack: %v", err)
		}
		if a.Name != "web" || a.Description != "a\ntext" || !a.ByPack {
			rt.Fatalf("it says %+v of itself", a)
		}
		if got := describe(t, dst); got != want {
			rt.Fatalf("what was unpacked is\n%s\nthe tree\n%s", got, want)
		}
		f.sameHoles(dst)
	})
	for _, what := range []string{"a directory", "a file", "a file with holes", "a hard link", "a symbolic link", "a fifo",
		"a character device", "a block device", "a name that is not UTF-8", "an owner", "a mode", "a user attribute", "a trusted attribute",
		"a security label", "an access list", "a default access list", "a file capability", "a time to the nanosecond"} {
		if made[what] == 0 {
			t.Errorf("no tree had %s", what)
		}
	}
	t.Logf("%d trees: %v", round, made)
}

func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script(t, dir, "mkdir -p etc big; echo joe:x:1007:1007::/:/bin/sh > etc/passwd; echo staff:x:55: > etc/group; echo text > etc/file; ln etc/file etc/twin; ln -s ../nowhere etc/link; head -c 5000 /dev/urandom > big/data; head -c 1024 /dev/zero > zero")
	sparse := filepath.Join(dir, "sparse")
	if err := os.WriteFile(sparse, []byte("begin"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(sparse, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("middle"), 3<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(9 << 20); err != nil {
		t.Fatal(err)
	}
	return dir
}

func script(t *testing.T, dir, text string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", text)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", text, err, out)
	}
	return string(out)
}

// Wherever an archive is cut, and whichever byte of it is changed, that is said.
func TestArchiveCutOrChanged(t *testing.T) {
	asRoot(t)
	whole := packed(t, small(t))
	if int64(len(whole)) > 1<<20 {
		t.Errorf("the archive of a file with holes has %d bytes", len(whole))
	}
	for at := 0; at < len(whole); at += 256 {
		for _, n := range []int{at, at + 1} {
			if _, err := unpackTo(t, bytes.NewReader(whole[:n]), t.TempDir()); err == nil {
				t.Errorf("cut at byte %d of %d: no error", n, len(whole))
			}
		}
		changed := bytes.Clone(whole)
		changed[at] ^= 1
		if _, err := unpackTo(t, bytes.NewReader(changed), t.TempDir()); err == nil {
			t.Errorf("byte %d changed: no error", at)
		}
	}
	if _, err := unpackTo(t, bytes.NewReader(whole), t.TempDir()); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// tar(1) reads what Pack writes, and what tar(1) writes is unpacked with all
// that it holds.
func TestArchiveAndTar(t *testing.T) {
	asRoot(t)
	src := small(t)
	archive := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(archive, packed(t, src), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	script(t, out, "tar --xattrs --xattrs-include='*' -xpf "+archive+" 2>/dev/null")
	for _, dir := range []string{out, src} { // which tar leaves as it is
		script(t, dir, "find . -depth -exec touch -h -a -d @1700000000 {} +")
	}
	if got, want := describe(t, out), describe(t, src); got != want {
		t.Errorf("tar makes of it\n%s\nit was\n%s", got, want)
	}

	script(t, src, "setfacl -m u:1234:r,g:55:rw etc/file; setfacl -d -m u:4321:rwx etc")
	for _, format := range []string{"gnu", "pax"} {
		what := "tar -S --format=" + format + " -cf " + archive + " ."
		if format == "pax" {
			what = "tar -S --acls --xattrs --xattrs-include='security.*' --xattrs-include='trusted.*' --format=pax -cf " + archive + " ."
		} else {
			script(t, src, "setfacl -b etc/file etc")
		}
		script(t, src, what)
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		dst := t.TempDir()
		a, err := unpackTo(t, f, dst)
		f.Close()
		if err != nil || a.ByPack {
			t.Fatalf("%s: %+v, %v", what, a, err)
		}
		// Its times are whole seconds.
		script(t, src, "find . -depth -exec touch -h -d @1700000000 {} +")
		script(t, dst, "find . -depth -exec touch -h -d @1700000000 {} +")
		if got, want := describe(t, dst), describe(t, src); got != want {
			t.Errorf("%s: what was unpacked is\n%s\nthe tree\n%s", what, got, want)
		}
		script(t, src, "setfacl -m u:1234:r,g:55:rw etc/file; setfacl -d -m u:4321:rwx etc")
	}
}

type member struct {
	name, link string
	kind       byte
	text       string
	pax        map[string]string
}

func tarOf(t *testing.T, list ...member) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range list {
		h := &tar.Header{Name: m.name, Linkname: m.link, Typeflag: m.kind, Size: int64(len(m.text)), Mode: 0o644, PAXRecords: m.pax}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, m.text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// No archive reaches out of the directory that it is unpacked in.
func TestHostileArchives(t *testing.T) {
	asRoot(t)
	for what, list := range map[string][]member{
		"a name with ..":                 {{name: "a/../../victim/file", kind: tar.TypeReg, text: "x"}},
		"a name that begins with /":      {{name: "/victim/file", kind: tar.TypeReg, text: "x"}},
		"a link, then what is below it":  {{name: "l", link: "../victim", kind: tar.TypeSymlink}, {name: "l/file", kind: tar.TypeReg, text: "x"}},
		"a link, and a directory of it":  {{name: "l", link: "../victim", kind: tar.TypeSymlink}, {name: "l/d/file", kind: tar.TypeReg, text: "x"}},
		"a hard link through a link":     {{name: "l", link: "../victim", kind: tar.TypeSymlink}, {name: "h", link: "l/file", kind: tar.TypeLink}},
		"a hard link with ..":            {{name: "h", link: "../victim/file", kind: tar.TypeLink}},
		"a hard link to an absolute one": {{name: "h", link: "/etc/passwd", kind: tar.TypeLink}},
		"the top as a link":              {{name: "./", link: "../victim", kind: tar.TypeSymlink}},
		"an unknown type":                {{name: "v", kind: 'V'}},
	} {
		box := t.TempDir()
		script(t, box, "mkdir victim dst; echo kept > victim/file")
		before := describe(t, box+"/victim")
		if _, err := unpackTo(t, tarOf(t, list...), box+"/dst"); err == nil {
			t.Errorf("%s: no error", what)
		}
		if after := describe(t, box+"/victim"); after != before {
			t.Errorf("%s: what is outside was\n%s\nand is\n%s", what, before, after)
		}
	}
	// A file in place of a link is the file, and the link's target is left alone.
	box := t.TempDir()
	script(t, box, "mkdir victim dst; echo kept > victim/file")
	_, err := unpackTo(t, tarOf(t, member{name: "l", link: "../victim/file", kind: tar.TypeSymlink}, member{name: "l", kind: tar.TypeReg, text: "x"},
		member{name: "d", link: "../victim", kind: tar.TypeSymlink}, member{name: "d", kind: tar.TypeDir}, member{name: "d/file", kind: tar.TypeReg, text: "y"}), box+"/dst")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"victim/file": "kept\n", "dst/l": "x", "dst/d/file": "y"} {
		if got, _ := os.ReadFile(box + "/" + path); string(got) != text {
			t.Errorf("%s holds %q, want %q", path, got, text)
		}
	}
}

// An ACL that names somebody is theirs whom the archive's own files know.
func TestArchiveACLByName(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	acl := "user::rw-\nuser:joe:r--\ngroup::r--\ngroup:staff:rw-\nmask::rw-\nother::---\n"
	_, err := unpackTo(t, tarOf(t,
		member{name: "f", kind: tar.TypeReg, pax: map[string]string{"SCHILY.acl.access": acl}},
		member{name: "etc/passwd", kind: tar.TypeReg, text: "joe:x:1007:1007::/:/bin/sh\n"},
		member{name: "etc/group", kind: tar.TypeReg, text: "staff:x:55:\n"}), dir)
	if err != nil {
		t.Fatal(err)
	}
	got := script(t, dir, "getfacl -n f 2>/dev/null")
	for _, want := range []string{"user:1007:r--", "group:55:rw-", "mask::rw-"} {
		if !strings.Contains(got, want) {
			t.Errorf("the ACL is\n%s\nwithout %s", got, want)
		}
	}
	_, err = unpackTo(t, tarOf(t, member{name: "f", kind: tar.TypeReg, pax: map[string]string{"SCHILY.acl.access": acl}}), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "joe") {
		t.Errorf("an ACL for nobody known: %v", err)
	}
}

// The label that GNU tar keeps apart from other attributes is kept too.
func TestArchiveKeepsLabels(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	if _, err := unpackTo(t, tarOf(t, member{name: "f", kind: tar.TypeReg, pax: map[string]string{"RHT.security.selinux": "u:r:t:s0"}}), dir); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := value(fdAttrs(f.Fd()), "security.selinux"); err != nil || strings.TrimRight(string(got), "\x00") != "u:r:t:s0" {
		t.Errorf("its label is %q, %v", got, err)
	}
}

// What nothing can be done to is so when it has been unpacked, too.
func TestArchiveKeepsFlags(t *testing.T) {
	asRoot(t)
	src, dst := t.TempDir(), t.TempDir()
	script(t, src, "mkdir d; echo x > d/f; echo y > nodump; chattr +d nodump; chattr +i d/f d")
	t.Cleanup(func() {
		for _, dir := range []string{src, dst} {
			if f, err := os.Open(dir); err == nil {
				Unguard(f)
				f.Close()
			}
		}
	})
	if _, err := unpackTo(t, bytes.NewReader(packed(t, src)), dst); err != nil {
		t.Fatal(err)
	}
	for name, flag := range map[string]uint32{"d": flagImmutable, "d/f": flagImmutable, "nodump": flagNoDump} {
		f, err := os.Open(filepath.Join(dst, name))
		if err != nil {
			t.Fatal(err)
		}
		if flagsOf(int(f.Fd()))&flag == 0 {
			t.Errorf("%s is without its flag", name)
		}
		f.Close()
	}
}

// holeOf is an entry of a tar of GNU's that is nothing but a hole.
func holeOf(name string, size int64) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], "00000000000\x00")
	copy(b[136:], "00000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	copy(b[483:], fmt.Sprintf("%011o\x00", size))
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// interrupter ends a context when it is read for the second time.
type interrupter struct {
	io.Reader
	end   func()
	reads int
}

func (r *interrupter) Read(p []byte) (int, error) {
	if r.reads++; r.reads == 2 {
		r.end()
	}
	return r.Reader.Read(p[:min(len(p), 512)])
}

// What a file has no bytes of is no reason not to hear of an interrupt.
func TestInterruptInAHole(t *testing.T) {
	dst, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	for _, interrupted := range []bool{false, true} {
		ctx, end := context.WithCancel(context.Background())
		archive := append(append(holeOf("small", 3<<20), holeOf(fmt.Sprint("large", interrupted), 1<<33-1)...), make([]byte, 1024)...)
		if !interrupted {
			archive = append(holeOf("whole", 3<<20), make([]byte, 1024)...)
		}
		r := &interrupter{Reader: bytes.NewReader(archive), end: func() {
			if interrupted {
				end()
			}
		}}
		if _, _, err := Unpack(ctx, r, dst, nil, Options{}); (err != nil) != interrupted || interrupted && ctx.Err() == nil {
			t.Errorf("interrupted %v: %v", interrupted, err)
		}
		end()
	}
	if info, err := os.Stat(filepath.Join(dst.Name(), "whole")); err != nil || info.Size() != 3<<20 {
		t.Errorf("a hole of 3 MiB: %v, %v", info, err)
	}
}
