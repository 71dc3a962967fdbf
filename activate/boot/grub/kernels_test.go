package grub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/grub/simgrub"
	"beadm/activate/boot/loadertest"
	"beadm/be"
)

// world is a partition of GRUB's, and roots that it cannot read.
type world struct {
	t     *testing.T
	dir   string
	roots string
	mode  string
	free  func(string) (int64, error)
}

// memory is a directory for the life of the test, where there is one in which
// fsync costs nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "beadm-grub-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T) *world { return &world{t: t, dir: memory(t), roots: memory(t)} }

func (w *world) loader(step func(string) error) *Loader {
	cfg := testConfig(w.dir, step)
	cfg.Kernels, cfg.Free = w.mode, w.free
	return New(cfg)
}

func (w *world) write(e boot.Entry, name, content string) {
	w.t.Helper()
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.Dir, name), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// in gives the entry a root with a kernel of its own, on a thin volume.
func (w *world) in(e boot.Entry) boot.Entry {
	e.Dir = filepath.Join(w.roots, e.ID)
	e.Root.FS, e.Root.Needs = "ext4", []string{"thin"}
	if boot.ValidID(e.ID) {
		w.write(e, "vmlinuz", "kernel of "+e.ID)
		w.write(e, "initrd.img", "an initrd that all share")
	}
	return e
}

func (w *world) entry(letter string) boot.Entry {
	return w.in(loadertest.Entry(letter, "BE "+letter))
}

func (w *world) ready(letters ...string) *Loader {
	w.t.Helper()
	l := w.loader(nil)
	for i, letter := range letters {
		put := l.Put
		if i == 0 {
			put = l.Install
		}
		if err := put(w.t.Context(), w.entry(letter)); err != nil {
			w.t.Fatal(err)
		}
	}
	return l
}

// kernels are the files on the partition, by content.
func (w *world) kernels() (contents []string) {
	w.t.Helper()
	list, err := os.ReadDir(filepath.Join(w.dir, "beadm/kernels"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(w.dir, "beadm/kernels", e.Name()))
		if err != nil {
			w.t.Fatal(err)
		}
		contents = append(contents, string(b))
	}
	slices.Sort(contents)
	return contents
}

// play starts what can be started: on the partition there is a kernel or none.
func (w *world) play() (loadertest.Played, error) {
	b, err := simgrub.Machine{Dir: w.dir, Load: func(path string) bool {
		info, err := os.Stat(filepath.Join(w.dir, path))
		return err == nil && info.Size() > 0
	}}.PowerOn()
	return loadertest.Played{ID: b.ID, Trial: b.Trial}, err
}

// whole says which entry names a kernel that is not there as it was brought:
// those of the world are known by their content.
func (w *world) whole() error {
	files, err := filepath.Glob(filepath.Join(w.dir, "beadm/entries/b*.cfg"))
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		names := named(text)
		if len(names) != 4 {
			return fmt.Errorf("%s names %q", f, names)
		}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(w.dir, "beadm/kernels", name))
			if err != nil {
				return fmt.Errorf("%s names %s: %w", f, name, err)
			}
			if strings.HasPrefix(name, "initrd-") != strings.HasPrefix(string(b), "an initrd") || len(b) < 16 {
				return fmt.Errorf("%s names %s, which holds %q", f, name, b)
			}
		}
	}
	return nil
}

// rootedLoader gives every entry its root.
type rootedLoader struct {
	*Loader
	w *world
}

func (l rootedLoader) Install(ctx context.Context, e boot.Entry) error {
	return l.Loader.Install(ctx, l.w.in(e))
}
func (l rootedLoader) Put(ctx context.Context, e boot.Entry) error {
	return l.Loader.Put(ctx, l.w.in(e))
}

// TestContractWithKernels plays the suite, cuts and all, with kernels on the
// partition.
func TestContractWithKernels(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		w := newWorld(t)
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader { return rootedLoader{w.loader(step), w} },
			Play:   w.play,
		}
	})
}

