package dir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// Store is the boot environments in one directory. Close it.
type Store struct {
	cfg    Config
	path   string   // of the BE root, without links
	dir    *os.File // the BE root, in a mount of its own with nothing mounted below
	guid   string
	shares bool // copies share their blocks
	btrfs  bool
	in     place // where the BE root is, as the mount table says it
	now    inode // of what is at cfg.Root; zero if it is not there

	// effect, if set, is called before and after everything that changes the
	// file system. An error from it before stands for a failure of it.
	effect func(when, what string) error
}

const (
	before = "before"
	after  = "after"
)

type inode struct{ dev, ino uint64 }

func inodeOf(st *unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

// Open finds the store. It is of kind NoStore where there can be none.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	s := &Store{cfg: cfg}
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	no := func(err error) error {
		return be.E(be.NoStore, "no boot environments in the directory %s: %w", s.cfg.BERoot, err)
	}
	if s.cfg.BERoot == "" {
		return be.E(be.NoStore, "no boot environments in a directory: none is named; give --beroot dir:/PATH")
	}
	path, err := filepath.Abs(s.cfg.BERoot)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return no(err)
	}
	if path == "/" {
		return be.E(be.NoStore, "no boot environments in the directory /: they need one of their own")
	}
	s.path = path
	tree, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return no(err)
	}
	defer unix.Close(tree)
	alone, err := unix.OpenTree(tree, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return problem(err, "cannot open the boot environments in %s", path)
	}
	defer unix.Close(alone)
	// The mount's own descriptor is only a place; reading wants an open file.
	fd, err := unix.Openat(alone, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return problem(err, "cannot open the boot environments in %s", path)
	}
	s.dir = os.NewFile(uintptr(fd), path)
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if s.in, err = placeOf(table, tree, path); err != nil {
		return problem(err, "cannot find the file system of %s", path)
	}
	id, err := handle(fd)
	if err != nil {
		return problem(err, "cannot identify %s", path)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%x:%s", fs.Type, id))
	s.guid = fmt.Sprintf("dir-%x", sum[:8])
	s.shares, s.btrfs = sharesBlocks(fd, int64(fs.Type)), fs.Type == btrfsMagic
	return s.findRunning()
}

// findRunning notes what is at the target's root. A host cannot go back to a
// directory: its own root is never taken for one of the boot environments.
func (s *Store) findRunning() error {
	var st unix.Stat_t
	if err := unix.Stat(s.cfg.Root, &st); err == nil {
		s.now = inodeOf(&st)
	}
	if err := unix.Stat("/", &st); err != nil {
		return err
	}
	host := inodeOf(&st)
	dirs, err := s.directories()
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if d.inode == host {
			return be.E(be.NoStore, "no boot environments in %s: %s is the root of this running system, and directories hold only guests and what is entered by chroot", s.path, filepath.Join(s.path, d.name))
		}
	}
	return nil
}

const zfsMagic = 0x2fc12fc1

