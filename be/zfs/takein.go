package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"beadm/be"
)

// Taken is a file system that TakeIn makes a boot environment, as it was before.
type Taken struct {
	Dataset string `json:"dataset"`
	At      string `json:"at"` // its mount point
	// Inherited: that is not its own property.
	Inherited bool `json:"inherited,omitempty"`
	// ByHand are those of it and what is below it, as paths from it, that nothing
	// mounted by itself.
	ByHand []string `json:"by_hand,omitempty"`
}

// BERoot is the dataset that holds the boot environments of what was taken in,
// and has another beside it for what they share:
//
//	tank/machines/web1                        before
//	tank/machines/.beadm/web1/ROOT/default    after
//	tank/machines/.beadm/web1/VARSHARE
func (tk Taken) BERoot() string { return tk.holders()[2] }

// holders are the datasets above the boot environments, which nothing mounts.
func (tk Taken) holders() []string {
	ours := parent(tk.Dataset) + "/.beadm"
	mine := ours + strings.TrimPrefix(tk.Dataset, parent(tk.Dataset))
	return []string{ours, mine, mine + "/ROOT"}
}

// DatasetAt is the dataset whose root directory dir is; empty if it is that of
// none.
func DatasetAt(dir string) (string, error) { return datasetAt(dir) }

// IsPartOf says whether a dataset is top or below it.
func IsPartOf(ds, top string) bool { return within(ds, top) }

// LookAt describes the file system that is mounted at dir, and is of kind NoStore
// where it, or one below it, is mounted in a way that TakeIn could not move.
func LookAt(ctx context.Context, dir string, log Logger) (Taken, error) {
	ds, err := datasetAt(dir)
	if err != nil {
		return Taken{}, be.E(be.NotFound, "cannot look at %s: %w", dir, err)
	}
	if ds == "" || strings.Contains(ds, "@") {
		return Taken{}, be.E(be.NoStore, "no ZFS file system is mounted at %s: make it one, with its files in it", dir)
	}
	if parent(ds) == "" {
		return Taken{}, be.E(be.NoStore, "%s is mounted at %s, and a pool's own file system cannot be moved: have a file system of its own there", ds, dir)
	}
	findTools()
	s := &Store{cfg: Config{Logger: log}, root: ds}
	s.pool, _, _ = strings.Cut(ds, "/")
	t, err := s.read(ctx, "filesystem", -1, ds, "type", "canmount", "mountpoint")
	if err != nil {
		return Taken{}, problem(err, "cannot look at %s", ds)
	}
	altroot, err := s.altroot(ctx, s.pool)
	if err != nil {
		return Taken{}, problem(err, "cannot look at %s", ds)
	}
	if altroot != "" {
		return Taken{}, be.E(be.NoStore, "pool %s is imported below %s, as for a rescue: import it as it is always", s.pool, altroot)
	}
	tk := Taken{Dataset: ds, At: dir}
	for _, d := range t.parts(ds) {
		at, rel := d.value("mountpoint"), strings.TrimPrefix(d.name, ds)
		switch {
		case d.value("canmount") == "off" || at == "none":
			continue
		case d.name == ds && at != dir, at != dir && !strings.HasPrefix(at, dir+"/"):
			return Taken{}, be.E(be.NoStore, "%s is to be mounted below %s and has the mountpoint %s: give it one there, and canmount=on", d.name, dir, at)
		case d.value("canmount") == "noauto":
			tk.ByHand = append(tk.ByHand, rel)
		}
	}
	if t.by[ds].value("canmount") == "off" {
		return Taken{}, be.E(be.NoStore, "%s is mounted at %s and has canmount=off: give it canmount=on", ds, dir)
	}
	tk.Inherited = t.by[ds].local("mountpoint") == ""
	return tk, nil
}

// mover changes datasets that are in no store yet, or no more.
func mover(tk Taken, log Logger) *Store {
	findTools()
	s := &Store{cfg: Config{Logger: log}, root: tk.BERoot()}
	s.pool, _, _ = strings.Cut(s.root, "/")
	return s
}