// TestNoEntryWithoutItsKernel cuts a Put of another kernel, a Remove and a Tidy
// at each effect: whatever is left, all that an entry names is there; and once
// it was done again nothing is there that none names.
func TestNoEntryWithoutItsKernel(t *testing.T) {
	for name, op := range map[string]func(w *world, l *Loader) error{
		"Put, changed": func(w *world, l *Loader) error {
			e := w.entry("b")
			w.write(e, "vmlinuz", "kernel of b, upgraded")
			w.write(e, "initrd.img", "an initrd, upgraded")
			return l.Put(w.t.Context(), e)
		},
		"Put, another's": func(w *world, l *Loader) error {
			e := w.entry("b")
			w.write(e, "vmlinuz", "kernel of "+loadertest.ID("a"))
			return l.Put(w.t.Context(), e)
		},
		"Put, new": func(w *world, l *Loader) error { return l.Put(w.t.Context(), w.entry("d")) },
		"Remove":   func(w *world, l *Loader) error { return l.Remove(w.t.Context(), loadertest.ID("b")) },
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				w := newWorld(t)
				w.ready("a", "b", "c")
				count := 0
				err := op(w, w.loader(func(effect string) error {
					if count++; count >= n {
						return errors.New("cut")
					}
					return nil
				}))
				if err := w.whole(); err != nil {
					t.Fatalf("cut %d: %v", n, err)
				}
				if p, err := w.play(); err != nil || p.ID != loadertest.ID("a") {
					t.Fatalf("cut %d: boots %+v %v", n, p, err)
				}
				if err == nil && count < n {
					if n < 4 {
						t.Fatalf("it has %d effects", n-1)
					}
					return
				}
				if n%3 == 0 {
					if err := w.loader(nil).Tidy(t.Context()); err != nil {
						t.Fatalf("cut %d: %v", n, err)
					}
				}
				if err := op(w, w.loader(nil)); err != nil {
					t.Fatalf("cut %d, again: %v", n, err)
				}
				if err := w.whole(); err != nil {
					t.Fatalf("cut %d, again: %v", n, err)
				}
				entries, err := w.loader(nil).texts()
				if err != nil {
					t.Fatal(err)
				}
				all := ""
				for _, e := range entries {
					all += string(e)
				}
				list, err := os.ReadDir(filepath.Join(w.dir, "beadm/kernels"))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range list {
					if !strings.Contains(all, f.Name()) {
						t.Fatalf("cut %d, again: nothing names %s", n, f.Name())
					}
				}
			}
		})
	}
}

func TestKernelsAreSharedAndGoWithTheLast(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	a, b, initrd := "kernel of "+loadertest.ID("a"), "kernel of "+loadertest.ID("b"), "an initrd that all share"
	hold := func(want ...string) {
		t.Helper()
		slices.Sort(want)
		if got := w.kernels(); !slices.Equal(got, want) {
			t.Errorf("they are %q, want %q", got, want)
		}
	}
	hold(a, b, initrd)
	e := w.entry("b")
	w.write(e, "vmlinuz", a)
	if err := l.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	hold(a, initrd)
	if err := l.Remove(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	hold(a, initrd)
	// A root that GRUB reads after all needs none.
	e = w.entry("a")
	e.Root.Needs = nil
	if err := l.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	hold()
}

func TestKernelsAreRootsAlone(t *testing.T) {
	w := newWorld(t)
	w.ready("a")
	info, err := os.Stat(filepath.Join(w.dir, "beadm/kernels"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("kernels is %v %v", info.Mode(), err)
	}
	files, _ := filepath.Glob(filepath.Join(w.dir, "beadm/kernels/*"))
	if len(files) != 2 {
		t.Errorf("they are %q", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v %v", f, info.Mode(), err)
		}
	}
}

func kind(t *testing.T, err error, want be.Kind, says ...string) {
	t.Helper()
	for _, s := range append(says, "") {
		if be.KindOf(err) != want || !strings.Contains(err.Error(), s) {
			t.Errorf("error %v is of kind %d, want %d and %q", err, be.KindOf(err), want, s)
		}
	}
}

// listing is every file with its content.
func (w *world) listing() string {
	var out strings.Builder
	filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			out.WriteString(path + " " + string(b) + "\n")
		}
		return err
	})
	return out.String()
}

