package btrfs

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Parts lists the subvolumes of a boot environment.
func (s *Store) Parts(ctx context.Context, name string) ([]be.Part, error) {
	list, err := s.parts(name)
	return list, problem(err, "cannot list what boot environment %s consists of", name)
}

func (s *Store) parts(name string) ([]be.Part, error) {
	list, woods, err := s.list()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(list, func(b be.BE) bool { return b.Name == name })
	if at < 0 {
		return nil, be.E(be.NotFound, "there is no boot environment %s in %s: see beadm list", name, s.Location())
	}
	entries, err := s.entries(woods)
	if err != nil {
		return nil, err
	}
	held, err := s.exclusive()
	if err != nil {
		return nil, err
	}
	w := partWalk{s: s, woods: woods, held: held, be: list[at]}
	for _, e := range entries {
		if e.be != name {
			continue
		}
		fd, err := s.openEntry(e.name)
		if err != nil {
			return nil, err
		}
		text, _, err := fstab(fd)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		w.mounted = fstabMounts(text)
		if err := w.add(e.subvolume, ""); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.parts, func(a, b be.Part) int { return strings.Compare(a.Location, b.Location) })
	return w.parts, nil
}

type partWalk struct {
	s       *Store
	woods   *forest
	held    map[uint64]int64
	be      be.BE
	mounted []string // by its fstab
	parts   []be.Part
}

// add adds the subvolume at rel in the boot environment, and those below it.
func (w *partWalk) add(sv *subvolume, rel string) error {
	p := be.Part{Location: filepath.Join(w.be.Location, rel), Path: "/" + rel, Created: sv.created, Space: -1}
	if n, counted := w.held[sv.id]; counted {
		p.Space = n
	}
	if w.be.Mountpoint != "" {
		p.Mountpoint = filepath.Join(w.be.Mountpoint, rel)
	}
	if origin := w.woods.byUUID(sv.parentUUID); origin != nil {
		dir, err := w.s.dirPath(w.woods, origin.parent, origin.dir)
		if err == nil {
			p.Origin = "/" + join(dir, origin.name)
		} else if !errors.Is(err, unix.ENOENT) { // deleted since
			return err
		}
	}
	w.parts = append(w.parts, p)
	for _, child := range w.woods.children[sv.id] {
		dir, err := inodePath(w.s.fd(), sv.id, child.dir)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		path := strings.Trim(join(rel, join(strings.Trim(dir, "/"), child.name)), "/")
		if !belongs(path, w.mounted) {
			continue
		}
		if err := w.add(child, path); err != nil {
			return err
		}
	}
	return nil
}
