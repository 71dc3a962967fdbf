package lvm

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

// mounted is one entry of the mount table.
type mounted struct {
	id   int
	dev  uint64
	root string // what of the file system
	dir  string
	kind string
}

// readMounts reads the mount table of this process, in the order of mounting.
func readMounts() ([]mounted, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var table []mounted
	for _, m := range list {
		table = append(table, mounted{id: m.ID, dev: unix.Mkdev(uint32(m.Major), uint32(m.Minor)), root: m.Root, dir: m.Mountpoint, kind: m.FSType})
	}
	return table, nil
}

// mountID is the mount that an open file was reached by. Where mounts lie one
// upon another only this tells which.
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

// mountsOf are the mounts of a volume, whatever it was called when it was
// mounted.
func mountsOf(v *volume) ([]mounted, error) {
	d, ok := active(v)
	if !ok {
		return nil, nil
	}
	table, err := readMounts()
	if err != nil {
		return nil, err
	}
	var list []mounted
	for _, m := range table {
		if m.dev == d.rdev {
			list = append(list, m)
		}
	}
	return list, nil
}

// notMounted says where a volume is mounted, as an error.
func notMounted(v *volume, what string) error {
	list, err := mountsOf(v)
	if err == nil && len(list) > 0 {
		err = be.E(be.InUse, "%s is mounted at %s; unmount it first", what, list[0].dir)
	}
	return err
}

// Mount mounts the volume's file system.
func (s *Store) Mount(ctx context.Context, name, dir string, readOnly bool) error {
	return problem(s.mountBE(ctx, name, dir, readOnly), "cannot mount boot environment %s", name)
}

func (s *Store) mountBE(ctx context.Context, name, dir string, readOnly bool) error {
	_, v, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if s.isNow(v) {
		return be.E(be.InUse, "it is running: it is mounted at %s", s.cfg.Root)
	}
	list, err := mountsOf(v)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return be.E(be.InUse, "it is mounted at %s already", list[0].dir)
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	return s.mount(ctx, v, dir, readOnly)
}

// mount mounts a volume, which is started if it is not.
func (s *Store) mount(ctx context.Context, v *volume, dir string, readOnly bool) error {
	d, sb, err := s.started(ctx, v)
	if err != nil {
		return err
	}
	var flags uintptr
	if readOnly || v.readOnly {
		flags |= unix.MS_RDONLY
	}
	what := fmt.Sprintf("mount %s at %s", d.node, dir)
	s.debugf("%s", what)
	return s.do(what, func() error {
		if err := unix.Mount(d.node, dir, sb.kind, flags, sb.mountOptions()); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
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

// Unmount takes away every mount of the boot environment; with force also what
// others have mounted below it.
func (s *Store) Unmount(ctx context.Context, name string, force bool) error {
	return problem(s.unmountBE(ctx, name, force), "cannot unmount boot environment %s", name)
}

func (s *Store) unmountBE(ctx context.Context, name string, force bool) error {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	v, err := s.in(t, name)
	if err != nil {
		return err
	}
	if s.isNow(v) {
		return be.E(be.InUse, "it is running")
	}
	list, err := mountsOf(v)
	if err != nil {
		return err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if force {
			err = s.unmountTree(ctx, list[i].dir, true)
		} else {
			err = s.unmount(list[i].dir, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CompleteMounts has nothing to do but to see that the boot environment is
// there: it is one volume.
func (s *Store) CompleteMounts(ctx context.Context, name, dir string) error {
	_, _, err := s.find(ctx, name)
	return problem(err, "cannot complete the mounts of boot environment %s", name)
}

// MountSnapshot mounts a snapshot read-only. Its volume is started for that, and
// stopped by UnmountDir.
func (s *Store) MountSnapshot(ctx context.Context, name, snap, dir string) error {
	t, v, err := s.find(ctx, name)
	if err == nil {
		err = s.mountSnapshot(ctx, t, v.tag(tagUUID), name, snap, dir)
	}
	return problem(err, "cannot mount snapshot %s@%s", name, snap)
}

func (s *Store) mountSnapshot(ctx context.Context, t *tree, owner, name, snap, dir string) error {
	v, err := snapshotIn(t, owner, name, snap)
	if err != nil {
		return err
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	return s.mount(ctx, v, dir, true)
}

// UnmountDir takes away whatever is mounted at and below dir.
func (s *Store) UnmountDir(ctx context.Context, dir string) error {
	return s.unmountTree(ctx, dir, false)
}

// unmountTree takes away everything mounted at and below dir, last first.
func (s *Store) unmountTree(ctx context.Context, dir string, force bool) error {
	given := dir
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", given, err)
	}
	if dir == "/" {
		return be.E(be.InUse, "cannot unmount /: it is the root directory")
	}
	var left []device
	for {
		table, err := readMounts()
		if err != nil {
			return err
		}
		last := -1
		for i, m := range table {
			if m.dir == dir || strings.HasPrefix(m.dir, dir+"/") {
				last = i
			}
		}
		if last < 0 {
			break
		}
		d := deviceOf(table[last].dev)
		if err := s.unmount(table[last].dir, force); err != nil {
			return err
		}
		if groupOf(d.name) == s.vg && strings.HasPrefix(d.name, deviceName(s.vg, snapshotPrefix)) {
			left = append(left, d)
		}
	}
	for _, d := range left {
		// One that is still in use stays started; that harms nobody.
		if err := s.change(ctx, "lvchange", "-y", "-an", "--", s.vg+"/"+strings.TrimPrefix(d.name, deviceName(s.vg, ""))); err != nil {
			s.debugf("%v", err)
		}
	}
	return nil
}

// unmount takes the topmost mount off dir. What is in use a moment only (a
// scanner, udev) is waited for. A lazy unmount leaves the file system alive
// for those who use it, so it is only the last resort of force.
func (s *Store) unmount(dir string, force bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	what := "unmount " + dir
	s.debugf("%s", what)
	return s.do(what, func() error {
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
