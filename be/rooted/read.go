package rooted

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is what Open says of a FIFO, socket, device or directory.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is what ReadFile and ReadFileLimit say of a file beyond their
// limit.
var ErrTooLarge = errors.New("file is too large")

// Open opens the regular file that path leads to, for reading. It never
// waits for a FIFO and never touches a device.
func (r *Root) Open(path string) (*os.File, error) { return r.open(path, true) }

// OpenNoFollow is Open, but refuses a link as the last component.
func (r *Root) OpenNoFollow(path string) (*os.File, error) { return r.open(path, false) }

func (r *Root) open(path string, follow bool) (f *os.File, err error) {
	err = r.at("open", path, follow, func(dirfd int, name string) error {
		f, err = openRegular(dirfd, name, unix.O_RDONLY)
		return err
	})
	return f, err
}

// openRegular looks before it opens, because opening a device can have
// effects, and looks again after, because the name may have changed between.
func openRegular(dirfd int, name string, flags int) (*os.File, error) {
	info, err := fstatat(dirfd, name)
	if err != nil {
		return nil, err
	}
	if !info.IsRegular() {
		return nil, ErrNotRegular
	}
	fd, err := openat(dirfd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err = fstat(fd, name)
	if err == nil && !info.IsRegular() {
		err = ErrNotRegular
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// maxWhole is what ReadFile reads at most: a hostile tree has files that fill
// any memory.
const maxWhole = 64 << 20

// ReadFile returns the content of the regular file that path leads to, of 64
// MiB at most.
func (r *Root) ReadFile(path string) ([]byte, error) {
	return r.ReadFileLimit(path, maxWhole)
}

// ReadFileLimit is ReadFile of at most limit bytes.
func (r *Root) ReadFileLimit(path string, limit int64) ([]byte, error) {
	f, err := r.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Before a byte is read, if it has that size already.
	if info, err := f.Stat(); err == nil && info.Size() > limit {
		return nil, r.wrap("read", path, ErrTooLarge)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, r.wrap("read", path, err)
	}
	if int64(len(data)) > limit {
		return nil, r.wrap("read", path, ErrTooLarge)
	}
	return data, nil
}

// Readlink returns the target of a link as it is written there.
func (r *Root) Readlink(path string) (target string, err error) {
	err = r.at("readlink", path, false, func(dirfd int, name string) error {
		target, err = readlinkat(dirfd, name)
		return err
	})
	return target, err
}

// ErrTooMany is what ReadDir and Walk say of a directory beyond their limit.
var ErrTooMany = errors.New("the directory holds more than 500000 names")

const maxNames = 500_000

// ReadDir lists the directory that path leads to, sorted by name, each entry
// with its own Info (links are not followed). One of more than 500000 names is
// an ErrTooMany: Scan and what knows its names need no such memory.
func (r *Root) ReadDir(path string) (list []Info, err error) {
	err = r.at("readdir", path, true, func(dirfd int, name string) error {
		fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		list, err = readdir(fd)
		return err
	})
	return list, err
}

func readdir(dirfd int) ([]Info, error) {
	// A descriptor of its own: reading a directory moves its offset.
	fd, err := openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(maxNames + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(names) > maxNames {
		return nil, ErrTooMany
	}
	sort.Strings(names)
	list := make([]Info, 0, len(names))
	for _, name := range names {
		info, err := fstatat(dirfd, name)
		if errors.Is(err, unix.ENOENT) { // gone since
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// MaxDepth is how deep Walk goes. It holds one descriptor a level, and a
// hostile tree is as deep as it likes.
const MaxDepth = 400

// SkipDir returned by a Walk function leaves the directory out.
var SkipDir = errors.New("skip this directory")

// Walk calls f for the name at path and for everything below it, parents
// first, in the order of names, with paths that begin with path. Links are
// reported, not followed, but for those before the last component of path.
// It stays where it is: mount points below are entered. An error of f, or of
// reading a directory, ends it; SkipDir leaves a directory out.
func (r *Root) Walk(path string, f func(path string, info Info) error) error {
	return r.at("walk", path, false, func(dirfd int, name string) error {
		info, err := fstatat(dirfd, name)
		if err != nil {
			return err
		}
		err = r.walkTree(dirfd, path, info, 0, f)
		if err == SkipDir {
			return nil
		}
		return err
	})
}

func (r *Root) walkTree(dirfd int, path string, info Info, depth int, f func(string, Info) error) error {
	if err := f(path, info); err != nil || !info.IsDir() {
		return err
	}
	if depth >= MaxDepth {
		return r.wrap("walk", path, fmt.Errorf("more than %d directories deep", MaxDepth))
	}
	fd, err := openat(dirfd, info.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return r.wrap("open", path, err)
	}
	defer unix.Close(fd)
	list, err := readdir(fd)
	if err != nil {
		return r.wrap("readdir", path, err)
	}
	for _, child := range list {
		below := path + "/" + child.Name
		if path == "/" {
			below = "/" + child.Name
		}
		err := r.walkTree(fd, below, child, depth+1, f)
		if err != nil && !(err == SkipDir && child.IsDir()) {
			return err
		}
	}
	return nil
}

// Scan is Walk in no order of names and in memory that does not grow with the
// directories, for trees of any size. What Avoid leaves out, and what goes
// while it is walked, is passed over. deep, if not nil, is told of a directory
// that is not entered because it is MaxDepth down, in place of an error: any
// user may make one.
func (r *Root) Scan(path string, deep func(path string) error, f func(path string, info Info) error) error {
	return r.at("scan", path, false, func(dirfd int, name string) error {
		info, err := fstatat(dirfd, name)
		if err != nil {
			return err
		}
		if err = r.scanTree(dirfd, path, info, 0, deep, f); err == SkipDir {
			return nil
		}
		return err
	})
}

func (r *Root) scanTree(dirfd int, path string, info Info, depth int, deep func(string) error, f func(string, Info) error) error {
	if err := f(path, info); err != nil || !info.IsDir() {
		return err
	}
	if depth >= MaxDepth && deep != nil {
		return deep(path)
	}
	if depth >= MaxDepth {
		return r.wrap("scan", path, fmt.Errorf("more than %d directories deep", MaxDepth))
	}
	fd, err := openat(dirfd, info.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return r.wrap("open", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			below := path + "/" + name
			if path == "/" {
				below = "/" + name
			}
			if r.avoid != nil && r.avoid(below) {
				continue
			}
			child, err := fstatat(fd, name)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return r.wrap("lstat", below, err)
			}
			err = r.scanTree(fd, below, child, depth+1, deep, f)
			if err != nil && !(err == SkipDir && child.IsDir()) {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return r.wrap("readdir", path, err)
		}
	}
}
