package btrfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

// Inspect lists what is nested in the running boot environment and no part of it,
// and boot environments that lie where snapper cleans up.
func (s *Store) Inspect(ctx context.Context) ([]be.Finding, error) {
	list, err := s.inspect()
	return list, problem(err, "cannot look at the subvolumes in %s", s.Location())
}

func (s *Store) inspect() (list []be.Finding, err error) {
	woods, err := s.scan()
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(woods)
	if err != nil {
		return nil, err
	}
	items, err := search(s.fd(), rootTreeID, rootDirID, rootDirID)
	if err != nil {
		return nil, err
	}
	kept := defaultSubvolume(items)
	for _, e := range entries {
		if strings.Contains(e.name, "/") {
			list = append(list, snappersOwn(e, e.id == kept))
		}
		if e.id != s.nowID {
			continue
		}
		nested, err := s.apart(woods, e)
		if err != nil {
			return nil, err
		}
		list = append(list, nested...)
	}
	return list, nil
}

func snappersOwn(e entry, isDefault bool) be.Finding {
	f := be.Finding{ID: "snapper", Severity: be.FindingWarning,
		Text:   fmt.Sprintf("%s is /%s, which snapper may delete, as it is not the default subvolume", e.be, rooted.Printable(e.name)),
		Remedy: "while another boot environment runs, beadm rename " + e.be + " NAME moves it out of there"}
	if isDefault {
		f.Severity, f.Remedy = be.FindingNote, ""
		f.Text = fmt.Sprintf("%s is /%s, among snapper's snapshots, which keeps it as long as it is the default subvolume", e.be, rooted.Printable(e.name))
	}
	return f
}

// apart finds the subvolumes in a boot environment that are no part of it. What
// its fstab mounts there is mounted in the others too.
func (s *Store) apart(woods *forest, e entry) (list []be.Finding, err error) {
	fd, err := s.openEntry(e.name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text, _, err := fstab(fd)
	if err != nil {
		return nil, fmt.Errorf("reading the fstab of %s: %w", e.be, err)
	}
	mounted := fstabMounts(text)
	holds := map[string]bool{} // whether any of them does, by path
	var walk func(id uint64, prefix string) error
	walk = func(id uint64, prefix string) error {
		for _, child := range woods.children[id] {
			dir, err := inodePath(s.fd(), id, child.dir)
			if errors.Is(err, unix.ENOENT) { // deleted since the scan
				continue
			}
			if err != nil {
				return err
			}
			path := join(prefix, join(dir, child.name))
			switch {
			case slices.Contains(mounted, path):
			case belongs(path, mounted):
				if err := walk(child.id, path); err != nil {
					return err
				}
			default:
				empty, err := s.isEmpty(woods, child)
				if err != nil && !errors.Is(err, unix.ENOENT) {
					return err
				}
				// A container program's are one line, not a hundred.
				for _, dir := range elsewhere {
					if strings.HasPrefix(path, dir+"/") {
						path = dir
					}
				}
				holds[path] = holds[path] || err == nil && !empty
			}
		}
		return nil
	}
	if err := walk(e.id, ""); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(holds)) {
		shown := "/" + rooted.Printable(path)
		f := be.Finding{ID: "nested", Severity: be.FindingNote, Text: fmt.Sprintf("%s is a subvolume that is in no other boot environment; it is empty", shown)}
		if holds[path] {
			f.Severity = be.FindingWarning
			f.Text = fmt.Sprintf("%s holds data in subvolumes that are no part of the boot environment: in another one it is empty", shown)
			f.Remedy = "move them beside the boot environments, and have /etc/fstab mount them"
		}
		list = append(list, f)
	}
	return list, nil
}
