package btrfs

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

// Store is the boot environments below one directory of a btrfs. Close it.
type Store struct {
	cfg    Config
	source string // device to mount from
	fsid   string
	top    base   // the top level, in a mount of its own
	beroot base   // what holds the boot environments
	nowID  uint64 // subvolume mounted at cfg.Root; 0 if that is elsewhere

	// effect, if set, is called before and after everything that changes the
	// file system. An error from it before stands for a failure of it.
	effect func(when, what string) error
}

const (
	before = "before"
	after  = "after"
)

// base is an open directory that holds subvolumes of ours.
type base struct {
	dir   *os.File
	path  string // from the top level, no slash at the ends
	id    uint64 // subvolume that it is in
	inode uint64
}

func (b base) fd() int { return int(b.dir.Fd()) }

// join is the path of a name in it from the top level.
func (b base) join(name string) string { return join(b.path, name) }

// Open finds the store. It is of kind NoStore where there is none.
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
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	now, err := locate(s.cfg.Root, table)
	if err != nil && s.cfg.BERoot == "" {
		return err
	}
	var wantID, wantIno uint64
	switch root := s.cfg.BERoot; {
	case root == "":
		if now == nil {
			return be.E(be.NoStore, "no btrfs boot environments at %s: it is not on a btrfs; give --beroot DIRECTORY", s.cfg.Root)
		}
		if now.inode != firstFree {
			return be.E(be.NoStore, "no btrfs boot environments at %s: it is a directory inside a subvolume and not a subvolume; give --beroot DIRECTORY", s.cfg.Root)
		}
		if now.subvol == fsTreeID {
			return be.E(be.NoStore, "no btrfs boot environments at %s: it is the top level of the file system and cannot be exchanged; move the system into a subvolume first", s.cfg.Root)
		}
		s.source, s.fsid = now.source, now.fsid
	case strings.HasPrefix(root, "btrfs:"):
		fsid, path, _ := strings.Cut(strings.TrimPrefix(root, "btrfs:"), ":")
		s.fsid, s.beroot.path = fsid, strings.Trim(path, "/")
		if s.source, err = deviceOf(fsid); err != nil {
			return err
		}
	default:
		at, err := locate(root, table)
		if err != nil {
			return err
		}
		if at == nil {
			return be.E(be.NoStore, "no btrfs boot environments in %s: it is not on a btrfs", root)
		}
		s.source, s.fsid, wantID, wantIno = at.source, at.fsid, at.subvol, at.inode
	}
	dir, err := openTop(s.source)
	if err != nil {
		return problem(err, "cannot open the btrfs on %s", s.source)
	}
	s.top = base{dir: dir, id: fsTreeID, inode: firstFree}
	if got, err := fsUUID(s.fd()); err != nil || got != s.fsid {
		return problem(errors.Join(err, fmt.Errorf("it holds file system %s, not %s", got, s.fsid)), "cannot open the btrfs on %s", s.source)
	}
	if now != nil && now.fsid == s.fsid && now.inode == firstFree {
		s.nowID = now.subvol
	}
	if s.cfg.BERoot == "" {
		woods, err := s.scan()
		if err != nil {
			return err
		}
		sv := woods.byID[s.nowID]
		if sv == nil {
			return be.E(be.NoStore, "no btrfs boot environments at %s: its subvolume has been deleted", s.cfg.Root)
		}
		at, err := s.dirPath(woods, sv.id, firstFree)
		if err != nil {
			return problem(err, "cannot find the subvolume mounted at %s", s.cfg.Root)
		}
		if snapperNumber(at) == "" {
			wantID, wantIno = sv.parent, sv.dir
		}
	}
	if wantID != 0 {
		woods, err := s.scan()
		if err != nil {
			return err
		}
		if s.beroot.path, err = s.dirPath(woods, wantID, wantIno); err != nil {
			return problem(err, "cannot find the directory that holds the boot environments")
		}
	}
	fd, err := beneath(s.fd(), s.beroot.path)
	if err != nil {
		return be.E(be.NoStore, "no btrfs boot environments in /%s of file system %s: %w", s.beroot.path, s.fsid, err)
	}
	s.beroot.dir = os.NewFile(uintptr(fd), s.beroot.path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	s.beroot.inode = st.Ino
	s.beroot.id, err = subvolumeID(fd)
	return err
}

// Close lets go of the file system. What was mounted for the caller stays.
func (s *Store) Close() error {
	if s.beroot.dir != nil {
		s.beroot.dir.Close()
	}
	if s.top.dir != nil {
		return s.top.dir.Close()
	}
	return nil
}

// Caps: a BE with nested subvolumes is as many snapshots, one after another.
func (s *Store) Caps() be.Caps {
	return be.Caps{Kind: "btrfs", Snapshots: true, Hosts: true}
}

// Location is the directory given as BERoot, or btrfs:FSUUID:/PATH.
func (s *Store) Location() string {
	if s.cfg.BERoot != "" {
		return s.cfg.BERoot
	}
	return "btrfs:" + s.fsid + ":/" + s.beroot.path
}

// GUID is the file system's UUID, and for a BE root other than the top level
// a digest of which directory it is, whatever it is called.
func (s *Store) GUID() string {
	if s.beroot.id == fsTreeID && s.beroot.inode == firstFree {
		return s.fsid
	}
	// Numbers of subvolumes and inodes are never used again.
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%d", s.beroot.id, s.beroot.inode))
	return fmt.Sprintf("%s-%x", s.fsid, sum[:4])
}

// Where less than scarce is free, Free waits freeTime at most for more.
const (
	scarce   = 1 << 30
	freeTime = 10 * time.Second
)