// sharesBlocks tries it with files that have no name and nothing in them.
func sharesBlocks(dir int, fsType int64) bool {
	if fsType == zfsMagic { // where the copier reads every byte
		return false
	}
	var fds [2]int
	for i := range fds {
		fd, err := unix.Openat(dir, ".", unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return false // nothing can be copied to what is read-only
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	return unix.IoctlFileClone(fds[0], fds[1]) == nil
}

// Close lets go of the file system. What was mounted for the caller stays.
func (s *Store) Close() error {
	if s.dir == nil {
		return nil
	}
	return s.dir.Close()
}

// Caps: a copy of what is written to meanwhile is no instant of it.
func (s *Store) Caps() be.Caps { return be.Caps{Kind: "dir", Snapshots: true} }

// Location is dir: and the directory.
func (s *Store) Location() string { return "dir:" + s.path }

// GUID is a digest of which directory it is, whatever it is called.
func (s *Store) GUID() string { return s.guid }

// Free is what statfs says.
func (s *Store) Free(context.Context) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fd(), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Settle waits until what is free has not changed for a while: XFS and btrfs
// give back the space of what was deleted later, and nothing says when.
func (s *Store) Settle(ctx context.Context) error {
	last := int64(-1)
	for same := 0; same < 3; {
		if err := unix.Syncfs(s.fd()); err != nil {
			return err
		}
		free, err := s.Free(ctx)
		if err != nil {
			return err
		}
		if same++; free != last {
			same, last = 0, free
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// Flush writes everything to the disk.
func (s *Store) Flush(context.Context) error { return unix.Syncfs(s.fd()) }

// SetDefaultRoot does nothing: no loader starts a directory.
func (s *Store) SetDefaultRoot(ctx context.Context, name string) error {
	_, err := s.find(name)
	return err
}

// RootRef has nothing that a kernel could be told.
func (s *Store) RootRef(ctx context.Context, name string) (be.RootRef, error) {
	e, err := s.find(name)
	if err != nil {
		return be.RootRef{}, err
	}
	return be.RootRef{FS: s.in.fsType, Prefix: s.in.below(e.name)}, nil
}

func (s *Store) fd() int { return int(s.dir.Fd()) }

// do has one effect on the file system.
func (s *Store) do(f func() error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if s.cfg.Logger != nil {
		s.cfg.Logger.Debugf("%s: %s", s.path, what)
	}
	if s.effect != nil {
		if err := s.effect(before, what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if s.effect != nil {
		return s.effect(after, what)
	}
	return nil
}

func (s *Store) sync() error {
	return s.do(func() error { return unix.Syncfs(s.fd()) }, "write it to the disk")
}

func (s *Store) move(from, to string) error {
	return s.do(func() error {
		return unix.Renameat2(s.fd(), from, s.fd(), to, unix.RENAME_NOREPLACE)
	}, "rename %s to %s", from, to)
}

// undoMove renames back, if there is something to rename.
func (s *Store) undoMove(from, to string) error {
	err := unix.Renameat2(s.fd(), from, s.fd(), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// problem makes an error a user can act on of what a system call said.
func problem(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	var known *be.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return be.E(known.Kind, "%s: %w", what, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return be.E(be.Undone, "%s: the file system is full; destroy boot environments that are no longer needed (%w)", what, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return be.E(be.NoStore, "%s: its file system keeps no trusted extended attributes, as NFS does not (%w)", what, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return be.E(be.Denied, "%s: not permitted; run it as root (%w)", what, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY):
		return be.E(be.InUse, "%s: it is in use (%w)", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// beneath opens a directory below another one, on no condition by a link or
// across a mount.
func beneath(dirfd int, path string) (int, error) {
	return unix.Openat2(dirfd, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// handle is what no other directory of the file system is ever called. Where
// the file system has no handles, it is the number of the inode.
func handle(fd int) (string, error) {
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		return fmt.Sprintf("i%d", st.Ino), err
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x.%x", h.Type(), h.Bytes()), nil
}

// attr is what the attribute says of the directory itself: empty where it is
// not there, or was copied from another.
func attr(fd int, name string) (string, error) {
	b := make([]byte, 64<<10)
	n, err := unix.Fgetxattr(fd, name, b)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	id, err := handle(fd)
	if err != nil {
		return "", err
	}
	of, text, _ := strings.Cut(string(b[:n]), " ")
	if of != id {
		return "", nil
	}
	return text, nil
}

// setAttr takes the attribute away where the text is empty.
func (s *Store) setAttr(fd int, name, text string) error {
	if text == "" {
		if _, err := unix.Fgetxattr(fd, name, nil); errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return s.do(func() error { return unix.Fremovexattr(fd, name) }, "remove %s", name)
	}
	id, err := handle(fd)
	if err != nil {
		return err
	}
	err = s.do(func() error { return unix.Fsetxattr(fd, name, []byte(id+" "+text), 0) }, "set %s", name)
	if errors.Is(err, unix.ENOSPC) && len(text) > 1000 || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ERANGE) {
		return be.E(be.Usage, "a text of %d bytes is too long for this file system (%w)", len(text), err)
	}
	return err
}