// TakeIn makes the file system, with all below it and without copying any of it,
// the boot environment name below tk.BERoot, which it makes, and unmounts it:
// from then on nothing mounts it by itself. base is what its mountpoint becomes:
// one that nobody asks for. It may be repeated after a cut. One that is in use is
// be.InUse, and nothing has changed then.
func TakeIn(ctx context.Context, tk Taken, name, base string, log Logger) error {
	return problem(mover(tk, log).takeIn(ctx, tk, name, base), "cannot make %s a boot environment", tk.Dataset)
}

func (s *Store) takeIn(ctx context.Context, tk Taken, name, base string) error {
	if err := checkNewName(name); err != nil {
		return err
	}
	for _, ds := range tk.holders() {
		there, err := s.isThere(ctx, ds)
		if err == nil && !there {
			err = s.change(ctx, "zfs", "create", "-o", "canmount=off", "-o", "mountpoint=none", ds)
		}
		if err != nil {
			return err
		}
	}
	before, err := s.isThere(ctx, tk.Dataset)
	if err != nil {
		return err
	}
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	all := s.environments(t)
	switch {
	case before && len(all) > 0:
		return be.E(be.InUse, "there is %s already: destroy one of both, or move it elsewhere", all[0].name)
	case !before && len(all) != 1:
		return be.E(be.NotFound, "there is neither %s nor one boot environment in %s", tk.Dataset, s.root)
	}
	from, top := tk.Dataset, s.dataset(name)
	if !before {
		from = all[0].name
	}
	if err := s.unmountTree(ctx, tk.At, false); err != nil {
		if before {
			undoing, cancel := settled(ctx)
			defer cancel()
			err = errors.Join(err, s.asBefore(undoing, tk))
		}
		return err
	}
	if from != top {
		if err := s.moveTo(ctx, from, top); err != nil {
			return err
		}
	}
	if t, err = s.read(ctx, "filesystem", -1, top, "type", "canmount", "mountpoint"); err != nil {
		return err
	}
	// All of this first: zfs mounts what gets a mountpoint and had none.
	for _, d := range t.parts(top) {
		if d.value("canmount") == "on" {
			if err := s.set(ctx, d.name, setting{"canmount", "noauto"}); err != nil {
				return err
			}
		}
	}
	for _, d := range t.parts(top) {
		if list := remount(d, d.name == top, tk.At, base); len(list) > 0 {
			if err := s.set(ctx, d.name, list...); err != nil {
				return err
			}
		}
	}
	dropMountPoints(t.parts(top), tk.At, base)
	return nil
}

// dropMountPoints removes the empty directories at and below at, where nothing
// is mounted any more, that a host's boot after a cut has made for parts of what
// was mounted there.
func dropMountPoints(parts []*dataset, at, base string) {
	for _, d := range slices.Backward(parts) {
		for _, above := range []string{at, base} {
			rest, below := strings.CutPrefix(d.value("mountpoint"), above+"/")
			for ; below && rest != "."; rest = path.Dir(rest) {
				os.Remove(path.Join(at, rest)) // what is not empty stays
			}
		}
	}
}

// remount is the mountpoint of a part of what is to be below to and was below
// from, or as its root said; none if that is so already, or comes from above.
func remount(d *dataset, top bool, from, to string) []setting {
	at := d.local("mountpoint")
	switch {
	case top && d.value("mountpoint") != to:
		return []setting{{"mountpoint", to}}
	case top || !path.IsAbs(at) || within(at, to):
		return nil
	}
	return []setting{{"mountpoint", rebased(at, from, to)}}
}

// rebased is a place below from as one below to. Any other is one of the root that
// is to be at to, as spots has it.
func rebased(at, from, to string) string {
	if from != "/" && within(at, from) {
		at = strings.TrimPrefix(at, from)
	}
	return path.Join(to, at)
}

