package zfs

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"beadm/be"
)

// A read-only boot environment is open while org.beadm:sealed is on it: its
// readonly is off then, for the mounts that it has, and a cut leaves both.

// isReadOnly reports whether nobody but who opens it can write to it.
func isReadOnly(d *dataset) bool { return isClosed(d) || isOpen(d) }

// isClosed goes by the property: one that is mounted read-only shows that in its
// place.
func isClosed(d *dataset) bool {
	return d.value("readonly") == "on" && d.property("readonly").source != "temporary"
}

func isOpen(d *dataset) bool { return d.local(propSealed) == "on" }

// Unseal takes one transaction.
func (s *Store) Unseal(ctx context.Context, name string) error {
	t, err := s.find(ctx, name)
	if err == nil {
		err = s.open(ctx, t, s.dataset(name))
	}
	return problem(err, "cannot make boot environment %s writable", name)
}

// Seal takes two transactions; after the first it is read-only again. A /boot in
// another pool is read-only before that.
func (s *Store) Seal(ctx context.Context, name string) error {
	t, err := s.find(ctx, name)
	if err == nil {
		err = s.close(ctx, t, s.dataset(name))
	}
	return problem(err, "cannot make boot environment %s read-only again", name)
}

// open opens the root first, whose mark says of the whole that it is open.
func (s *Store) open(ctx context.Context, t *tree, top string) error {
	for _, ds := range t.tops(top) {
		if !isClosed(t.by[ds]) {
			continue
		}
		if err := s.setReadOnly(ctx, t.by[ds], "off"); err != nil {
			return err
		}
	}
	return nil
}

// setReadOnly changes readonly, on what is mounted too: the module does that. zfs
// would have it mounted anew where its mountpoint says, and cannot.
func (s *Store) setReadOnly(ctx context.Context, d *dataset, value string) error {
	err := s.set(ctx, d.name, setting{propSealed, "on"}, setting{"readonly", value})
	var tool *toolError
	if errors.As(err, &tool) && strings.Contains(tool.stderr, "property may be set but unable to remount") {
		return nil
	}
	return err
}

func (s *Store) close(ctx context.Context, t *tree, top string) error {
	for _, ds := range slices.Backward(t.tops(top)) {
		if !isOpen(t.by[ds]) {
			continue
		}
		if err := s.setReadOnly(ctx, t.by[ds], "on"); err != nil {
			return err
		}
		if err := s.change(ctx, "zfs", "inherit", propSealed, ds); err != nil {
			return err
		}
	}
	return nil
}

// notePlain remembers that a root is not read-only as it is mounted: nobody has to
// ask when it is unmounted.
func (s *Store) notePlain(top *dataset) {
	if s.plain == nil {
		s.plain = map[string]bool{}
	}
	s.plain[top.name] = !isReadOnly(top)
}

// topsBelow are the roots of boot environments that are mounted at or below dir.
func (s *Store) topsBelow(dir string) (tops []string, err error) {
	if dir, err = filepath.Abs(dir); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, nil // nothing is
	}
	table, err := readMounts()
	for _, m := range table {
		if parent(m.source) == s.root && (m.dir == dir || strings.HasPrefix(m.dir, strings.TrimSuffix(dir, "/")+"/")) {
			tops = append(tops, m.source)
		}
	}
	return tops, err
}

// closeUnmounted closes those of the roots that are open and mounted nowhere any
// more.
func (s *Store) closeUnmounted(ctx context.Context, tops []string) error {
	tops = slices.DeleteFunc(slices.Clone(tops), func(top string) bool { return s.plain[top] || strings.Contains(top, "@") })
	if len(tops) == 0 {
		return nil
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	t, err := s.read(ctx, "filesystem", 1, s.root, "readonly", propSealed, propBoot)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(tops, func(top string) bool { return t.by[top] != nil && isOpen(t.by[top]) && t.by[top].local(propBoot) != "" }) {
		if t, err = s.scan(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, top := range tops {
		if d := t.by[top]; d != nil && isOpen(d) && len(table.within(top, false)) == 0 {
			errs = append(errs, s.close(ctx, t, top))
		}
	}
	return errors.Join(errs...)
}

// Attach mounts a boot environment as what runs, for others to start: a
// read-only one is that, until Unseal. What a cut left open is closed first.
func (s *Store) Attach(ctx context.Context, name, dir string) error {
	err := s.Seal(ctx, name)
	if err == nil {
		err = problem(s.mountBE(ctx, name, dir, false, false), "cannot mount boot environment %s", name)
	}
	return err
}

var _ be.Sealer = (*Store)(nil)
