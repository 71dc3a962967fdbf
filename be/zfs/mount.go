package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"beadm/be"
)

// mountProperties are what a mount of a dataset depends on.
var mountProperties = []string{"type", "canmount", "mountpoint", "readonly", "atime", "relatime", "setuid", "devices", "exec"}

// mounted is one entry of the mount table.
type mounted struct {
	id       int
	source   string
	dir      string
	readOnly bool
}

// mountTable is the ZFS mounts of this process, in the order of mounting.
type mountTable []mounted

// of are the mounts of one dataset.
func (t mountTable) of(ds string) []mounted {
	var list []mounted
	for _, m := range t {
		if m.source == ds {
			list = append(list, m)
		}
	}
	return list
}

// within are those of a dataset and all below it, with its snapshots or not.
func (t mountTable) within(top string, snapshots bool) []mounted {
	var list []mounted
	for _, m := range t {
		ds, snap, _ := strings.Cut(m.source, "@")
		if within(ds, top) && (snap == "" || snapshots) {
			list = append(list, m)
		}
	}
	return list
}

// spot is a dataset and where it belongs below its boot environment's root.
type spot struct {
	d   *dataset
	rel string // "" is the root
}

// spots says what of a boot environment is mounted, and where: parents first.
// The root is always mounted, whatever its own properties say.
func spots(t *tree, top string) []spot {
	base := t.by[top].value("mountpoint")
	list := []spot{{d: t.by[top]}}
	for _, d := range t.parts(top) {
		at := d.value("mountpoint")
		if d.name == t.boots[top] { // whatever its own properties say, too
			list = append(list, spot{d, bootPath})
			continue
		}
		if d.name == top || d.value("canmount") == "off" || !strings.HasPrefix(at, "/") {
			continue
		}
		rel := at
		// Below a root that is itself somewhere: an altroot, or the habit of
		// giving each boot environment a mount point of its own.
		if strings.HasPrefix(base, "/") && base != "/" {
			if at == base {
				continue
			}
			rel = strings.TrimPrefix(at, base)
			if !strings.HasPrefix(rel, "/") {
				rel = at
			}
		}
		rel = strings.TrimPrefix(path.Clean(rel), "/")
		if rel == "" {
			continue
		}
		list = append(list, spot{d, rel})
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i].rel, list[j].rel
		if da, db := depth(a), depth(b); da != db {
			return da < db
		}
		return a < b
	})
	return list
}

func depth(rel string) int {
	if rel == "" {
		return 0
	}
	return strings.Count(rel, "/") + 1
}

// Mount mounts the root and everything below it that is not canmount=off.
func (s *Store) Mount(ctx context.Context, name, dir string, readOnly bool) error {
	return problem(s.mountBE(ctx, name, dir, readOnly, !readOnly), "cannot mount boot environment %s", name)
}