func (s *Store) moveTo(ctx context.Context, from, to string) error {
	argv := append([]string{"zfs", "rename"}, renameFlags...)
	return s.change(ctx, append(argv, from, to)...)
}

func (s *Store) isThere(ctx context.Context, ds string) (bool, error) {
	_, err := s.read(ctx, "filesystem,volume", 0, ds, "type")
	if be.KindOf(err) == be.NotFound {
		return false, nil
	}
	return err == nil, err
}

// GiveOut is the reverse of TakeIn, for the only boot environment that is left
// there and is not mounted: in the end it is mounted as it was before. It may be
// repeated after a cut.
func GiveOut(ctx context.Context, tk Taken, base string, log Logger) error {
	return problem(mover(tk, log).giveOut(ctx, tk, base), "cannot put %s back", tk.Dataset)
}

func (s *Store) giveOut(ctx context.Context, tk Taken, base string) error {
	holds, err := s.isThere(ctx, s.root)
	if err != nil {
		return err
	}
	if holds {
		t, err := s.scan(ctx)
		if err != nil {
			return err
		}
		all := s.environments(t)
		if len(all) > 1 {
			return be.E(be.InUse, "%s is not alone in %s", all[0].name, s.root)
		}
		// With its old mount point before its old name: after a cut in between the
		// host's boot mounts it there.
		for _, top := range all {
			for _, d := range t.parts(top.name) {
				list := remount(d, d == top, base, tk.At)
				if d.value("canmount") == "noauto" && !slices.Contains(tk.ByHand, strings.TrimPrefix(d.name, top.name)) {
					list = append(list, setting{"canmount", "on"})
				}
				if len(list) > 0 {
					if err := s.set(ctx, d.name, list...); err != nil {
						return err
					}
				}
			}
			if err := s.moveTo(ctx, top.name, tk.Dataset); err != nil {
				return err
			}
		}
	}
	if err := s.asBefore(ctx, tk); err != nil {
		return err
	}
	holders := tk.holders()
	slices.Reverse(holders)
	for i, ds := range holders {
		there, err := s.isThere(ctx, ds)
		if err == nil && there {
			err = s.change(ctx, "zfs", "destroy", ds)
		}
		if err != nil && i < len(holders)-1 { // the last may hold those of others
			return err
		}
	}
	return nil
}

// asBefore mounts what has its old name again.
func (s *Store) asBefore(ctx context.Context, tk Taken) error {
	if tk.Inherited {
		t, err := s.read(ctx, "filesystem", 0, tk.Dataset, "mountpoint")
		if err != nil {
			return err
		}
		if t.by[tk.Dataset].local("mountpoint") != "" {
			// A boot after a cut has mounted it, with what is below it: zfs takes
			// it off to mount it anew, and cannot take off the rest.
			if err := s.unmountTree(ctx, tk.At, false); err != nil {
				return err
			}
			if err := s.change(ctx, "zfs", "inherit", "mountpoint", tk.Dataset); err != nil {
				return err
			}
		}
	}
	t, err := s.read(ctx, "filesystem", -1, tk.Dataset, mountProperties...)
	if err != nil {
		return err
	}
	if at := t.by[tk.Dataset].value("mountpoint"); at != tk.At {
		return be.E(be.Other, "its mountpoint is %s now, and was %s: set it", at, tk.At)
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range t.parts(tk.Dataset) {
		at := d.value("mountpoint")
		hand := slices.Contains(tk.ByHand, strings.TrimPrefix(d.name, tk.Dataset)) && d.name != tk.Dataset
		if hand || d.value("canmount") == "off" || !path.IsAbs(at) || len(table.of(d.name)) > 0 {
			continue
		}
		if err := s.change(ctx, "zfs", "mount", d.name); err != nil {
			errs = append(errs, fmt.Errorf("it is there again, and not mounted: %w", err))
		}
	}
	return errors.Join(errs...)
}
