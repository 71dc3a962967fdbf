//go:build linux

package copier

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// forest makes random trees with everything in them that a copy keeps.
type forest struct {
	t    *rapid.T
	top  string
	dirs []string
	made map[string]int // what was made, by what it is
	// files have contents, others none; both may get further names.
	files, others, links []string
}

func (f *forest) must(what string, err error) {
	if err != nil {
		f.t.Fatalf("cannot make %s: %v", what, err)
	}
	f.made[what]++
}

func (f *forest) number(what string, least, most int) int {
	return rapid.IntRange(least, most).Draw(f.t, what)
}

func (f *forest) one(list []string, what string) string {
	return rapid.SampledFrom(list).Draw(f.t, what)
}

// name is a free one in a directory of the tree: any bytes.
func (f *forest) name() string {
	dir := f.one(f.dirs, "directory")
	for {
		raw := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(f.t, "name")
		name := strings.NewReplacer("/", "\xff", "\x00", "\n").Replace(string(raw))
		path := dir + "/" + name
		if _, err := os.Lstat(path); err == nil || name == "." || name == ".." || strings.HasPrefix(name, ".beadm") {
			continue
		}
		if !bytes.Equal([]byte(name), []byte(strings.ToValidUTF8(name, "?"))) {
			f.made["a name that is not UTF-8"]++
		}
		return path
	}
}

