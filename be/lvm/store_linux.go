package lvm

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/blockdev"
	"beadm/be/mounttable"
)

// Store is the boot environments in one thin pool.
type Store struct {
	cfg      Config
	vg, pool string
	guid     string // of the pool
	now      string // id of the volume mounted at cfg.Root; empty if that is none

	remember     bool
	known        *tree    // what is remembered
	knownSharing *sharing // with known

	// effect, if set, is called before and after everything that changes the
	// disk or the mount table. An error from it before stands for a failure of it.
	effect func(when, what string) error
}

// Open finds the store. It is of kind NoStore where there is none; a root that
// is on no volume of LVM needs no command to be seen as such.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	findTools()
	s := &Store{cfg: cfg}
	now, err := deviceAt(cfg.Root)
	if err != nil && cfg.BERoot == "" {
		return nil, be.E(be.NoStore, "no LVM boot environments at %s: %w", cfg.Root, err)
	}
	s.now = now.id
	if cfg.BERoot == "" {
		if now.id == "" {
			return nil, be.E(be.NoStore, "no LVM boot environments at %s: no logical volume is mounted there; give --beroot VG/POOL", cfg.Root)
		}
		if s.vg = groupOf(now.name); !nameRule.MatchString(s.vg) {
			return nil, be.E(be.NoStore, "no LVM boot environments at %s: %q is no device of LVM's", cfg.Root, now.name)
		}
	} else {
		var ok bool
		if s.vg, s.pool, ok = splitPool(cfg.BERoot); !ok {
			return nil, be.E(be.Usage, "%q is not the name of a thin pool: give --beroot VG/POOL", cfg.BERoot)
		}
	}
	t, err := s.scan(ctx)
	if err != nil {
		var tool *toolError
		if errors.As(err, &tool) && kindOf(tool.stderr) == be.NoStore {
			return nil, be.E(be.NoStore, "no LVM boot environments in %s: there is no volume group %s", s.Location(), s.vg)
		}
		return nil, problem(err, "no LVM boot environments in volume group %s", s.vg)
	}
	running := t.find(func(v *volume) bool { return s.isNow(v) })
	if cfg.BERoot == "" {
		if running == nil {
			return nil, be.E(be.NoStore, "no LVM boot environments at %s: %s has no volume that is what is mounted there", cfg.Root, s.vg)
		}
		if running.pool == "" || !slices.Contains(running.layout, "thin") {
			return nil, be.E(be.NoStore, "no LVM boot environments at %s: %s is not a thin volume, and only of those there are copies that last; see lvmthin(7)", cfg.Root, running.path())
		}
		s.pool = running.pool
	}
	pool := t.named(s.pool)
	if pool == nil || !slices.Contains(pool.layout, "pool") || !slices.Contains(pool.layout, "thin") {
		return nil, be.E(be.NoStore, "no LVM boot environments in %s: it is not a thin pool", s.Location())
	}
	s.guid = pool.uuid
	if running != nil && running.pool == s.pool && decode(running.name) == "" {
		return nil, be.E(be.NoStore, "no LVM boot environments at %s: the name of volume %s is not one of a boot environment; rename it", cfg.Root, running.path())
	}
	if running != nil && now.kind == "btrfs" {
		return nil, be.E(be.NoStore, "no LVM boot environments at %s: it is a btrfs, and that cannot be mounted beside a copy of its volume", cfg.Root)
	}
	return s, nil
}

// IsVolume says whether what is mounted at root is a logical volume.
func IsVolume(root string) bool {
	d, err := deviceAt(root)
	return err == nil && d.id != ""
}

// Close does nothing: nothing is open between two calls.
func (s *Store) Close() error { return nil }

// Caps: a boot environment is one volume, and its snapshots do not need it.
func (s *Store) Caps() be.Caps {
	return be.Caps{Kind: "lvm", Snapshots: true, Atomic: true, Hosts: true}
}

// Location is VG/POOL.
func (s *Store) Location() string { return s.vg + "/" + s.pool }

// GUID is the UUID that LVM gave the pool.
func (s *Store) GUID() string { return s.guid }

// Remember keeps what lvs said until something is changed through this store.
func (s *Store) Remember(on bool) { s.remember, s.known, s.knownSharing = on, nil, nil }

