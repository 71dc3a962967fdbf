package dir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
)

// place is a directory as the mount table says it: by what file system it is in,
// and by its path from the top of that.
type place struct {
	major, minor int
	path         string
	fsType       string
}

func (p place) below(path string) string { return filepath.Join(p.path, path) }

// mounts is the mount table of this process, in the order of mounting.
type mounts []*mountinfo.Info

func readMounts() (mounts, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return list, nil
}

// placeOf finds the mount that the open directory path was reached by.
func (m mounts) placeOf(fd int, path string) (place, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return place{}, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, is := strings.CutPrefix(lines.Text(), "mnt_id:")
		if !is {
			continue
		}
		id, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return place{}, err
		}
		for _, info := range m {
			if info.ID == id {
				rest := strings.TrimPrefix(path, strings.TrimSuffix(info.Mountpoint, "/"))
				return place{info.Major, info.Minor, filepath.Join(info.Root, rest), info.FSType}, nil
			}
		}
	}
	return place{}, errors.New("its mount is not in the mount table")
}

// of are the mounts of what is at path below a place.
func (m mounts) of(p place, path string) mounts {
	return m.where(func(i *mountinfo.Info) bool {
		return i.Major == p.major && i.Minor == p.minor && i.Root == p.below(path)
	})
}

// within are those of it or of something inside it.
func (m mounts) within(p place, path string) mounts {
	return m.where(func(i *mountinfo.Info) bool {
		return i.Major == p.major && i.Minor == p.minor && inside(i.Root, p.below(path))
	})
}

// below are the mounts at or below a directory.
func (m mounts) below(dir string) mounts {
	return m.where(func(i *mountinfo.Info) bool { return inside(i.Mountpoint, dir) })
}

func (m mounts) where(is func(*mountinfo.Info) bool) (list mounts) {
	for _, i := range m {
		if is(i) {
			list = append(list, i)
		}
	}
	return list
}

func inside(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

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
	if err != nil && !errors.Is(err, io.EOF) {
		return be.E(be.Usage, "cannot mount at %s: %w", dir, err)
	}
	return nil
}

// UnmountDir takes away whatever is mounted at and below dir.
func (s *Store) UnmountDir(ctx context.Context, dir string) error { return s.unmountTree(dir, false) }

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
		at := table.below(dir)
		if len(at) == 0 {
			return nil
		}
		if err := s.unmount(at[len(at)-1].Mountpoint, force); err != nil {
			return err
		}
	}
}

// unmount takes the topmost mount off dir. What is in use a moment only is
// waited for. With force, what is in use goes out of sight at least.
func (s *Store) unmount(dir string, force bool) error {
	return s.do(func() error {
		var err error
		for i := range 5 {
			if i > 0 {
				time.Sleep(40 * time.Millisecond)
			}
			if err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
				return err
			}
		}
		if force {
			return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		return be.E(be.InUse, "cannot unmount %s: it is in use; stop what uses it (fuser -vm %s), or force it (%w)", dir, dir, err)
	}, "unmount %s", dir)
}
