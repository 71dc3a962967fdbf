package zfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

// readMounts reads the mount table of this process. The source of a ZFS mount
// is the dataset's name as it is now, also after a rename.
func readMounts() (mountTable, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var table mountTable
	for _, m := range list {
		if m.FSType == "zfs" {
			readOnly := strings.HasPrefix(m.Options+",", "ro,")
			table = append(table, mounted{id: m.ID, source: m.Source, dir: m.Mountpoint, readOnly: readOnly})
		}
	}
	return table, nil
}

// mountsBelow are the mount points at and below dir, of whatever kind.
func mountsBelow(dir string) ([]string, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var dirs []string
	for _, m := range list {
		if m.Mountpoint == dir || strings.HasPrefix(m.Mountpoint, dir+"/") {
			dirs = append(dirs, m.Mountpoint)
		}
	}
	return dirs, nil
}

// datasetAt is the dataset whose root directory dir is, by the topmost mount
// there, or empty.
func datasetAt(dir string) (string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	id, err := mountID(fd)
	if err != nil {
		return "", err
	}
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return "", fmt.Errorf("cannot read the mount table: %w", err)
	}
	for _, m := range list {
		if m.ID != id {
			continue
		}
		// Root: a bind mount of a directory inside is not the dataset. And
		// dir may be a directory far below the mount.
		if m.FSType != "zfs" || m.Root != "/" {
			return "", nil
		}
		same, err := sameFile(m.Mountpoint, fd)
		if err != nil || !same {
			return "", err
		}
		return m.Source, nil
	}
	return "", nil
}

func sameFile(name string, fd int) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Stat(name, &a); err != nil {
		return false, err
	}
	if err := unix.Fstat(fd, &b); err != nil {
		return false, err
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// mountID is the mount that an open file was reached by.
func mountID(fd int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, is := strings.CutPrefix(lines.Text(), "mnt_id:"); is {
			return strconv.Atoi(strings.TrimSpace(text))
		}
	}
	return 0, fmt.Errorf("%s names no mount", f.Name())
}

// mountFlags are what mount.zfs would make of the properties: on Linux the
// module itself does not look at them.
func mountFlags(d *dataset, readOnly bool) uintptr {
	var flags uintptr
	for prop, flag := range map[string]uintptr{"setuid": unix.MS_NOSUID, "devices": unix.MS_NODEV, "exec": unix.MS_NOEXEC} {
		if d.value(prop) == "off" {
			flags |= flag
		}
	}
	switch {
	case d.value("atime") == "off":
		flags |= unix.MS_NOATIME
	case d.value("relatime") == "off":
		flags |= unix.MS_STRICTATIME
	default:
		flags |= unix.MS_RELATIME
	}
	if readOnly { // readonly=on the module does look at, also when it changes
		flags |= unix.MS_RDONLY
	}
	return flags
}

// mountHere mounts a dataset at a directory of the host. zfsutil says that
// the mount point property is not to be looked at; the system call needs no
// program.
func (s *Store) mountHere(ctx context.Context, d *dataset, dir string, readOnly bool) error {
	what := fmt.Sprintf("mount %s at %s", d.name, dir)
	s.debugf("%s", what)
	data := "zfsutil"
	if d.value("mountpoint") == "legacy" || strings.Contains(d.name, "@") {
		data = ""
	}
	return s.do(what, func() error {
		var err error
		// The state file system is every guest's: while another's beadm unmounts it
		// for the last time, nobody can mount it.
		for range 100 {
			if err = unix.Mount(d.name, dir, "zfs", mountFlags(d, readOnly), data); !errors.Is(err, unix.EBUSY) || ctx.Err() != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			return mountProblem(err, d.name, dir)
		}
		return nil
	})
}

func mountProblem(err error, ds, dir string) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return be.E(be.Denied, "cannot mount %s at %s: its key is not loaded; see zfs load-key (%w)", ds, dir, err)
	case errors.Is(err, unix.EPERM):
		return be.E(be.Denied, "cannot mount %s at %s: not permitted; run it as root (%w)", ds, dir, err)
	}
	return fmt.Errorf("cannot mount %s at %s: %w", ds, dir, err)
}

// mountBelow mounts a dataset at a path inside the tree at dir, as a process
// chrooted into it would find it: a link there leads nowhere else. The mount
// point is made if it is missing.
func (s *Store) mountBelow(ctx context.Context, d *dataset, dir, rel string, readOnly bool) error {
	fd, err := inRoot(dir, rel)
	if errors.Is(err, unix.ENOENT) {
		var r *rooted.Root
		if r, err = rooted.Open(dir); err == nil {
			err = s.do(fmt.Sprintf("make directory %s in %s", rel, dir), func() error { return r.MkdirAll("/"+rel, 0o755) })
			r.Close()
		}
		if err == nil {
			fd, err = inRoot(dir, rel)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot mount %s at %s in %s: %w", d.name, rel, dir, err)
	}
	defer unix.Close(fd)
	return s.mountHere(ctx, d, fmt.Sprintf("/proc/self/fd/%d", fd), readOnly)
}

// inRoot opens a directory by a path inside another one, which is its root.
func inRoot(dir, rel string) (int, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return unix.Openat2(root, rel, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// unmount takes the topmost mount off dir. What is in use a moment only is
// waited for. A lazy unmount leaves the dataset busy for as long as somebody
// uses it, so it is only the last resort of force.
func (s *Store) unmount(ctx context.Context, dir string, force bool) error {
	what := "unmount " + dir
	s.debugf("%s", what)
	return s.do(what, func() error {
		flags := unix.UMOUNT_NOFOLLOW
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
	})
}
