package rooted

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The kernel's own answer to "as in a chroot" is openat2(2) with
// RESOLVE_IN_ROOT: on any tree of directories, files and links, and any path,
// the walk ends at the same file, or fails the same way.
func TestWalkAsTheKernel(t *testing.T) {
	component := rapid.SampledFrom([]string{"a", "b", "c", "d", "..", "..", ".", ""})
	path := rapid.Custom(func(t *rapid.T) string {
		s := strings.Join(rapid.SliceOfN(component, 1, 6).Draw(t, "parts"), "/")
		if rapid.Bool().Draw(t, "absolute") {
			s = "/" + s
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		base, err := os.MkdirTemp("", "rooted")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(base)
		dir := filepath.Join(base, "root")
		os.Mkdir(dir, 0o755)
		os.WriteFile(filepath.Join(base, "a"), []byte("outside"), 0o644)
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range rapid.IntRange(0, 12).Draw(t, "names") {
			where := path.Draw(t, "where")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				r.MkdirAll(where, 0o755)
			case 1:
				r.WriteFileAtomic(where, []byte(where), Attr{Mode: 0o644})
			default:
				if target := bare(path.Draw(t, "target")); target != "" {
					r.Symlink(target, where)
				}
			}
		}
		p := path.Draw(t, "path")
		p = strings.TrimRight(p, "/.") // the kernel gives trailing slashes a meaning of their own
		if p == "" {
			p = "/"
		}
		fd, kernelErr := unix.Openat2(r.Fd(), p, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		info, err := r.Stat(p)
		if kernelErr != nil {
			if !errors.Is(err, kernelErr) {
				t.Fatalf("Stat(%q) = %v, the kernel says %v", p, err, kernelErr)
			}
			return
		}
		defer unix.Close(fd)
		if err != nil {
			t.Fatalf("Stat(%q) = %v, the kernel finds it", p, err)
		}
		var st unix.Stat_t
		unix.Fstat(fd, &st)
		if st.Ino != info.Ino || uint64(st.Dev) != info.Dev {
			t.Fatalf("Stat(%q) is another file than the kernel's", p)
		}
		resolved, err := r.Resolve(p)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := os.Lstat(filepath.Join(dir, resolved)); err != nil || plain.Mode()&os.ModeSymlink != 0 {
			t.Fatalf("Resolve(%q) = %q: %v, %v", p, resolved, plain, err)
		}
	})
}

// bare is a link's target without the slashes and dots at its end, by which the
// kernel asks for a directory and we for nothing more.
func bare(target string) string {
	for {
		s := strings.TrimSuffix(strings.TrimSuffix(target, "/"), "/.")
		if s == target || s == "" {
			return target
		}
		target = s
	}
}