func TestNoRoomForAKernel(t *testing.T) {
	w := newWorld(t)
	w.ready("a")
	w.free = func(string) (int64, error) { return 3 << 19, nil }
	before := w.listing()
	e := w.entry("b")
	w.write(e, "initrd.img", "an initrd of its own")
	put := func() error {
		fits := w.loader(nil).Fits(t.Context(), e)
		err := w.loader(nil).Put(t.Context(), e)
		if fmt.Sprint(fits) != fmt.Sprint(err) {
			t.Errorf("beforehand %v, then %v", fits, err)
		}
		return err
	}
	kind(t, put(), be.Unbootable, "needs 3 MiB (2097195 bytes) and 1 MiB (1572864 bytes) are free", "thin")
	if after := w.listing(); after != before {
		t.Errorf("refused, and wrote:\n%s", after)
	}
	e.Root.FS, e.Root.Needs = "zfs", []string{"zstd_compress"}
	kind(t, put(), be.Unbootable, "zstd_compress", "--kernels root")
	// One that GRUB reads today, and may not tomorrow, is started from the root.
	e.Root.Needs, e.Root.MayNeed = nil, []string{"zstd_compress"}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.loader(nil).entryPath(e.ID))
	if err != nil || len(named(text)) != 0 {
		t.Errorf("it names %q %v", named(text), err)
	}
	w.free = nil
	if err := put(); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(w.loader(nil).entryPath(e.ID))
	if err != nil || len(named(text)) != 4 {
		t.Errorf("with room it names %q %v", named(text), err)
	}
}