// scan asks LVM for all volumes of the group.
func (s *Store) scan(ctx context.Context) (*tree, error) {
	if s.known != nil {
		return s.known, nil
	}
	argv := withConfig([]string{"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", strings.Join(columns, ",")}, timeFormat)
	out, err := s.output(ctx, append(argv, "--", s.vg)...)
	if err != nil {
		return nil, err
	}
	t, err := parseReport(out)
	if err == nil && s.remember {
		s.known = t
	}
	return t, err
}

func (s *Store) isNow(v *volume) bool { return s.now != "" && v.id() == s.now }

// isBE says whether a volume of the pool is a boot environment: by its mark, or
// because it runs.
func (s *Store) isBE(v *volume) bool {
	return v.pool == s.pool && !v.isSnapshot() && decode(v.name) != "" && (v.tag(tagUUID) != "" || s.isNow(v))
}

// in is the boot environment of that name, also an incomplete one.
func (s *Store) in(t *tree, name string) (*volume, error) {
	v := t.find(func(v *volume) bool { return s.isBE(v) && decode(v.name) == name })
	if v == nil {
		return nil, be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.Location())
	}
	return v, nil
}

// whole is in, but of one that no operation has left half done.
func (s *Store) whole(t *tree, name string) (*volume, error) {
	v, err := s.in(t, name)
	if err == nil && v.tag(tagIncomplete) != "" {
		err = be.E(be.InUse, "boot environment %s is incomplete: an operation on it did not finish; destroy it", name)
	}
	return v, err
}

func (s *Store) find(ctx context.Context, name string) (*tree, *volume, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, nil, err
	}
	v, err := s.whole(t, name)
	return t, v, err
}

// RootRef names the volume by its path: its file system's UUID is that of all
// its copies.
func (s *Store) RootRef(ctx context.Context, name string) (be.RootRef, error) {
	_, v, err := s.find(ctx, name)
	if err != nil {
		return be.RootRef{}, problem(err, "cannot name the root of boot environment %s", name)
	}
	dev, sb, err := s.started(ctx, v)
	if err != nil {
		return be.RootRef{}, problem(err, "cannot name the root of boot environment %s", name)
	}
	needs, err := blockdev.Layers(dev.sys)
	if err != nil {
		return be.RootRef{}, problem(err, "cannot see what %s is on", v.path())
	}
	needs = append(needs, "thin")
	slices.Sort(needs)
	ref := refOf(v, sb)
	ref.Needs = needs
	return ref, nil
}

// refOf is RootRef, without what a loader must know.
func refOf(v *volume, sb superblock) be.RootRef {
	// The second is dracut's, whose initramfs starts only what it names.
	args := []string{"root=" + v.node(), "rd.lvm.lv=" + v.path()}
	if v.isReadOnly() {
		args = append(args, "ro") // an initramfs fails to mount it otherwise
	}
	return be.RootRef{FS: sb.kind, Label: sb.label, FSUUID: sb.uuid, Prefix: "/", Args: args}
}

// SetDefaultRoot does nothing: the root is selected by root=.
func (s *Store) SetDefaultRoot(ctx context.Context, name string) error {
	_, _, err := s.find(ctx, name)
	return problem(err, "cannot make %s the default root", name)
}

// Free is what is free in the pool.
func (s *Store) Free(ctx context.Context) (int64, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return 0, problem(err, "cannot read what is free in %s", s.Location())
	}
	pool := t.named(s.pool)
	if pool == nil {
		return 0, be.E(be.NoStore, "there is no thin pool %s any more", s.Location())
	}
	return pool.size - pool.mapped(), nil
}

// Flush writes out the file systems of the group that are mounted.
func (s *Store) Flush(context.Context) error {
	return s.do("flush "+s.Location(), func() error {
		list, err := mounttable.Read()
		if err != nil {
			return err
		}
		done := map[uint64]bool{}
		var problems []error
		for _, m := range list {
			dev := mounttable.Device(m)
			if done[dev] || groupOf(deviceOf(dev).name) != s.vg {
				continue
			}
			done[dev] = true
			fd, err := unix.Open(m.Mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue // hidden below another mount, or a file
			}
			if err == nil {
				err = unix.Syncfs(fd)
				unix.Close(fd)
			}
			if err != nil {
				problems = append(problems, problem(err, "cannot flush %s", m.Mountpoint))
			}
		}
		return errors.Join(problems...)
	})
}
