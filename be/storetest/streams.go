package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// testFilled holds a store to be.Filler.
func testFilled(t *testing.T, e *Env) {
	filler, ok := e.store.(be.Filler)
	if !ok {
		return
	}
	before := state(t, e.store)
	opts := be.CreateOptions{Name: "new", UUID: be.NewUUID(), Description: "of elsewhere"}
	b, err := filler.CreateFilled(bg(), opts, func(_ context.Context, f be.Filling) error {
		if half := get(t, e.Open(t), "new"); !half.Incomplete {
			t.Error("it is not incomplete while it is being filled")
		}
		write(t, filepath.Join(f.Dir, "content"), "text")
		if f.Part != nil {
			dir, err := os.Open(f.Dir)
			must(t, "Open", err)
			defer dir.Close()
			must(t, "Part", f.Part(dir, "part"))
			write(t, filepath.Join(f.Dir, "part", "content"), "inner")
		}
		return nil
	})
	must(t, "CreateFilled", err)
	if b.UUID != opts.UUID || b.Description != opts.Description || b.Incomplete || b.Origin != "" || b.Mountpoint != "" {
		t.Errorf("CreateFilled returned %+v", b)
	}
	with(t, e.Open(t), "new", true, func(dir string) {
		wantFile(t, filepath.Join(dir, "content"), "text")
		if _, err := os.Stat(filepath.Join(dir, "part")); err == nil {
			wantFile(t, filepath.Join(dir, "part", "content"), "inner")
		}
	})
	_, err = filler.CreateFilled(bg(), opts, func(context.Context, be.Filling) error {
		t.Error("one that is there already is filled")
		return nil
	})
	wantKind(t, "CreateFilled of an existing name", err, be.InUse)
	_, err = e.store.Destroy(bg(), "new", false)
	must(t, "Destroy", err)

	stop := errors.New("stop")
	_, err = filler.CreateFilled(bg(), opts, func(_ context.Context, f be.Filling) error {
		write(t, filepath.Join(f.Dir, "content"), "text")
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("a fill that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(bg())
	_, err = filler.CreateFilled(ctx, opts, func(_ context.Context, f be.Filling) error {
		write(t, filepath.Join(f.Dir, "content"), "text")
		cancel()
		return nil
	})
	if err == nil {
		t.Error("a fill that was interrupted made a boot environment")
	}
	if now := state(t, e.Open(t)); now != before {
		t.Errorf("what failed left\n%s\nbefore:\n%s", now, before)
	}
}

// testStreams: what is exported and imported is the same, and what is cut off or
// changed leaves nothing.
func testStreams(t *testing.T, e *Env) {
	if _, ok := e.store.(be.Filler); !ok || !e.store.Caps().Snapshots {
		return
	}
	e.fill(t, e.Root, "first")
	e.odd(t)
	if e.SetMark != nil {
		for i, p := range e.places() {
			e.SetMark(t, e.Running, p, fmt.Sprintf("mark %d", i))
		}
	}
	_, err := e.store.Snapshot(bg(), e.Running, "beadm-export-1")
	must(t, "Snapshot", err)
	want := ""
	withSnapshot(t, e.store, e.Running, "beadm-export-1", func(dir string) { want = tree(t, dir) })
	if !strings.Contains(want, "sparse") || !strings.Contains(want, "twin") {
		t.Fatalf("the tree to export is\n%s", want)
	}
	stream := e.export(t, "beadm-export-1")
	must(t, "DestroySnapshot", e.store.DestroySnapshot(bg(), e.Running, "beadm-export-1"))
	before := state(t, e.store)

	id := be.NewUUID()
	b, about, err := importAs(e.store, be.CreateOptions{Name: "new", UUID: id}, bytes.NewReader(stream))
	must(t, "import", err)
	if about.Name != "from" || about.Description != "a\ttext" {
		t.Errorf("the stream says of itself %+v", about)
	}
	if b.UUID != id || b.Incomplete || b.Running || b.Mountpoint != "" {
		t.Errorf("the imported one is %+v", b)
	}
	if list := snapshots(t, e.store, "new"); len(list) > 0 {
		t.Errorf("it has the snapshots %+v", list)
	}
	with(t, e.Open(t), "new", true, func(dir string) {
		if got := tree(t, dir); got != want {
			t.Errorf("imported is\n%s\nexported was\n%s", got, want)
		}
		if n := blocks(t, filepath.Join(dir, "sparse")); n > 2<<20 {
			t.Errorf("the file with holes takes %d bytes", n)
		}
	})
	if e.Mark != nil {
		for i, p := range e.places() {
			if got := e.Mark(t, "new", p); got != fmt.Sprintf("mark %d", i) {
				t.Errorf("the property of %q of the imported one is %q", p, got)
			}
		}
	}
	if lister, ok := e.store.(be.PartLister); ok {
		paths := func(name string) (list []string) {
			parts, err := lister.Parts(bg(), name)
			must(t, "Parts", err)
			for _, p := range parts {
				list = append(list, p.Path)
			}
			return list
		}
		if got, want := paths("new"), paths(e.Running); !slices.Equal(got, want) {
			t.Errorf("its parts are %q, exported were %q", got, want)
		}
	}
	_, _, err = importAs(e.store, be.CreateOptions{Name: "new", UUID: be.NewUUID()}, unread{t})
	wantKind(t, "import of an existing name", err, be.InUse)
	_, err = e.store.Destroy(bg(), "new", false)
	must(t, "Destroy", err)

	places := []int{0, 1, 311, 600, len(stream) / 4, len(stream) / 2, len(stream) - 2000, len(stream) - 700, len(stream) - 60, len(stream) - 1}
	if testing.Short() {
		places = []int{len(stream) / 3, len(stream) - 1}
	}
	for _, at := range places {
		_, _, err := importAs(e.store, be.CreateOptions{Name: "cut", UUID: be.NewUUID()}, bytes.NewReader(stream[:at]))
		if err == nil || !strings.Contains(err.Error(), "cut off") && at > 312 {
			t.Errorf("cut at byte %d of %d: %v", at, len(stream), err)
		}
		changed := bytes.Clone(stream)
		changed[at] ^= 4
		if _, _, err := importAs(e.store, be.CreateOptions{Name: "cut", UUID: be.NewUUID()}, bytes.NewReader(changed)); err == nil {
			t.Errorf("byte %d of %d changed: no error", at, len(stream))
		}
		if now := state(t, e.Open(t)); now != before {
			t.Fatalf("a stream that ends at byte %d left\n%s\nbefore:\n%s", at, now, before)
		}
	}
	if e.Intercept == nil {
		return
	}
	stop := errors.New("stop")
	for fail := 1; ; fail++ {
		if testing.Short() && fail%6 != 0 {
			continue
		}
		n := 0
		e.Intercept(e.store, func(when, what string) error {
			if when == "before" {
				n++
			}
			if when == "before" && n == fail {
				return stop
			}
			return nil
		})
		_, _, err := importAs(e.store, be.CreateOptions{Name: "cut", UUID: be.NewUUID()}, bytes.NewReader(stream))
		e.Intercept(e.store, func(string, string) error { return nil })
		if n < fail {
			must(t, "import", err)
			return
		}
		if now := state(t, e.Open(t)); now != before || !errors.Is(err, stop) {
			t.Fatalf("effect %d failed (%v), and left\n%s\nbefore:\n%s", fail, err, now, before)
		}
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the stream is read although the name is taken")
	return 0, io.EOF
}

// odd adds what a plain copy loses.
func (e *Env) odd(t *testing.T) {
	t.Helper()
	r, err := rooted.Open(e.Root)
	must(t, "Open", err)
	defer r.Close()
	must(t, "WriteFile", r.WriteFileAtomic("/setuid", []byte("run"), rooted.Attr{Mode: 0o711 | fs.ModeSetuid, UID: 7, GID: 1234567, Xattrs: map[string][]byte{"user.test": {0, 1, '=', '\n'}}}))
	must(t, "Link", os.Link(filepath.Join(e.Root, "setuid"), filepath.Join(e.Root, "twin")))
	must(t, "Symlink", os.Symlink("/nowhere", filepath.Join(e.Root, "link")))
	must(t, "Mkfifo", unix.Mkfifo(filepath.Join(e.Root, "fifo"), 0o606))
	write(t, filepath.Join(e.Root, "ä \n\xff"), "name")
	f, err := os.Create(filepath.Join(e.Root, "sparse"))
	must(t, "Create", err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte("data"), 5000), 5<<20)
	must(t, "WriteAt", err)
	must(t, "Truncate", f.Truncate(20<<20))
}

// export is the snapshot of the running one as a stream.
func (e *Env) export(t *testing.T, snap string) []byte {
	t.Helper()
	var out bytes.Buffer
	if s, ok := e.store.(be.Streamer); ok {
		must(t, "Export", s.Export(bg(), e.Running, snap, be.About{Name: "from", Description: "a\ttext"}, &out))
		return out.Bytes()
	}
	withSnapshot(t, e.store, e.Running, snap, func(dir string) {
		src, err := os.Open(dir)
		must(t, "Open", err)
		defer src.Close()
		_, err = copier.Pack(bg(), src, &out, copier.Archive{Name: "from", Description: "a\ttext"}, copier.Options{})
		must(t, "Pack", err)
	})
	return out.Bytes()
}

func importAs(s be.Store, opts be.CreateOptions, r io.Reader) (be.BE, be.About, error) {
	if s, ok := s.(be.Streamer); ok {
		return s.Import(bg(), opts, r, func(context.Context, be.Filling) error { return nil })
	}
	var about be.About
	b, err := s.(be.Filler).CreateFilled(bg(), opts, func(ctx context.Context, f be.Filling) error {
		dst, err := os.Open(f.Dir)
		if err != nil {
			return err
		}
		defer dst.Close()
		a, _, err := copier.Unpack(ctx, r, dst, f.Part, copier.Options{})
		about = be.About{Name: a.Name, Description: a.Description}
		return err
	})
	return b, about, err
}

// tree is all that is in a directory, to be compared, but for the fstab, which
// names its own root in each boot environment.
func tree(t *testing.T, dir string) string {
	t.Helper()
	r, err := rooted.Open(dir)
	must(t, "Open", err)
	defer r.Close()
	var out strings.Builder
	first := map[[2]uint64]string{}
	err = r.Walk("/", func(path string, info rooted.Info) error {
		if path == "/etc" || path == "/etc/fstab" {
			return nil
		}
		fmt.Fprintf(&out, "%q %v %d:%d %s", path, info.Mode, info.UID, info.GID, info.Mtime.UTC())
		if info.IsDir() || info.IsRegular() {
			attrs, err := r.Xattrs(path)
			if err != nil {
				return err
			}
			for name := range attrs {
				if strings.HasPrefix(name, "trusted.beadm.") || strings.HasPrefix(name, "btrfs.") {
					delete(attrs, name)
				}
			}
			fmt.Fprintf(&out, " %q", attrs)
		}
		if info.IsRegular() {
			text, err := r.ReadFileLimit(path, 64<<20)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %d %x", len(text), sha256.Sum256(text))
			st, err := os.Lstat(filepath.Join(dir, path))
			if err != nil {
				return err
			}
			sys := st.Sys().(*syscall.Stat_t)
			key := [2]uint64{uint64(sys.Dev), uint64(sys.Ino)}
			if one := first[key]; one != "" {
				fmt.Fprintf(&out, " is %q", one)
			}
			first[key] = path
		}
		if info.IsLink() {
			target, err := r.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " -> %q", target)
		}
		out.WriteByte('\n')
		return nil
	})
	must(t, "Walk", err)
	return out.String()
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Lstat(path)
	must(t, "Lstat", err)
	return int64(st.Sys().(*syscall.Stat_t).Blocks) * 512
}
