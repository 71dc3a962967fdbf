package dir

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// place is a directory as the mount table says it: by what file system it is in,
// and by its path from the top of that.
type place struct {
	major, minor int
	path         string
	fsType       string
}

func (p place) below(path string) string { return filepath.Join(p.path, path) }

// placeOf finds the mount that the open directory path was reached by.
func placeOf(table mounttable.Table, fd int, path string) (place, error) {
	m, err := table.Of(fd)
	if err != nil {
		return place{}, err
	}
	rest := strings.TrimPrefix(path, strings.TrimSuffix(m.Mountpoint, "/"))
	return place{m.Major, m.Minor, filepath.Join(m.Root, rest), m.FSType}, nil
}

// mountsOf are the mounts of what is at path below a place.
func (p place) mountsOf(table mounttable.Table, path string) mounttable.Table {
	return table.Where(func(m *mountinfo.Info) bool {
		return m.Major == p.major && m.Minor == p.minor && m.Root == p.below(path)
	})
}

// mountsWithin are those of it or of something inside it.
func (p place) mountsWithin(table mounttable.Table, path string) mounttable.Table {
	return table.Where(func(m *mountinfo.Info) bool {
		return m.Major == p.major && m.Minor == p.minor && mounttable.Inside(m.Root, p.below(path))
	})
}

// bind mounts what is at path in the BE root, and nothing that is mounted in
// it, at dir.
func (s *Store) bind(path, dir string, readOnly bool) error {
	return s.do(func() error {
		top, err := unix.Open(s.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(top)
		fd, err := unix.Openat2(top, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
		if errors.Is(err, unix.EXDEV) {
			return be.E(be.InUse, "something else is mounted on %s", filepath.Join(s.path, path))
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		// Its own, whatever is later mounted or unmounted where it came from.
		attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
		if readOnly {
			attr.Attr_set = unix.MOUNT_ATTR_RDONLY
		}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return err
		}
		return unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	}, "mount %s at %s", path, dir)
}

// UnmountDir takes away whatever is mounted at and below dir.
func (s *Store) UnmountDir(ctx context.Context, dir string) error { return s.unmountTree(dir, false) }

// unmountTree takes away everything mounted at and below dir, last first.
func (s *Store) unmountTree(dir string, force bool) error {
	return mounttable.Clear(dir, func(m *mountinfo.Info) error { return s.unmount(m.Mountpoint, force) })
}

// unmount takes the topmost mount off dir.
func (s *Store) unmount(dir string, force bool) error {
	return s.do(func() error { return mounttable.Unmount(dir, force) }, "unmount %s", dir)
}