func TestADamagedKernelIsNotArmed(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	for what, spoilt := range map[string]string{"the trial's": b, "the default's": a} {
		w := newWorld(t)
		l := w.ready("a", "b")
		text, err := os.ReadFile(l.entryPath(spoilt))
		if err != nil {
			t.Fatal(err)
		}
		kernel := filepath.Join(w.dir, "beadm/kernels", named(text)[0])
		if err := os.WriteFile(kernel, []byte("kernel of nobody"), 0o600); err != nil {
			t.Fatal(err)
		}
		kind(t, l.Arm(t.Context(), b), be.Unbootable, "damaged")
		kind(t, l.CheckEntryWhole(t.Context(), spoilt, w.entry("a").Root), be.Unbootable, "damaged")
		if spoilt == b {
			kind(t, l.SetDefault(t.Context(), b), be.Unbootable, "damaged")
		}
		if err := os.Remove(kernel); err != nil {
			t.Fatal(err)
		}
		kind(t, l.CheckEntry(t.Context(), spoilt, w.entry("a").Root), be.Unbootable, "not there")
		for _, letter := range []string{"a", "b"} {
			if err := l.Put(t.Context(), w.entry(letter)); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if err := l.Arm(t.Context(), b); err != nil {
			t.Errorf("%s, put again: %v", what, err)
		}
	}
}

// TestWhereKernelsAreRead holds what each of GRUB's own lists says.
func TestWhereKernelsAreRead(t *testing.T) {
	zfs := func(needs ...string) be.RootRef { return be.RootRef{FS: "zfs", Needs: needs} }
	grub206 := zfs("lz4_compress", "hole_birth", "embedded_data", "extensible_dataset", "large_blocks")
	for _, c := range []struct {
		name             string
		root             be.RootRef
		auto, inRootMode string // root, loader or refused
	}{
		{"all that 2.06 reads", grub206, "root", "root"},
		{"a pool without features", zfs(), "root", "root"},
		{"zstd", zfs("lz4_compress", "zstd_compress"), "loader", "root"},
		{"what `zpool upgrade` of OpenZFS 2.2 puts in use", zfs("head_errlog", "vdev_zaps_v2"), "loader", "root"},
		{"a snapshot of the top dataset", zfs("extensible_dataset", "zap_of_top_dataset"), "loader", "root"},
		{"encryption", zfs("encryption"), "loader", "refused"},
		{"large dnodes", zfs("large_dnode"), "loader", "refused"},
		{"a removed device", zfs("device_removal"), "loader", "refused"},
		{"what nobody has heard of", zfs("warp_drive"), "loader", "refused"},
		{"what may come", be.RootRef{FS: "zfs", Needs: grub206.Needs, MayNeed: []string{"zstd_compress"}}, "loader", "root"},
		{"what may come and does no harm", be.RootRef{FS: "zfs", MayNeed: []string{"large_blocks"}}, "root", "root"},
		{"btrfs with zstd on RAID1C3", be.RootRef{FS: "btrfs", Needs: []string{"mixed_backref", "compress_zstd", "raid1c34", "no_holes"}}, "root", "root"},
		{"btrfs on LUKS", be.RootRef{FS: "btrfs", Needs: []string{"mixed_backref", "dm-crypt"}}, "loader", "root"},
		{"a pool on a logical volume", zfs("lvm"), "loader", "root"},
		{"zoned btrfs", be.RootRef{FS: "btrfs", Needs: []string{"zoned"}}, "loader", "refused"},
		{"btrfs of tomorrow", be.RootRef{FS: "btrfs", Needs: []string{"incompat_bit_40"}}, "loader", "refused"},
		{"ext4", be.RootRef{FS: "ext4"}, "root", "root"},
		{"ext4 on a thin volume", be.RootRef{FS: "ext4", Needs: []string{"thin"}}, "loader", "refused"},
		{"/boot in another pool", zfs(be.NeedsBootPool), "loader", "refused"},
		{"a file system that GRUB has no module for", be.RootRef{FS: "bcachefs"}, "loader", "refused"},
	} {
		for mode, want := range map[string]string{"": c.auto, KernelsAuto: c.auto, KernelsRoot: c.inRootMode, KernelsLoader: "loader"} {
			l := New(Config{Kernels: mode})
			copied, must := l.place(c.root)
			got := "root"
			switch {
			case copied:
				got = "loader"
			case must != nil:
				got = "refused"
			}
			if got != want {
				t.Errorf("%s, --kernels %s: %s, want %s (%v)", c.name, mode, got, want, must)
			}
		}
	}
}

// TestARootThatGRUBNoLongerReads: a feature that came into use since the entry
// was written is noticed, and Put mends it.
func TestARootThatGRUBNoLongerReads(t *testing.T) {
	w := newWorld(t)
	e := w.entry("a")
	e.Root.FS, e.Root.Needs = "zfs", []string{"lz4_compress"}
	l := w.loader(nil)
	if err := l.Install(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckEntry(t.Context(), e.ID, e.Root); err != nil {
		t.Error(err)
	}
	kind(t, l.CheckEntry(t.Context(), loadertest.ID("b"), e.Root), be.NotFound)
	e.Root.Needs = append(e.Root.Needs, "zstd_compress")
	kind(t, l.CheckEntry(t.Context(), e.ID, e.Root), be.Unbootable, "zstd_compress")
	if k := w.kernels(); len(k) != 0 {
		t.Errorf("there are %q", k)
	}
	if err := l.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckEntry(t.Context(), e.ID, e.Root); err != nil {
		t.Error(err)
	}
	if p, err := w.play(); err != nil || p.ID != e.ID {
		t.Errorf("boots %+v %v", p, err)
	}
	// Nothing is brought where the installed GRUB is said to read it, and what
	// none reads is refused.
	w.mode = KernelsRoot
	if err := w.loader(nil).Put(t.Context(), e); err != nil || len(w.kernels()) != 0 {
		t.Errorf("--kernels root: %v, %q", err, w.kernels())
	}
	e.Root.Needs = append(e.Root.Needs, "encryption")
	before := w.listing()
	kind(t, w.loader(nil).Put(t.Context(), e), be.Unbootable, "encryption", "--kernels auto")
	if after := w.listing(); after != before {
		t.Errorf("refused, and wrote:\n%s", after)
	}
}

// TestGRUBsOwnListOfFeatures holds ours against the module that is installed.
func TestGRUBsOwnListOfFeatures(t *testing.T) {
	module, err := os.ReadFile("/usr/lib/grub/i386-pc/zfs.mod")
	if err != nil {
		t.Fatalf("%v: install grub-pc-bin", err)
	}
	var theirs []string
	for _, m := range regexp.MustCompile(`(?:com|org)\.[a-z-]+:([a-z0-9_]+)\x00`).FindAllSubmatch(module, -1) {
		theirs = append(theirs, string(m[1]))
	}
	for _, f := range readsSince206["zfs"] {
		if !slices.Contains(theirs, f) {
			t.Errorf("GRUB does not read %s: it reads %q", f, theirs)
		}
	}
	if bad := unread("zfs", theirs, true); len(bad) > 0 || len(theirs) < 5 {
		t.Errorf("GRUB reads %q, of which we do not know %q", theirs, bad)
	}
}
