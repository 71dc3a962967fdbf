package rooted

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Attr is what a written file gets beside its content.
type Attr struct {
	Mode  fs.FileMode // permissions, setuid, setgid, sticky; its type is not looked at
	UID   int
	GID   int
	Mtime time.Time // zero: now

	// Xattrs are all extended attributes the file has then, ACLs, file
	// capabilities and labels included. nil leaves those that the kernel
	// gives a new file.
	Xattrs map[string][]byte
}

// TempPrefix begins the name of every file that is not in place yet. It
// begins with a dot and holds none but that: run-parts, sudo and cron pass
// over it.
const TempPrefix = ".beadm-new-"

// Staged is a file or link that is complete but does not have its name yet.
// Commit or Discard ends it. It holds no descriptor: thousands may be staged.
type Staged struct {
	r    *Root
	temp string
	path string
}

// Stage writes a regular file beside the name at path, which Commit then
// replaces. The last component of path is not followed: a link there is
// replaced by the file. Until it is complete nobody but root can read it, and
// afterwards nobody whom attr does not allow to. Nothing is synced.
func (r *Root) Stage(path string, content io.Reader, attr Attr) (*Staged, error) {
	s, err := r.stage(path, func(dirfd int, temp string) error {
		// Mode 0: an ACL inherited from the directory is masked by it.
		fd, err := openat(dirfd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		if err := copySparse(f, content); err != nil {
			return err
		}
		if err := attr.apply(f); err != nil {
			return err
		}
		return attr.applyTime(dirfd, temp)
	})
	return s, r.wrap("write", path, err)
}

var (
	copyBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}
	zeros       [4096]byte
)

