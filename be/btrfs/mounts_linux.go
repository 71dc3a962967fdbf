package btrfs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
)

// mounts is the mount table of this process, in the order of mounting.
type mounts struct {
	list []*mountinfo.Info
}

func readMounts() (*mounts, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return &mounts{list}, nil
}

// of is the mount that an open file was reached by. Where mounts lie one upon
// another only this tells which.
func (m *mounts) of(fd int) (*mountinfo.Info, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text, is := strings.CutPrefix(lines.Text(), "mnt_id:")
		if !is {
			continue
		}
		id, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for _, info := range m.list {
			if info.ID == id {
				return info, nil
			}
		}
		return nil, fmt.Errorf("mount %d is not in the mount table", id)
	}
	return nil, fmt.Errorf("%s names no mount", f.Name())
}

// mountsOf are the mounts of a subvolume, by its path from the top level, as a
// whole. The table's root field is that path whatever was mounted.
func (s *Store) mountsOf(table *mounts, path string) []*mountinfo.Info {
	var list []*mountinfo.Info
	for _, m := range table.list {
		if m.FSType == "btrfs" && m.Root == "/"+path && s.isOurs(m) {
			list = append(list, m)
		}
	}
	return list
}

// mountsWithin are those of it or of something inside it.
func (s *Store) mountsWithin(table *mounts, path string) []*mountinfo.Info {
	var list []*mountinfo.Info
	for _, m := range table.list {
		if m.FSType == "btrfs" && (m.Root == "/"+path || strings.HasPrefix(m.Root, "/"+path+"/")) && s.isOurs(m) {
			list = append(list, m)
		}
	}
	return list
}

// isOurs reports whether a mount is of the store's file system: a subvolume of
// the same path on another btrfs would pass for ours otherwise. What is
// visible at the mount point tells, unless another mount lies upon it; the
// source alone does not, it may be any device of the file system.
func (s *Store) isOurs(m *mountinfo.Info) bool {
	fd, err := unix.Open(m.Mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == nil {
		defer unix.Close(fd)
		if id, err := fsUUID(fd); err == nil && id == s.fsid {
			return true
		}
	}
	return sameDevice(m.Source, s.source)
}

func sameDevice(a, b string) bool {
	var x, y unix.Stat_t
	return a == b || unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Mode&unix.S_IFMT == unix.S_IFBLK && x.Rdev == y.Rdev
}

// mount mounts one subvolume at dir, by its number: names would have to be
// escaped.
func (s *Store) mount(sv *subvolume, dir string, readOnly bool) error {
	var flags uintptr
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	return s.do(func() error {
		return unix.Mount(s.source, dir, "btrfs", flags, fmt.Sprintf("subvolid=%d", sv.id))
	}, "mount subvolume %s at %s", sv.name, dir)
}

// checkEmpty makes sure that mounting at dir hides nothing.
func checkEmpty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if len(names) > 0 {
		return be.E(be.InUse, "cannot mount at %s: the directory is not empty", dir)
	}
	if err != nil && !isEOF(err) {
		return be.E(be.Usage, "cannot mount at %s: %w", dir, err)
	}
	return nil
}

// unmountTree takes away everything mounted at and below dir, last first.
func (s *Store) unmountTree(dir string, force bool) error {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", dir, err)
	}
	if dir == "/" {
		return be.E(be.InUse, "cannot unmount /: it is the root directory")
	}
	for {
		table, err := readMounts()
		if err != nil {
			return err
		}
		var last *mountinfo.Info
		for _, m := range table.list {
			if m.Mountpoint == dir || strings.HasPrefix(m.Mountpoint, dir+"/") {
				last = m
			}
		}
		if last == nil {
			return nil
		}
		if err := s.unmount(last.Mountpoint, force); err != nil {
			return err
		}
	}
}

// unmount takes the topmost mount off dir. What is in use a moment only (a
// scanner, udev) is waited for. A lazy unmount leaves the file system alive
// for those who use it, so it is only the last resort of force.
func (s *Store) unmount(dir string, force bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	return s.do(func() error {
		var err error
		for i := range 5 {
			if i > 0 {
				time.Sleep(40 * time.Millisecond)
			}
			if err = unix.Unmount(dir, flags); !errors.Is(err, unix.EBUSY) {
				return err
			}
			if force && i == 2 {
				flags |= unix.MNT_FORCE
			}
		}
		if force {
			return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		return be.E(be.InUse, "cannot unmount %s: it is in use; stop what uses it (fuser -vm %s), or force it (%w)", dir, dir, err)
	}, "unmount %s", dir)
}
