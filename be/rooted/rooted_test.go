package rooted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, dir string) *Root {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// must stops the test at an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestResolveAsInChroot(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	must(t, r.MkdirAll("/var/share/mail", 0o755))
	must(t, r.MkdirAll("/run/lock", 0o755))
	must(t, r.Symlink("share/mail", "/var/mail"))
	must(t, r.Symlink("/run", "/var/run"))
	must(t, r.Symlink("../../../../../../etc", "/var/up"))
	must(t, r.Symlink("loop", "/loop"))
	must(t, r.Symlink("/gone/far", "/dangling"))
	for path, want := range map[string]string{
		"/":                    "/",
		"":                     "/",
		"/var/mail":            "/var/share/mail",
		"var/mail/":            "/var/share/mail",
		"/var/mail/../x":       "/var/share/x",
		"/var/run/lock":        "/run/lock",
		"/../../var/run":       "/run",
		"/var/up/passwd":       "/etc/passwd",
		"/dangling":            "/gone/far",
		"/dangling/../y":       "/gone/y",
		"/nothing/../var/mail": "/var/mail", // nothing is known of a name below one that is not there
		"/var/share/mail/.":    "/var/share/mail",
	} {
		if got, err := r.Resolve(path); err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	if _, err := r.Resolve("/loop/x"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := r.Resolve("/a\x00b"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("NUL in a name: %v", err)
	}
	must(t, r.MkdirAll("/dangling/deep", 0o755))
	if info, err := os.Stat(filepath.Join(dir, "gone/far/deep")); err != nil || !info.IsDir() {
		t.Errorf("MkdirAll through a dangling link: %v", err)
	}
}

func TestWriteFileAtomic(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("mine"), 0o644))
	must(t, r.Symlink(outside, "/shadow"))

	when := time.Unix(1000000000, 123456789)
	must(t, r.WriteFileAtomic("/shadow", []byte("x"), Attr{Mode: 0o640 | fs.ModeSetgid, UID: 3, GID: 42, Mtime: when,
		Xattrs: map[string][]byte{"user.a": []byte("b")}}))
	info, err := r.Lstat("/shadow")
	must(t, err)
	if info.Mode != 0o640|fs.ModeSetgid || info.UID != 3 || info.GID != 42 || !info.Mtime.Equal(when) {
		t.Errorf("written as %+v", info)
	}
	if x, err := r.Xattrs("/shadow"); err != nil || string(x["user.a"]) != "b" || len(x) != 1 {
		t.Errorf("xattrs %q, %v", x, err)
	}
	if data, _ := os.ReadFile(outside); string(data) != "mine" {
		t.Errorf("a link led outside: %q", data)
	}
	must(t, r.WriteFileAtomic("/shadow", []byte("y"), Attr{Mode: 0o600}))
	if data, err := r.ReadFile("/shadow"); err != nil || string(data) != "y" {
		t.Errorf("read back %q, %v", data, err)
	}
	list, err := r.ReadDir("/")
	if err != nil || len(list) != 1 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

// While a secret is staged nobody but its reader-to-be can read it, not even
// through an ACL that the directory hands down.
func TestStagedIsPrivate(t *testing.T) {
	r := open(t, t.TempDir())
	s, err := r.Stage("/shadow", readerFunc(func(p []byte) (int, error) {
		list, err := r.ReadDir("/")
		if err != nil || len(list) != 1 || list[0].Perm() != 0 {
			t.Errorf("while being written: %v, %v", list, err)
		}
		return 0, errors.New("cut")
	}), Attr{Mode: 0o644})
	if err == nil {
		s.Discard()
		t.Fatal("no error")
	}
	if list, _ := r.ReadDir("/"); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSpecialFilesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	for _, name := range []string{"fifo", "/"} {
		if _, err := r.Open(name); !errors.Is(err, ErrNotRegular) {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
	if _, err := r.Lstat("/fifo/x"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a fifo: %v", err)
	}
}

func TestWalkAndRemoveAll(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "keep"), nil, 0o644))
	must(t, r.MkdirAll("/a/b\xff/c", 0o755))
	must(t, r.Symlink(outside, "/a/out"))
	must(t, r.WriteFileAtomic("/a/b\xff/new\nline", nil, Attr{Mode: 0o644}))
	var got []string
	must(t, r.Walk("/a", func(path string, info Info) error {
		got = append(got, path)
		if info.Name == "c" {
			return SkipDir
		}
		return nil
	}))
	want := "/a|/a/b\xff|/a/b\xff/c|/a/b\xff/new\nline|/a/out"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("walked %q, want %q", s, want)
	}
	// Scan goes the same way, in any order, and does not look at what it skips.
	for i := range 600 { // more than it reads at once
		must(t, r.WriteFileAtomic(fmt.Sprintf("/a/b\xff/c/%d", i), nil, Attr{Mode: 0o644}))
	}
	got = nil
	files := 0
	r.Avoid(func(path string) bool { return path == "/a/out" })
	must(t, r.Scan("/", nil, func(path string, info Info) error {
		if info.IsRegular() {
			files++
		} else {
			got = append(got, path)
		}
		return nil
	}))
	if s := strings.Join(got, "|"); s != "/|/a|/a/b\xff|/a/b\xff/c" || files != 601 {
		t.Errorf("scanned %q and %d files", s, files)
	}
	r.Avoid(nil)
	must(t, r.RemoveAll("/a"))
	must(t, r.RemoveAll("/a"))
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Error("RemoveAll followed a link")
	}
}

