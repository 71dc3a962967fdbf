package lvm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// mountsOf are the mounts of a volume, whatever it was called when it was
// mounted.
func mountsOf(v *volume) (mounttable.Table, error) {
	d, ok := active(v)
	if !ok {
		return nil, nil
	}
	table, err := mounttable.Read()
	return table.Where(func(m *mountinfo.Info) bool { return mounttable.Device(m) == d.rdev }), err
}

// notMounted says where a volume is mounted, as an error.
func notMounted(v *volume, what string) error {
	list, err := mountsOf(v)
	if err == nil && len(list) > 0 {
		err = be.E(be.InUse, "%s is mounted at %s; unmount it first", what, list[0].Mountpoint)
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
		return be.E(be.InUse, "it is mounted at %s already", list[0].Mountpoint)
	}
	if err := mounttable.CheckEmpty(dir); err != nil {
		return err
	}
	if !readOnly {
		if err := s.unseal(ctx, v); err != nil {
			return err
		}
	}
	err = s.mount(ctx, v, dir, readOnly)
	if err != nil {
		undoing, cancel := settled(ctx)
		defer cancel()
		err = errors.Join(err, s.reseal(undoing, v))
	}
	return err
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
			err = s.unmountTree(ctx, list[i].Mountpoint, true)
		} else {
			err = s.unmount(list[i].Mountpoint, false)
		}
		if err != nil {
			return err
		}
	}
	return s.reseal(ctx, v)
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
	if err := mounttable.CheckEmpty(dir); err != nil {
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
	var left []device
	err := mounttable.Clear(dir, func(m *mountinfo.Info) error {
		d := deviceOf(mounttable.Device(m))
		if err := s.unmount(m.Mountpoint, force); err != nil {
			return err
		}
		if groupOf(d.name) == s.vg && strings.HasPrefix(d.name, deviceName(s.vg, snapshotPrefix)) {
			left = append(left, d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range left {
		// One that is still in use stays started; that harms nobody.
		if err := s.change(ctx, "lvchange", "-y", "-an", "--", s.vg+"/"+strings.TrimPrefix(d.name, deviceName(s.vg, ""))); err != nil {
			s.debugf("%v", err)
		}
	}
	return nil
}

// unmount takes the topmost mount off dir.
func (s *Store) unmount(dir string, force bool) error {
	what := "unmount " + dir
	s.debugf("%s", what)
	return s.do(what, func() error { return mounttable.Unmount(dir, force) })
}
