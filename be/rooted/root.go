// Package rooted does file operations inside a directory tree as a process
// chrooted into it would see it, and never outside it.
//
// Links are followed as in a chroot: an absolute target starts again at the
// root, ".." at the root stays there. os.Root refuses such links instead,
// which in a boot environment (/var/run -> /run) is the wrong answer.
//
// A path is walked one component at a time over open directories, so that
// nobody who changes the tree meanwhile, a hostile guest included, can lead
// the walk out of it: ".." goes back to the directory the walk came from, not
// to what the file system calls the parent at that moment. Where Linux's
// openat2(RESOLVE_IN_ROOT) finds a directory, that is the same at once; the
// tests hold the walk against it.
//
// Paths are slash separated, with or without a leading slash; names may hold
// any byte but NUL. Nothing here opens a FIFO, a socket or a device.
package rooted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links one path may pass, as in Linux's path_resolution(7).
const maxLinks = 40

// Root is a directory that stands for "/". Its methods may be called from
// several goroutines.
type Root struct {
	dir   string
	f     *os.File
	avoid func(path string) bool
}

// ErrAvoided is what every method says of a path that leads to or through
// what Avoid leaves out.
var ErrAvoided = errors.New("mounted from elsewhere")

// Avoid leaves out every path, as resolved, that avoid says, before it is
// looked at: what is mounted there may never answer, and a link of anybody's
// leads there. It is called before anything else.
func (r *Root) Avoid(avoid func(path string) bool) { r.avoid = avoid }

// Open makes the directory dir, a path of the host, a Root.
func Open(dir string) (*Root, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Root{dir: dir, f: os.NewFile(uintptr(fd), dir)}, nil
}

// Close lets go of the directory; it can be unmounted then.
func (r *Root) Close() error { return r.f.Close() }

// Dir is the host's path of the root, as given to Open.
func (r *Root) Dir() string { return r.dir }

// Fd is the open root directory, for syncfs and the like. It stays the
// Root's own.
func (r *Root) Fd() int { return int(r.f.Fd()) }

// place is where a walk ended: the name of the last component and the open
// directory that holds it. The name is "." where the path ends at a directory
// that has no name of its own there ("/", "a/..").
type place struct {
	r     *Root
	fds   []int    // open directories below the root, fds[i] is named names[i]
	names []string // as resolved
	name  string
}

func (p *place) dirfd() int {
	if len(p.fds) == 0 {
		return p.r.Fd()
	}
	return p.fds[len(p.fds)-1]
}

func (p *place) pop() {
	if n := len(p.fds); n > 0 {
		unix.Close(p.fds[n-1])
		p.fds, p.names = p.fds[:n-1], p.names[:n-1]
	}
}

func (p *place) close() {
	for len(p.fds) > 0 {
		p.pop()
	}
}

// path is the place as a path inside the root without any link.
func (p *place) path() string {
	if p.name == "." {
		return "/" + strings.Join(p.names, "/")
	}
	return p.below(p.name)
}

// below is the path of name in the directory that the walk is in.
func (p *place) below(name string) string {
	if len(p.names) == 0 {
		return "/" + name
	}
	return "/" + strings.Join(p.names, "/") + "/" + name
}

// split cuts a path into components that mean something; a trailing "." or
// slash asks for nothing more.
func split(path string) []string {
	var parts []string
	for _, c := range strings.Split(path, "/") {
		if c != "" && c != "." {
			parts = append(parts, c)
		}
	}
	return parts
}

// walk resolves path up to its last component, and that too if follow is set.
// The caller closes the place. missing, if not nil, is called with the
// components that are left when one is not there, instead of failing.
func (r *Root) walk(path string, follow bool, missing func(p *place, rest []string) error) (*place, error) {
	if strings.IndexByte(path, 0) >= 0 {
		return nil, unix.EINVAL
	}
	p := &place{r: r, name: "."}
	todo := split(path)
	links := 0
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		if c == ".." {
			p.pop()
			continue
		}
		last := len(todo) == 0
		if r.avoid != nil && r.avoid(p.below(c)) {
			p.close()
			return nil, ErrAvoided
		}
		if last && !follow {
			p.name = c
			return p, nil
		}
		target, err := readlinkat(p.dirfd(), c)
		switch {
		case err == nil:
			if links++; links > maxLinks {
				p.close()
				return nil, unix.ELOOP
			}
			if strings.HasPrefix(target, "/") {
				for len(p.fds) > 0 {
					p.pop()
				}
			}
			todo = append(split(target), todo...)
			continue
		case errors.Is(err, unix.EINVAL): // there, and no link
			if last {
				p.name = c
				return p, nil
			}
		case errors.Is(err, unix.ENOENT):
			if missing != nil {
				if err := missing(p, append([]string{c}, todo...)); err != nil {
					p.close()
					return nil, err
				}
				return p, nil
			}
			if last {
				p.name = c
				return p, nil
			}
			p.close()
			return nil, err
		default:
			p.close()
			return nil, err
		}
		fd, err := openat(p.dirfd(), c, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			p.close()
			return nil, err
		}
		p.fds, p.names = append(p.fds, fd), append(p.names, c)
	}
	return p, nil
}

// at walks to path and calls f with the directory and the name it ends at.
func (r *Root) at(op, path string, follow bool, f func(dirfd int, name string) error) error {
	if dirfd, name, ok := r.parentAtOnce(path, follow); ok {
		err := f(dirfd, name)
		unix.Close(dirfd)
		return r.wrap(op, path, err)
	}
	p, err := r.walk(path, follow, nil)
	if err == nil {
		err = f(p.dirfd(), p.name)
		p.close()
	}
	return r.wrap(op, path, err)
}

// wrap says which path inside which root an error is about.
func (r *Root) wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	if r.dir == "/" {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return &fs.PathError{Op: op, Path: fmt.Sprintf("%s (in %s)", path, r.dir), Err: err}
}

// Resolve returns path with every link followed, as an absolute path inside
// the root. Components that are not there are kept as they are, like
// realpath -m does.
func (r *Root) Resolve(path string) (string, error) { return r.resolve(path, true) }

// ResolveParent is Resolve but for the last component, which is not followed.
func (r *Root) ResolveParent(path string) (string, error) { return r.resolve(path, false) }

func (r *Root) resolve(path string, follow bool) (string, error) {
	p, err := r.walk(path, follow, func(p *place, rest []string) error {
		var names []string
		for _, c := range rest {
			switch {
			case c != "..":
				names = append(names, c)
			case len(names) > 0:
				names = names[:len(names)-1]
			default:
				p.pop()
			}
		}
		p.name = "."
		if len(names) > 0 {
			p.name = strings.Join(names, "/")
		}
		return nil
	})
	if err != nil {
		return "", r.wrap("resolve", path, err)
	}
	defer p.close()
	return p.path(), nil
}

// HostPath is Resolve as a path of the host, for mount(2) and other programs.
// It holds only while nobody changes the tree: use it on trees at rest.
func (r *Root) HostPath(path string) (string, error) {
	in, err := r.Resolve(path)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(r.dir, "/") + in, nil
}

// openat repeats what a signal interrupts, and never hands the descriptor to
// a child.
func openat(dirfd int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, perm)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