// What is avoided is reached by no path, however it is written.
func TestAvoid(t *testing.T) {
	r := open(t, t.TempDir())
	must(t, r.MkdirAll("/mnt/nfs/deep", 0o755))
	must(t, r.MkdirAll("/mnt/nfsx", 0o755))
	must(t, r.Symlink("/mnt/./x/../nfs/deep", "/abs"))
	must(t, r.Mkdir("/mnt/x", 0o755))
	must(t, r.Symlink("../nfs", "/mnt/x/rel"))
	r.Avoid(func(path string) bool { return path == "/mnt/nfs" })
	for _, path := range []string{"/mnt/nfs", "/mnt/nfs/deep", "/mnt/nfs/gone", "/abs", "/abs/y", "/mnt/x/rel", "mnt/x/rel/deep", "/mnt/nfs/.."} {
		if _, err := r.Resolve(path); !errors.Is(err, ErrAvoided) {
			t.Errorf("Resolve(%q): %v", path, err)
		}
		if _, err := r.Stat(path); !errors.Is(err, ErrAvoided) {
			t.Errorf("Stat(%q): %v", path, err)
		}
	}
	if _, err := r.Lstat("/mnt/nfs"); !errors.Is(err, ErrAvoided) {
		t.Errorf("Lstat: %v", err)
	}
	for _, path := range []string{"/abs", "/mnt/x/rel", "/mnt/nfsx", "/mnt"} {
		if _, err := r.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// A tree deeper than Scan goes ends it only if nobody asks to be told.
func TestScanDeep(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	must(t, r.Mkdir("/z", 0o755))
	path := ""
	for range MaxDepth + 20 {
		path += "/d"
		must(t, r.Mkdir(path, 0o755))
	}
	n := 0
	count := func(string, Info) error { n++; return nil }
	if err := r.Scan("/", nil, count); err == nil || !strings.Contains(err.Error(), "directories deep") {
		t.Error(err)
	}
	var deep []string
	n = 0
	must(t, r.Scan("/", func(path string) error { deep = append(deep, path); return nil }, count))
	if len(deep) != 1 || deep[0] != strings.Repeat("/d", MaxDepth) || n != MaxDepth+2 {
		t.Errorf("told of %q, saw %d", deep, n)
	}
}

func TestRenames(t *testing.T) {
	r := open(t, t.TempDir())
	must(t, r.Mkdir("/dir", 0o1777))
	if info, _ := r.Lstat("/dir"); info.Mode != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("Mkdir made %v", info.Mode)
	}
	must(t, r.Symlink("share/dir", "/link"))
	if err := r.RenameNoReplace("/link", "/dir"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("RenameNoReplace over a directory: %v", err)
	}
	if err := r.Exchange("/link", "/dir"); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if target, err := r.Readlink("/dir"); err == nil && target != "share/dir" {
		t.Errorf("after the exchange /dir -> %q", target)
	}
	must(t, r.WriteFileAtomic("/"+TempPrefix+"left", nil, Attr{}))
	must(t, r.SweepTemp("/"))
	if _, err := r.Lstat("/" + TempPrefix + "left"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not swept: %v", err)
	}
}

// However deep it is, it can be removed.
func TestRemoveAllOfWhatIsDeep(t *testing.T) {
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for i := 0; err == nil && i < 1100; i++ {
		name, above := "d", at
		if i == 0 {
			name = "top"
		}
		if err = unix.Mkdirat(above, name, 0o755); err == nil {
			at, err = unix.Openat(above, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		}
		unix.Close(above)
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(at)
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.RemoveAll("/top"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
