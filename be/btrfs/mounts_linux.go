package btrfs

import (
	"fmt"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be/mounttable"
)

// mountsOf are the mounts of a subvolume, by its path from the top level, as a
// whole. The table's root field is that path whatever was mounted.
func (s *Store) mountsOf(table mounttable.Table, path string) mounttable.Table {
	return table.Where(func(m *mountinfo.Info) bool { return m.FSType == "btrfs" && m.Root == "/"+path && s.isOurs(m) })
}

// mountsWithin are those of it or of something inside it.
func (s *Store) mountsWithin(table mounttable.Table, path string) mounttable.Table {
	return table.Where(func(m *mountinfo.Info) bool {
		return m.FSType == "btrfs" && mounttable.Inside(m.Root, "/"+path) && s.isOurs(m)
	})
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

// unmountTree takes away everything mounted at and below dir, last first.
func (s *Store) unmountTree(dir string, force bool) error {
	return mounttable.Clear(dir, func(m *mountinfo.Info) error { return s.unmount(m.Mountpoint, force) })
}

// unmount takes the topmost mount off dir.
func (s *Store) unmount(dir string, force bool) error {
	return s.do(func() error { return mounttable.Unmount(dir, force) }, "unmount %s", dir)
}
