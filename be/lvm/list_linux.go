package lvm

import (
	"context"

	"beadm/be"
)

// List returns all boot environments sorted by creation time, then name.
func (s *Store) List(ctx context.Context) ([]be.BE, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, problem(err, "cannot list the boot environments in %s", s.Location())
	}
	var volumes []*volume
	for _, v := range t.list {
		if s.isBE(v) {
			volumes = append(volumes, v)
		}
	}
	sortVolumes(volumes)
	list := []be.BE{}
	for _, v := range volumes {
		b, err := s.describe(t, v)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// listed is how List shows one.
func (s *Store) listed(ctx context.Context, name string) (be.BE, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return be.BE{}, err
	}
	v, err := s.in(t, name)
	if err != nil {
		return be.BE{}, err
	}
	return s.describe(t, v)
}

func (s *Store) describe(t *tree, v *volume) (be.BE, error) {
	b := be.BE{
		Name: decode(v.name), Policy: v.tag(tagPolicy), Location: v.path(), Created: v.created, ReadOnly: v.isReadOnly(),
		Description: textOf(v.tags), Running: s.isNow(v), Incomplete: v.tag(tagIncomplete) != "", Origin: s.originOf(t, v),
		Space: be.SpaceUnknown, // see Spaces
	}
	if b.Policy == "" {
		b.Policy = "static"
	}
	if id, err := be.ParseUUID(v.tag(tagUUID)); err == nil {
		b.UUID = id
	}
	if b.Running {
		b.Mountpoint = s.cfg.Root
		return b, nil
	}
	list, err := mountsOf(v)
	if err != nil {
		return b, err
	}
	if len(list) > 0 {
		b.Mountpoint = list[0].Mountpoint
	}
	return b, nil
}

// originOf is the snapshot that a volume was cloned from, as BE@SNAP.
func (s *Store) originOf(t *tree, v *volume) string {
	origin := t.find(func(o *volume) bool { return v.originUUID != "" && o.uuid == v.originUUID && o.isSnapshot() })
	if origin == nil {
		return ""
	}
	owner := t.find(func(o *volume) bool { return s.isBE(o) && o.tag(tagUUID) == origin.tag(tagOf) })
	if owner == nil {
		return ""
	}
	return decode(owner.name) + "@" + origin.tag(tagSnap)
}

// Adopt gives a boot environment its mark. Any thin volume of the pool that has
// a good name can be adopted.
func (s *Store) Adopt(ctx context.Context, name string) (be.BE, error) {
	t, err := s.scan(ctx)
	var v *volume
	if err == nil {
		v, err = s.whole(t, name)
	}
	if be.KindOf(err) == be.NotFound {
		other := t.find(func(o *volume) bool {
			return o.pool == s.pool && !o.isSnapshot() && decode(o.name) == name && o.name != stateVolume && o.name != shareVolume
		})
		if other != nil {
			v, err = other, nil
		}
	}
	if err == nil {
		err = s.adopt(ctx, v)
	}
	if err != nil {
		return be.BE{}, problem(err, "cannot adopt boot environment %s", name)
	}
	return s.listed(ctx, name)
}

func (s *Store) adopt(ctx context.Context, v *volume) error {
	if _, err := be.ParseUUID(v.tag(tagUUID)); err == nil {
		return nil
	}
	return s.retag(ctx, v, beginning(v.tags, tagUUID), []string{tagUUID + string(be.NewUUID())})
}

// adopted is the volume with its mark, which it gets if it has none.
func (s *Store) adopted(ctx context.Context, t *tree, v *volume) (*tree, *volume, error) {
	if v.tag(tagUUID) != "" {
		return t, v, nil
	}
	if err := s.adopt(ctx, v); err != nil {
		return nil, nil, err
	}
	return s.find(ctx, decode(v.name))
}