// copySparse writes no block that holds nothing but zeros: a hole stays one, and
// a file of many gigabytes that is mostly holes fits where it was.
func copySparse(f *os.File, content io.Reader) error {
	room := copyBuffers.Get().(*[128 << 10]byte)
	defer copyBuffers.Put(room)
	buf, zero := room[:], zeros[:]
	size := int64(0)
	for {
		n, err := io.ReadFull(content, buf)
		for at := 0; at < n; at += len(zero) {
			block := buf[at:min(at+len(zero), n)]
			if bytes.Equal(block, zero[:len(block)]) {
				continue
			}
			end := at + len(block) // with all that follows and is not zero
			for end < n && !bytes.Equal(buf[end:min(end+len(zero), n)], zero[:min(len(zero), n-end)]) {
				end = min(end+len(zero), n)
			}
			if _, err := f.WriteAt(buf[at:end], size+int64(at)); err != nil {
				return err
			}
			at = end - len(zero)
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return f.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}

// StageSymlink is Stage for a link.
func (r *Root) StageSymlink(target, path string, uid, gid int) (*Staged, error) {
	s, err := r.stage(path, func(dirfd int, temp string) error {
		if err := symlinkat(target, dirfd, temp); err != nil {
			return err
		}
		return unix.Fchownat(dirfd, temp, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
	return s, r.wrap("symlink", path, err)
}

// StageLink is Stage for one more name of the regular file at of, which is not
// followed. It fails as link(2) does, on another file system say.
func (r *Root) StageLink(of, path string) (*Staged, error) {
	s, err := r.stage(path, func(dirfd int, temp string) error {
		return r.at("link", of, false, func(offd int, name string) error {
			return linkat(offd, name, dirfd, temp)
		})
	})
	return s, r.wrap("link", path, err)
}

// Temp is the path at which the staged file is until it has its name.
func (s *Staged) Temp() string { return parent(s.path) + "/" + s.temp }

// MkdirAttr makes a directory that is as attr says from the moment it has its
// name. fs.ErrExist if there is something of that name.
func (r *Root) MkdirAttr(path string, attr Attr) error {
	return r.at("mkdir", path, false, func(dirfd int, name string) error {
		if _, err := fstatat(dirfd, name); err == nil {
			return unix.EEXIST
		}
		temp := tempName()
		if err := mkdirat(dirfd, temp, 0o700); err != nil {
			return err
		}
		err := attr.applyToDir(dirfd, temp)
		if err == nil {
			err = renameNoReplace(dirfd, temp, dirfd, name)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // OpenZFS before 2.2 has no such rename
			err = unix.Renameat(dirfd, temp, dirfd, name)
		}
		if err != nil {
			unix.Unlinkat(dirfd, temp, unix.AT_REMOVEDIR)
		}
		return err
	})
}

func (a Attr) applyToDir(dirfd int, name string) error {
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := a.apply(f); err != nil {
		return err
	}
	return a.applyTime(dirfd, name)
}

func tempName() string {
	var b [8]byte
	rand.Read(b[:])
	return TempPrefix + hex.EncodeToString(b[:])
}

func (r *Root) stage(path string, make func(dirfd int, temp string) error) (*Staged, error) {
	s := &Staged{r: r, temp: tempName(), path: path}
	err := r.at("write", path, false, func(dirfd int, name string) error {
		if name == "." {
			return unix.EISDIR
		}
		err := make(dirfd, s.temp)
		if err != nil {
			unix.Unlinkat(dirfd, s.temp, 0)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// apply sets owner, attributes and mode in the order that never lets anybody
// read who may not: the mode, 0 until then, comes last; a capability comes
// after the owner, whose change would drop it.
func (a Attr) apply(f *os.File) error {
	fd := int(f.Fd())
	if err := unix.Fchown(fd, a.UID, a.GID); err != nil {
		return err
	}
	if a.Xattrs != nil {
		if err := setXattrs(fd, a.Xattrs); err != nil {
			return err
		}
	}
	return unix.Fchmod(fd, UnixPerm(a.Mode))
}

// applyTime is apart because a time to the nanosecond needs the name.
func (a Attr) applyTime(dirfd int, name string) error {
	if a.Mtime.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(a.Mtime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// Sync makes content and attributes of the staged file durable.
func (s *Staged) Sync() error {
	return s.r.at("sync", s.path, false, func(dirfd int, _ string) error {
		f, err := openRegular(dirfd, s.temp, unix.O_RDONLY)
		if errors.Is(err, ErrNotRegular) { // a link has no content to sync
			return nil
		}
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		return err
	})
}

// Commit gives the file its name, in one atomic step. The caller syncs.
func (s *Staged) Commit() error {
	return s.r.at("rename", s.path, false, func(dirfd int, name string) error {
		err := unix.Renameat(dirfd, s.temp, dirfd, name)
		// Between two names of one file rename(2) does nothing.
		unix.Unlinkat(dirfd, s.temp, 0)
		return err
	})
}

// Discard removes the file.
func (s *Staged) Discard() {
	s.r.at("remove", s.path, false, func(dirfd int, _ string) error {
		return unix.Unlinkat(dirfd, s.temp, 0)
	})
}

// WriteFileAtomic replaces the name at path by a regular file, durably: after
// a power cut there is the old file or the whole new one. See Stage for links
// and for who can read it.
func (r *Root) WriteFileAtomic(path string, data []byte, attr Attr) error {
	s, err := r.Stage(path, bytes.NewReader(data), attr)
	if err != nil {
		return err
	}
	// The content first: a name that is durable before its content is an
	// empty file after a power cut.
	if err := s.Sync(); err != nil {
		s.Discard()
		return err
	}
	if err := s.Commit(); err != nil {
		return err
	}
	return r.SyncDir(parent(path))
}

// SymlinkAtomic makes path a link to target, replacing a file or link.
func (r *Root) SymlinkAtomic(target, path string, uid, gid int) error {
	s, err := r.StageSymlink(target, path, uid, gid)
	if err != nil {
		return err
	}
	if err := s.Commit(); err != nil {
		return err
	}
	return r.SyncDir(parent(path))
}

// SweepTemp removes from the directory at path what an interrupted Stage or
// MkdirAttr left there. A directory that is not there is fine.
func (r *Root) SweepTemp(path string) error {
	list, err := r.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, info := range list {
		if strings.HasPrefix(info.Name, TempPrefix) {
			err := r.Remove(path + "/" + info.Name)
			if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) { // nobody of ours made that
				continue
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// SyncDir makes the names in the directory that path leads to durable.
func (r *Root) SyncDir(path string) error {
	return r.at("sync", path, true, func(dirfd int, name string) error {
		fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Fsync(fd)
	})
}

// SyncFS makes all that was written to the file system of the root durable,
// or to all file systems where the kernel cannot do that for one.
func (r *Root) SyncFS() error { return r.wrap("syncfs", "/", syncfs(r.Fd())) }

// SyncFSAt is SyncFS for the file system that the directory at path is on.
func (r *Root) SyncFSAt(path string) error {
	return r.at("syncfs", path, true, func(dirfd int, name string) error {
		fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return syncfs(fd)
	})
}

// Symlink makes a new link.
func (r *Root) Symlink(target, path string) error {
	return r.at("symlink", path, false, func(dirfd int, name string) error {
		return symlinkat(target, dirfd, name)
	})
}

// Rename renames, replacing as rename(2) does. No last component is followed.
func (r *Root) Rename(from, to string) error {
	return r.two("rename", from, to, unix.Renameat)
}

// RenameNoReplace fails with fs.ErrExist where to is there already.
func (r *Root) RenameNoReplace(from, to string) error {
	return r.two("rename", from, to, renameNoReplace)
}

// Exchange swaps two names in one atomic step. Where the kernel cannot, the
// error is errors.ErrUnsupported and nothing happened.
func (r *Root) Exchange(a, b string) error { return r.two("exchange", a, b, exchange) }

// Link makes a second name for the file at from, which is not followed.
func (r *Root) Link(from, to string) error {
	return r.two("link", from, to, func(fromfd int, from string, tofd int, to string) error {
		return linkat(fromfd, from, tofd, to)
	})
}

func (r *Root) two(op, from, to string, f func(fromfd int, from string, tofd int, to string) error) error {
	return r.at(op, from, false, func(fromfd int, fromName string) error {
		return r.at(op, to, false, func(tofd int, toName string) error {
			return f(fromfd, fromName, tofd, toName)
		})
	})
}

// Remove removes a name: a file, a link, an empty directory.
func (r *Root) Remove(path string) error {
	return r.at("remove", path, false, func(dirfd int, name string) error {
		return unlink(dirfd, name)
	})
}

func unlink(dirfd int, name string) error {
	info, err := fstatat(dirfd, name)
	if err != nil {
		return err
	}
	// Never unlink(2) on a directory: where root may, it breaks UFS.
	if info.IsDir() {
		return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
	}
	return unix.Unlinkat(dirfd, name, 0)
}

// RemoveAll removes path and what is below it, never following a link. Not
// there is no error.
func (r *Root) RemoveAll(path string) error {
	err := r.at("remove", path, false, func(dirfd int, name string) error {
		return removeAll(dirfd, name, 0, -1)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeAll removes name and all below it. What is deeper than MaxDepth below
// top, the directory that is removed, is lifted into that first: whoever made it
// keeps nobody from removing it.
func removeAll(dirfd int, name string, depth, top int) error {
	info, err := fstatat(dirfd, name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return unix.Unlinkat(dirfd, name, 0)
	}
	if depth > MaxDepth {
		return renameNoReplace(dirfd, name, top, tempName())
	}
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if top < 0 {
		top = fd
	}
	for {
		names, err := someNames(fd)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
		}
		for _, child := range names {
			if err := removeAll(fd, child, depth+1, top); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
}

// someNames are some of those in a directory, from its beginning: it may hold
// more than fit in memory.
func someNames(dirfd int) ([]string, error) {
	fd, err := openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(4096)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

// Mkdir makes one directory with exactly this mode, whatever the umask.
func (r *Root) Mkdir(path string, mode fs.FileMode) error {
	return r.at("mkdir", path, false, func(dirfd int, name string) error {
		return mkdirat(dirfd, name, mode)
	})
}

func mkdirat(dirfd int, name string, mode fs.FileMode) error {
	if err := unix.Mkdirat(dirfd, name, UnixPerm(mode)&0o700); err != nil {
		return err
	}
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, UnixPerm(mode))
}

// MkdirAll makes path and its missing parents, following links, dangling ones
// too: those are made where they point. What is there keeps its mode; a file
// in the way is an error.
func (r *Root) MkdirAll(path string, mode fs.FileMode) error {
	p, err := r.walk(path, true, func(p *place, rest []string) error {
		for _, c := range rest {
			if c == ".." {
				p.pop()
				continue
			}
			if err := mkdirat(p.dirfd(), c, mode); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
			fd, err := openat(p.dirfd(), c, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
			if err != nil {
				return err
			}
			p.fds, p.names = append(p.fds, fd), append(p.names, c)
		}
		p.name = "."
		return nil
	})
	if err == nil {
		var info Info
		if info, err = fstatat(p.dirfd(), p.name); err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
		p.close()
	}
	return r.wrap("mkdir", path, err)
}

// SetAttr gives the name at path, which is not followed, the owner, mode,
// attributes and time of attr; of a link only the owner.
func (r *Root) SetAttr(path string, attr Attr) error {
	return r.at("chmod", path, false, func(dirfd int, name string) error {
		info, err := fstatat(dirfd, name)
		switch {
		case err != nil:
			return err
		case info.IsLink():
			return unix.Fchownat(dirfd, name, attr.UID, attr.GID, unix.AT_SYMLINK_NOFOLLOW)
		case info.IsDir():
			return attr.applyToDir(dirfd, name)
		}
		f, err := openRegular(dirfd, name, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer f.Close()
		// What is about to become unreadable to somebody must not become
		// readable to somebody else on the way: the old mode may fit the old
		// owner only.
		if err := unix.Fchmod(int(f.Fd()), info.Perm()&UnixPerm(attr.Mode)&0o700); err != nil {
			return err
		}
		if err := attr.apply(f); err != nil {
			return err
		}
		return attr.applyTime(dirfd, name)
	})
}

// Xattrs are the extended attributes of the name at path, which is not
// followed; for links, and where the system has none, it is empty.
func (r *Root) Xattrs(path string) (attrs map[string][]byte, err error) {
	err = r.at("getxattr", path, false, func(dirfd int, name string) error {
		info, err := fstatat(dirfd, name)
		if err != nil || !info.IsDir() && !info.IsRegular() {
			return err
		}
		flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
		if info.IsDir() {
			flags |= unix.O_DIRECTORY
		}
		fd, err := openat(dirfd, name, flags, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		attrs, err = getXattrs(fd)
		return err
	})
	return attrs, err
}

// XattrsOf are those of an open file, as Xattrs has them.
func XattrsOf(f *os.File) (map[string][]byte, error) {
	attrs, err := getXattrs(int(f.Fd()))
	if err != nil {
		return nil, &fs.PathError{Op: "getxattr", Path: f.Name(), Err: err}
	}
	return attrs, nil
}

// parent is the path of the directory that holds the last component of path,
// links before it not looked at.
func parent(path string) string {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/"
	}
	return path[:i]
}