func (f *forest) grow() {
	path := f.name()
	switch f.number("kind", 0, 9) {
	case 0, 1:
		f.must("a directory", os.Mkdir(path, 0o700))
		f.dirs = append(f.dirs, path)
	case 2, 3:
		f.must("a file", os.WriteFile(path, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(f.t, "content"), 0o600))
		f.files = append(f.files, path)
	case 4:
		f.sparse(path)
	case 5:
		if all := slices.Concat(f.files, f.others, f.links); len(all) > 0 {
			f.must("a hard link", os.Link(f.one(all, "linked"), path))
		}
	case 6:
		f.symlink(path)
	case 7:
		f.must("a fifo", unix.Mkfifo(path, 0o600))
		f.others = append(f.others, path)
	case 8:
		kind, what := uint32(unix.S_IFCHR), "a character device"
		if rapid.Bool().Draw(f.t, "block") {
			kind, what = unix.S_IFBLK, "a block device"
		}
		f.must(what, unix.Mknod(path, kind|0o600, int(unix.Mkdev(uint32(f.number("major", 1, 300)), uint32(f.number("minor", 0, 300))))))
		f.others = append(f.others, path)
	case 9:
		f.must("a socket", unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
		f.others = append(f.others, path)
	}
}

func (f *forest) sparse(path string) {
	file, err := os.Create(path)
	if err != nil {
		f.must("a file with holes", err)
	}
	defer file.Close()
	size := int64(f.number("size", 1<<20, 8<<20))
	for range f.number("pieces", 0, 3) {
		at := int64(f.number("at", 0, int(size)-1))
		if _, err := file.WriteAt([]byte("piece"), at); err != nil {
			f.must("a file with holes", err)
		}
		size = max(size, at+5)
	}
	f.must("a file with holes", file.Truncate(size))
	f.files = append(f.files, path)
}

func (f *forest) symlink(path string) {
	var to string
	switch f.number("link", 0, 4) {
	case 0:
		to = "/etc/passwd"
	case 1:
		to = "nothing\xff there"
	case 2:
		to = filepath.Base(path) // a loop
	case 3:
		to, _ = filepath.Rel(filepath.Dir(path), f.one(f.dirs, "to"))
	case 4:
		to = strings.Repeat("../", strings.Count(strings.TrimPrefix(path, f.top), "/")+f.number("up", 0, 2)) + "x"
	}
	f.must("a symbolic link", os.Symlink(to, path))
	f.links = append(f.links, path)
}

// dress gives a name owner, mode, attributes and times.
func (f *forest) dress(path string, isDir, isFile, isLink bool) {
	f.must("an owner", os.Lchown(path, f.number("uid", 0, 70000), f.number("gid", 0, 70000)))
	if !isLink {
		f.must("a mode", unix.Chmod(path, uint32(f.number("mode", 0, 0o7777))))
	}
	set := func(what, name string, value []byte) {
		if rapid.IntRange(0, 2).Draw(f.t, what) == 0 {
			f.must(what, unix.Lsetxattr(path, name, value, 0))
		}
	}
	any := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(f.t, "value")
	set("a trusted attribute", "trusted.beadm-test", any)
	set("a security label", "security.selinux", []byte("system_u:object_r:var_t:s0\x00"))
	if isDir || isFile {
		set("a user attribute", "user.\xfe name", any)
		set("an access list", "system.posix_acl_access", f.list())
	}
	if isDir {
		set("a default access list", "system.posix_acl_default", f.list())
	}
	if isFile {
		// struct vfs_cap_data of linux/capability.h, revision 2.
		raw := binary.LittleEndian.AppendUint32(nil, 0x02000001)
		for _, word := range []uint32{1 << f.number("capability", 0, 31), 0, 0, 0} {
			raw = binary.LittleEndian.AppendUint32(raw, word)
		}
		set("a file capability", "security.capability", raw)
	}
	times := []unix.Timespec{
		{Sec: int64(f.number("atime", 0, 2e9))},
		{Sec: int64(f.number("mtime", 0, 2e9)), Nsec: int64(f.number("ns", 0, 999999999))},
	}
	f.must("a time to the nanosecond", unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
}

// list is an access list as the kernel takes it (linux/posix_acl_xattr.h).
func (f *forest) list() []byte {
	raw := binary.LittleEndian.AppendUint32(nil, 2)
	add := func(tag, id uint32) {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(tag))
		raw = binary.LittleEndian.AppendUint16(raw, uint16(f.number("permission", 0, 7)))
		raw = binary.LittleEndian.AppendUint32(raw, id)
	}
	const nobody = 0xffffffff
	add(0x01, nobody)
	add(0x02, uint32(f.number("user", 1, 70000)))
	add(0x04, nobody)
	add(0x08, uint32(f.number("group", 1, 70000)))
	add(0x10, nobody)
	add(0x20, nobody)
	return raw
}

func (f *forest) dressAll() {
	for _, p := range f.files {
		f.dress(p, false, true, false)
	}
	for _, p := range f.others {
		f.dress(p, false, false, false)
	}
	for _, p := range f.links {
		f.dress(p, false, false, true)
	}
	for _, p := range slices.Backward(f.dirs) { // what is made in one sets its time
		f.dress(p, true, false, false)
	}
}

// cut removes a name that is no directory.
func (f *forest) cut() {
	for _, list := range []*[]string{&f.files, &f.others, &f.links} {
		if len(*list) > 0 {
			i := f.number("cut", 0, len(*list)-1)
			f.must("a removal", os.Remove((*list)[i]))
			*list = slices.Delete(*list, i, i+1)
			return
		}
	}
}

// Whatever a tree holds is in the copy, and what changes in it afterwards too.
func TestRandomTrees(t *testing.T) {
	asRoot(t)
	made := map[string]int{}
	at := places(t)
	var where []string
	for name := range at {
		where = append(where, name)
	}
	slices.Sort(where)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		p := at[rapid.SampledFrom(where).Draw(rt, "place")]
		src, dst := fmt.Sprintf("%s/%d", p[0], round), fmt.Sprintf("%s/%d-copy", p[1], round)
		for _, dir := range []string{src, dst} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				rt.Fatal(err)
			}
			defer os.RemoveAll(dir)
		}
		f := &forest{t: rt, top: src, dirs: []string{src}, made: made}
		from, err := os.Open(src)
		if err != nil {
			rt.Fatal(err)
		}
		defer from.Close()
		to, err := os.Open(dst)
		if err != nil {
			rt.Fatal(err)
		}
		defer to.Close()
		c := New(from, to, Options{})
		defer c.Close()
		for pass := range f.number("passes", 1, 3) {
			for range f.number("things", 1, 25) {
				f.grow()
			}
			if pass > 0 {
				f.cut()
			}
			f.dressAll()
			want := describe(t, src)
			if _, err := c.Pass(context.Background(), false); err != nil {
				rt.Fatal(err)
			}
			if got := describe(t, dst); got != want {
				rt.Fatalf("pass %d: the copy is\n%s\nthe tree\n%s", pass, got, want)
			}
			if after := describe(t, src); after != want {
				rt.Fatalf("pass %d changed the tree to\n%s\nfrom\n%s", pass, after, want)
			}
			f.sameHoles(dst)
		}
	})
	for _, what := range []string{"a directory", "a file", "a file with holes", "a hard link", "a symbolic link", "a fifo", "a socket",
		"a character device", "a block device", "a name that is not UTF-8", "an owner", "a mode", "a user attribute", "a trusted attribute",
		"a security label", "an access list", "a default access list", "a file capability", "a time to the nanosecond", "a removal"} {
		if made[what] == 0 {
			t.Errorf("no tree had %s", what)
		}
	}
	t.Logf("%d trees: %v", round, made)
}

// sameHoles: a copy writes no more than the data there is, but for the blocks
// that its file system rounds it to.
func (f *forest) sameHoles(dst string) {
	for _, p := range f.files {
		size := func(path string) int64 {
			file, err := os.Open(path)
			if err != nil {
				f.t.Fatal(err)
			}
			defer file.Close()
			st, err := file.Stat()
			if err != nil {
				f.t.Fatal(err)
			}
			n, err := DataSize(file, st.Size())
			if err != nil {
				f.t.Fatal(err)
			}
			return n
		}
		was, is := size(p), size(dst+strings.TrimPrefix(p, f.top))
		if is > was+64<<10 {
			f.t.Fatalf("%q has %d bytes of data, its copy %d", p, was, is)
		}
	}
}
