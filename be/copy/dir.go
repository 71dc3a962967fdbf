package copier

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// OpenDir opens the directory that path leads to inside root, for New. A link
// that appears on the way meanwhile is an error, never followed.
func OpenDir(root *rooted.Root, path string) (*os.File, error) {
	resolved, err := root.Resolve(path)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, p := range strings.Split(resolved, "/") {
		if p != "" {
			parts = append(parts, p)
		}
	}
	name := strings.TrimRight(root.Dir(), "/") + resolved
	fd, err := openBelow(root.Fd(), parts)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func openDir(dirfd int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, dirFlags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openBelow opens the directory reached from dirfd by the components of path,
// none of which is a link.
func openBelow(dirfd int, path []string) (int, error) {
	fd, err := openDir(dirfd, ".")
	for _, name := range path {
		if err != nil {
			break
		}
		var next int
		next, err = openDir(fd, name)
		unix.Close(fd)
		fd = next
	}
	return fd, err
}

// readNames is the sorted list of names in an open directory. The memory a
// pass takes is that of the largest directories on the way to where it is.
func readNames(dirfd int) ([]string, error) {
	// A descriptor of its own: reading a directory moves its offset.
	fd, err := openDir(dirfd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := NamesIn(f)
	sort.Strings(names)
	return names, err
}

const maxNames = 2_000_000

// NamesIn are the names that are left to read in an open directory. More than
// fit in memory are an error.
func NamesIn(dir *os.File) ([]string, error) {
	names, err := dir.Readdirnames(maxNames + 1)
	if err == io.EOF {
		err = nil
	}
	if len(names) > maxNames {
		return nil, fmt.Errorf("%s holds more than %d names", dir.Name(), maxNames)
	}
	return names, err
}

// removeAll deletes a name and what is below it, and counts the names.
func removeAll(dirfd int, name string, depth int) (int64, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if kind(&st) != unix.S_IFDIR {
		return 1, unix.Unlinkat(dirfd, name, 0)
	}
	if depth > rooted.MaxDepth {
		return 0, unix.ENAMETOOLONG
	}
	fd, err := openDir(dirfd, name)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	names, err := readNames(fd)
	if err != nil {
		return 0, err
	}
	count := int64(1)
	for _, child := range names {
		n, err := removeAll(fd, child, depth+1)
		count += n
		if err != nil {
			return count, err
		}
	}
	return count, unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
}

func tempName() string {
	var b [8]byte
	rand.Read(b[:])
	return rooted.TempPrefix + hex.EncodeToString(b[:])
}

func join(at []string) string { return strings.Join(at, "/") }

func kind(st *unix.Stat_t) uint32 { return uint32(st.Mode) & unix.S_IFMT }

func ctime(st *unix.Stat_t) (int64, int64) { return st.Ctim.Unix() }
func sec(st *unix.Stat_t) int64            { s, _ := ctime(st); return s }
func nsec(st *unix.Stat_t) int64           { _, n := ctime(st); return n }

func times(st *unix.Stat_t) []unix.Timespec { return []unix.Timespec{st.Atim, st.Mtim} }

// setAttr gives the open file or directory dst owner, attributes and mode of
// src. A capability comes after the owner, whose change would drop it; the
// mode comes last, so that nobody looks in who may not.
func setAttr(src, dst int, st *unix.Stat_t) error {
	if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(fdAttrs(src), fdAttrs(dst)); err != nil {
		return err
	}
	return unix.Fchmod(dst, uint32(st.Mode)&0o7777)
}

// Mounted says whether the open directory is the top of a mount.
func Mounted(dir *os.File) (bool, error) { return isMount(int(dir.Fd())) }

func renameLooking(dirfd int, from, to string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, to, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		return unix.EEXIST
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	return unix.Renameat(dirfd, from, dirfd, to)
}