// Free is what statfs says. Where that is little, it waits for the space of
// what was destroyed: the kernel clears deleted subvolumes in the background,
// and gives free what they held with the commit after that.
func (s *Store) Free(ctx context.Context) (int64, error) {
	settled := false
	for deadline := time.Now().Add(freeTime); ; {
		var st unix.Statfs_t
		if err := unix.Fstatfs(s.fd(), &st); err != nil {
			return 0, err
		}
		free := int64(st.Bavail) * st.Bsize
		if free >= scarce || settled || time.Now().After(deadline) {
			return free, nil
		}
		deleted, err := search(s.fd(), rootTreeID, orphans, orphans)
		if err != nil {
			return 0, err
		}
		settled = len(deleted) == 0
		// Unlike syncfs it wakes the thread that clears.
		if err := ioctl(s.fd(), iocSync, nil); err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
		if settled {
			continue
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Flush commits the file system's transaction. fsync alone writes to the log
// tree, which no loader reads.
func (s *Store) Flush(context.Context) error {
	return unix.Syncfs(s.fd())
}

// SetDefaultRoot does nothing: the root is selected by rootflags=subvol=.
func (s *Store) SetDefaultRoot(ctx context.Context, name string) error {
	_, err := s.find(name)
	return err
}

// RootRef names the subvolume by its path from the top level.
func (s *Store) RootRef(ctx context.Context, name string) (be.RootRef, error) {
	e, err := s.find(name)
	if err != nil {
		return be.RootRef{}, err
	}
	path := s.beroot.join(e.name)
	if strings.ContainsAny(path, " \t\n\"',\\$") {
		return be.RootRef{}, be.E(be.Unbootable, "cannot boot boot environment %s: its subvolume /%s has a name that kernel arguments cannot carry; rename it", name, path)
	}
	needs, err := s.features()
	if err != nil {
		return be.RootRef{}, fmt.Errorf("cannot see which features of the btrfs %s a loader must know: %w", s.fsid, err)
	}
	ref := s.refOf(path)
	ref.Needs = needs
	return ref, nil
}

// refOf names the subvolume at path, from the top level.
func (s *Store) refOf(path string) be.RootRef {
	return be.RootRef{
		FS:     "btrfs",
		FSUUID: s.fsid,
		Prefix: "/" + path,
		Args:   []string{"root=UUID=" + s.fsid, "rootflags=subvol=" + path},
	}
}

func (s *Store) fd() int { return s.top.fd() }

// do has one effect on the file system.
func (s *Store) do(f func() error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if s.cfg.Logger != nil {
		s.cfg.Logger.Debugf("btrfs %s: %s", s.fsid, what)
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
		return be.E(be.Undone, "%s: the file system is full; destroy boot environments or snapshots that are no longer needed (%w)", what, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return be.E(be.Denied, "%s: not permitted; run it as root (%w)", what, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY):
		return be.E(be.InUse, "%s: it is in use (%w)", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// openTop mounts the top level for this process alone, attached nowhere.
func openTop(source string) (*os.File, error) {
	fd, err := mountTop(source, false)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) {
		// A file system that had an error stays read-only; what is in it can
		// still be listed.
		if ro, roErr := mountTop(source, true); roErr == nil {
			fd, err = ro, nil
		}
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// The mount's own descriptor is only a place; ioctl wants an open file.
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dir), source), nil
}

func mountTop(source string, readOnly bool) (int, error) {
	fs, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", source); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	if err := unix.FsconfigSetString(fs, "subvolid", "5"); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	if readOnly {
		if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
			return -1, fmt.Errorf("fsconfig: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// beneath opens a directory below another one, on no condition by a link.
func beneath(dirfd int, path string) (int, error) {
	if path == "" {
		path = "."
	}
	return unix.Openat2(dirfd, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

// place is where in a btrfs a directory is.
type place struct {
	source, fsid  string
	subvol, inode uint64
}

// locate is nil if dir is not on a btrfs.
func locate(dir string, table mounttable.Table) (*place, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, be.E(be.NoStore, "no boot environments at %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, err
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	p := &place{inode: st.Ino}
	if p.subvol, err = subvolumeID(fd); err != nil {
		return nil, problem(err, "cannot read the btrfs at %s", dir)
	}
	if p.fsid, err = fsUUID(fd); err != nil {
		return nil, problem(err, "cannot read the btrfs at %s", dir)
	}
	m, err := table.Of(fd)
	if err != nil {
		return nil, err
	}
	p.source = m.Source
	// The source is what mount was told, /dev/root for one.
	if st, err := os.Stat(p.source); err != nil || st.Mode()&os.ModeDevice == 0 {
		if p.source, err = deviceOf(p.fsid); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// deviceOf finds a device of a file system, mounted or not.
func deviceOf(fsid string) (string, error) {
	if be.UUID(fsid).ID() == "" || strings.ContainsAny(fsid, "/.") {
		return "", be.E(be.NoStore, "no btrfs boot environments: %q is not the UUID of a file system", fsid)
	}
	if list, err := os.ReadDir(filepath.Join("/sys/fs/btrfs", fsid, "devices")); err == nil {
		for _, e := range list {
			// A device mapper name has its slash as an exclamation mark.
			dev := "/dev/" + strings.ReplaceAll(e.Name(), "!", "/")
			if _, err := os.Stat(dev); err == nil {
				return dev, nil
			}
		}
	}
	dev, err := filepath.EvalSymlinks("/dev/disk/by-uuid/" + fsid)
	if err != nil {
		return "", be.E(be.NoStore, "no btrfs boot environments: no device holds file system %s", fsid)
	}
	return dev, nil
}