// retag takes tags off a volume and puts others on, at once.
func (s *Store) retag(ctx context.Context, v *volume, off, on []string) error {
	argv := []string{"lvchange", "-y"}
	for _, t := range off {
		argv = append(argv, "--deltag", t)
	}
	for _, t := range on {
		argv = append(argv, "--addtag", t)
	}
	if len(argv) == 2 {
		return nil
	}
	return s.change(ctx, append(argv, "--", v.path())...)
}

// Describe replaces the description.
func (s *Store) Describe(ctx context.Context, name, text string) error {
	t, v, err := s.find(ctx, name)
	if err == nil {
		_, v, err = s.adopted(ctx, t, v)
	}
	if err == nil {
		off, on := differ(beginning(v.tags, tagText), textTags(text))
		err = s.retag(ctx, v, off, on)
	}
	return problem(err, "cannot describe boot environment %s", name)
}

// differ are what is only in one of two lists.
func differ(was, is []string) (off, on []string) {
	in := func(list []string, tag string) bool {
		for _, t := range list {
			if t == tag {
				return true
			}
		}
		return false
	}
	for _, t := range was {
		if !in(is, t) {
			off = append(off, t)
		}
	}
	for _, t := range is {
		if !in(was, t) {
			on = append(on, t)
		}
	}
	return off, on
}

// Rename changes the volume's name, and the fstab inside that names it. Who else
// names it, loader entries first, is the caller's to change.
func (s *Store) Rename(ctx context.Context, from, to string) error {
	return problem(s.rename(ctx, from, to), "cannot rename boot environment %s to %s", from, to)
}

func (s *Store) rename(ctx context.Context, from, to string) error {
	t, v, err := s.find(ctx, from)
	if err != nil {
		return err
	}
	if from == to {
		return s.nameRootOf(ctx, v) // what a cut may have left undone
	}
	final := encode(to)
	if err := s.checkFree(t, to); err != nil {
		return err
	}
	// The mark first: another name alone does not make a boot environment.
	if _, v, err = s.adopted(ctx, t, v); err != nil {
		return err
	}
	// The fstab is used only to remount a root that is mounted already, so after
	// a power cut between the two the boot goes on; the name goes first because
	// the loader's entry depends on it and is to be in doubt the shortest.
	if err := s.change(ctx, "lvrename", "-y", "--", v.vg, v.name, final); err != nil {
		return err
	}
	renamed := *v
	renamed.name = final
	if err := s.nameRootOf(ctx, &renamed); err != nil {
		undoing, cancel := settled(ctx)
		defer cancel()
		undo := s.change(undoing, "lvrename", "-y", "--", v.vg, final, v.name)
		if undo == nil {
			undo = s.nameRootOf(undoing, v)
		}
		if undo != nil {
			return be.E(be.Recovery, "%w; and undoing it failed: %w; rename it to the name that it has to finish", err, undo)
		}
		return err
	}
	return nil
}

// checkFree says why there can be no new boot environment of that name.
func (s *Store) checkFree(t *tree, name string) error {
	volume := encode(name)
	if err := checkVolumeName(s.vg, volume); err != nil {
		return err
	}
	if v, err := s.in(t, name); err == nil {
		if v.tag(tagIncomplete) != "" {
			return be.E(be.InUse, "an unfinished one of that name is there; destroy it first")
		}
		return be.E(be.InUse, "%s exists already; choose another name", name)
	}
	if v := t.named(volume); v != nil {
		return be.E(be.InUse, "there is a volume %s already; choose another name", v.path())
	}
	return nil
}

// nameRootOf makes the fstab on a volume name it by what it is called.
func (s *Store) nameRootOf(ctx context.Context, v *volume) error {
	return s.opening(ctx, v, func() error {
		dir, err := s.rootOf(ctx, v)
		if err != nil {
			return err
		}
		defer dir.Close()
		if err := s.nameRoot(dir, v.vg, v.name, nil); err != nil {
			return err
		}
		return s.sync(dir, v.path())
	})
}