// mountBE mounts it, opened if it is read-only and that is asked for.
func (s *Store) mountBE(ctx context.Context, name, dir string, readOnly, open bool) error {
	if s.dataset(name) == s.now {
		return be.E(be.InUse, "it is running: it is mounted at %s", s.cfg.Root)
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	if m := table.within(s.dataset(name), false); len(m) > 0 {
		return be.E(be.InUse, "%s is mounted at %s already", m[0].source, m[0].dir)
	}
	t, err := s.readForMount(ctx, name, propIncomplete, propSealed)
	if err != nil {
		return err
	}
	top := t.by[s.dataset(name)]
	if top.local(propIncomplete) != "" {
		return be.E(be.InUse, "it is incomplete: an operation on it did not finish; destroy it")
	}
	// To look into one is what a boot does before that pool is there.
	if err := errors.Join(t.bootThere(top.name), t.bootGone(top.name)); err != nil && !readOnly {
		return err
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	s.notePlain(top)
	if !open || !isReadOnly(top) {
		return s.mountSpots(ctx, t, top.name, "", dir, readOnly)
	}
	if err := s.open(ctx, t, top.name); err != nil {
		return err
	}
	if t, err = s.readForMount(ctx, name, propSealed); err == nil {
		err = s.mountSpots(ctx, t, top.name, "", dir, readOnly)
	}
	if err != nil {
		undoing, cancel := settled(ctx)
		defer cancel()
		err = errors.Join(err, s.closeUnmounted(undoing, []string{top.name}))
	}
	return err
}

// readForMount reads one boot environment's file systems.
func (s *Store) readForMount(ctx context.Context, name string, more ...string) (*tree, error) {
	top := s.dataset(name)
	var t *tree
	var err error
	if s.memory != nil {
		if t, err = s.scan(ctx); err == nil {
			t = t.below(top, "filesystem")
		}
	} else {
		props := append(append([]string{}, mountProperties...), propUUID, propLibbeUUID, propBoot, propOf)
		for _, p := range append(more, propIncomplete) {
			if !slices.Contains(props, p) {
				props = append(props, p)
			}
		}
		if t, err = s.read(ctx, "filesystem", -1, top, props...); err == nil {
			err = s.addBoots(ctx, t, "filesystem", props...)
		}
	}
	if be.KindOf(err) == be.NotFound || err == nil && t.by[top] == nil {
		return nil, be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.root)
	}
	return t, err
}

// mountTree mounts a snapshot of a dataset that is no boot environment.
func (s *Store) mountTree(ctx context.Context, top, snap, dir string, readOnly bool) error {
	t, err := s.read(ctx, "filesystem", -1, top, mountProperties...)
	if err != nil {
		return err
	}
	if t.by[top] == nil {
		return be.E(be.NotFound, "%s is not a file system", top)
	}
	return s.mountSpots(ctx, t, top, snap, dir, readOnly)
}

func (s *Store) mountSpots(ctx context.Context, t *tree, top, snap, dir string, readOnly bool) error {
	list := spots(t, top)
	there := map[string]bool{}
	if snap != "" {
		var snaps *tree
		var err error
		for _, one := range t.tops(top) {
			if s.memory != nil && within(top, s.root) {
				if snaps, err = s.scan(ctx); err == nil {
					snaps = snaps.below(one, "snapshot")
				}
			} else {
				snaps, err = s.read(ctx, "snapshot", -1, one, "type")
			}
			if err != nil {
				return err
			}
			for _, n := range snaps.names {
				there[n] = true
			}
		}
		if !there[top+"@"+snap] {
			return be.E(be.NotFound, "there is no such snapshot; see beadm list -s")
		}
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	for _, sp := range list {
		if snap != "" {
			if !there[sp.d.name+"@"+snap] { // younger than the snapshot
				continue
			}
			sp.d = &dataset{name: sp.d.name + "@" + snap, keys: sp.d.keys, props: sp.d.props}
		}
		err := ctx.Err()
		if err == nil {
			err = s.mountSpot(ctx, sp, dir, readOnly)
		}
		if err != nil {
			undoing, cancel := settled(ctx)
			defer cancel()
			return errors.Join(err, s.unmountTree(undoing, dir, false))
		}
	}
	return nil
}

// mountSpot mounts one dataset at its place below dir.
func (s *Store) mountSpot(ctx context.Context, sp spot, dir string, readOnly bool) error {
	if sp.rel == "" {
		return s.mountHere(ctx, sp.d, dir, readOnly)
	}
	return s.mountBelow(ctx, sp.d, dir, sp.rel, readOnly)
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

// Unmount takes away every mount of the boot environment's datasets. If one
// is busy, those already taken away are mounted again.
func (s *Store) Unmount(ctx context.Context, name string, force bool) error {
	return problem(s.unmountBE(ctx, name, force), "cannot unmount boot environment %s", name)
}

func (s *Store) unmountBE(ctx context.Context, name string, force bool) error {
	top := s.dataset(name)
	if top == s.now {
		return be.E(be.InUse, "it is running")
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	boot, err := s.bootMounted(ctx, table, top)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(table), func(m mounted) bool {
		ds, _, _ := strings.Cut(m.source, "@")
		return !within(ds, top) && (boot == "" || !within(ds, boot))
	})
	if len(list) == 0 {
		_, err := s.find(ctx, name) // not there is an error, not mounted is none
		if be.KindOf(err) == be.InUse {
			return nil
		}
		return err
	}
	roots := table.of(top)
	if force {
		for i := len(roots) - 1; i >= 0; i-- {
			if err := s.unmountTree(ctx, roots[i].dir, true); err != nil {
				return err
			}
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		if force && gone(list[i]) {
			continue
		}
		err := s.unmount(ctx, list[i].dir, force)
		if err == nil {
			continue
		}
		if i < len(list)-1 && len(roots) > 0 {
			undoing, cancel := settled(ctx)
			defer cancel()
			err = errors.Join(err, s.complete(undoing, name, roots[0].dir, roots[0].readOnly))
		}
		return err
	}
	return s.closeUnmounted(ctx, []string{top})
}

// gone reports whether a mount is no longer in the table.
func gone(m mounted) bool {
	table, err := readMounts()
	if err != nil {
		return false
	}
	for _, now := range table.of(m.source) {
		if now.dir == m.dir {
			return false
		}
	}
	return true
}

// CompleteMounts runs one command and then mount(2) alone: it is in the way
// of every boot. A /boot in a pool that is not imported yet is left out, and
// BootPool says so.
func (s *Store) CompleteMounts(ctx context.Context, name, dir string) error {
	return problem(s.complete(ctx, name, dir, false), "cannot complete the mounts of boot environment %s", name)
}

func (s *Store) complete(ctx context.Context, name, dir string, readOnly bool) error {
	t, err := s.readForMount(ctx, name)
	if err != nil {
		return err
	}
	s.noteBoot(t, s.dataset(name))
	list := spots(t, s.dataset(name))
	table, err := readMounts()
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for _, sp := range list {
		at := filepath.Join(dir, sp.rel)
		here := false
		for _, m := range table.of(sp.d.name) {
			here = here || m.dir == at || sp.rel != "" && sp.d.name != t.boots[s.dataset(name)] && strings.HasPrefix(m.dir, strings.TrimSuffix(dir, "/")+"/")
		}
		if here {
			continue
		}
		if sp.rel == "" {
			return be.E(be.InUse, "its root is not mounted at %s", dir)
		}
		if err := s.mountSpot(ctx, sp, dir, readOnly); err != nil {
			return err
		}
	}
	return nil
}

// MountSnapshot mounts the snapshot and those of its name below read-only.
func (s *Store) MountSnapshot(ctx context.Context, name, snap, dir string) error {
	err := be.CheckSnapshotName(snap)
	var t *tree
	if err == nil {
		t, err = s.readForMount(ctx, name)
	}
	if err == nil {
		err = s.mountSpots(ctx, t, s.dataset(name), snap, dir, true)
	}
	return problem(err, "cannot mount snapshot %s@%s", name, snap)
}

// UnmountDir takes away whatever is mounted at and below dir.
func (s *Store) UnmountDir(ctx context.Context, dir string) error {
	tops, err := s.topsBelow(dir)
	if err != nil {
		return err
	}
	if err := s.unmountTree(ctx, dir, false); err != nil {
		return err
	}
	return s.closeUnmounted(ctx, tops)
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
	for {
		list, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if err := s.unmount(ctx, list[len(list)-1], force); err != nil {
			return err
		}
	}
}

func makePrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return os.Chmod(dir, 0o700)
}
