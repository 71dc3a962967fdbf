package share

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

// swap puts the copy in place and makes the path what it is to be.
func (m *move) swap(ctx context.Context, t *tree) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", t.path, err) }
	// Once more, for what a program that started since did: it takes a walk.
	if err := m.final(ctx, t); err != nil {
		return err
	}
	if err := t.copy.Guard(); err != nil {
		return fail(err)
	}
	p := Path{Path: t.path, Name: t.name}
	if m.rec.Op == "undo" {
		if err := t.copy.Sync(); err != nil {
			return fail(err)
		}
		if err := setBack(m.r, t.name, true); err != nil {
			return fail(err)
		}
		effect("put back " + p.Path)
		if err := putBack(m.r, t.name); err != nil {
			return fail(err)
		}
		effect("retire " + t.from)
		if err := retire(m.r, t.name); err != nil {
			return fail(err)
		}
		return nil
	}
	effect("name copy of " + p.Path)
	if err := m.r.Rename(t.to, MountPoint+"/"+t.name); err != nil {
		return fail(err)
	}
	// The name of the copy is durable before anything leads to it.
	effect("sync share")
	if err := t.copy.Sync(); err != nil {
		return fail(err)
	}
	if err := m.stillThere(t); err != nil {
		return fail(err)
	}
	effect("exchange " + p.Path)
	if err := put(m.r, p); err != nil {
		return fail(err)
	}
	return nil
}

// stillThere says whether the path is still the directory that was copied. Who
// owns the directory that it is in may have put another, or a link, in its
// place; should he do so now, that is what becomes the old tree.
func (m *move) stillThere(t *tree) error {
	var was unix.Stat_t
	if err := unix.Fstat(int(t.src.Fd()), &was); err != nil {
		return err
	}
	is, err := m.r.Lstat(t.path)
	if err != nil {
		return err
	}
	if uint64(was.Dev) != is.Dev || was.Ino != is.Ino {
		return be.E(be.InUse, "something else was put in its place while it was copied; do it again")
	}
	return nil
}

// putBack exchanges the link for the directory that was copied back. Where
// names cannot be exchanged, the link is removed first; whoever is called at
// the next boot finds the path absent and the copy, which is whole, beside.
func putBack(r *rooted.Root, name string) error {
	p, back := pathOf(name), backAt(pathOf(name))
	err := exchange(r, p, back)
	if err == nil {
		return r.Remove(back)
	}
	if !cannotExchange(err) {
		return err
	}
	if err := r.Remove(p); err != nil {
		return err
	}
	effect("removed link " + p)
	return r.Rename(back, p)
}

// retire hides what was copied back from the shared dataset.
func retire(r *rooted.Root, name string) error {
	dir := MountPoint + "/" + UndoneDir
	if err := r.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	to := dir + "/" + name
	for i := 1; exists(r, to); i++ {
		to = dir + "/" + name + "~" + itoa(i)
	}
	if err := r.Rename(MountPoint+"/"+name, to); err != nil {
		return err
	}
	return errors.Join(setAdded(r, MountPoint, name, false), setLinked(r, name, false))
}

// dropCopies removes what was not put in place.
func (m *move) dropCopies() error {
	effect("drop copies")
	for _, t := range m.trees {
		if err := removeAll(m.r, t.to); err != nil {
			return be.E(be.Other, "cannot remove the copy of %s: %w", t.from, err)
		}
	}
	m.r.Remove(MountPoint + "/" + newDir)
	// Nobody looks for them any more once the record is done.
	return m.r.SyncFSAt(MountPoint)
}
