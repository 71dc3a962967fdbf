package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Create makes the automatic snapshot and of that the new volume, which carries
// the mark of an unfinished one from the command that makes it to the last one
// of all.
func (s *Store) Create(ctx context.Context, opts be.CreateOptions) (be.BE, error) {
	b, err := s.create(ctx, opts, nil)
	return b, problem(err, "cannot create boot environment %s", opts.Name)
}

// CreateFilled makes a volume as Create does of an empty one, and has fill write
// into its file system, which is mounted nowhere else.
func (s *Store) CreateFilled(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (be.BE, error) {
	if opts.From != "" {
		return be.BE{}, be.E(be.Usage, "cannot create boot environment %s: what is filled is no clone", opts.Name)
	}
	b, err := s.create(ctx, opts, fill)
	return b, problem(err, "cannot create boot environment %s", opts.Name)
}

// CheckProperties reads nothing.
func (s *Store) CheckProperties(_ context.Context, opts be.CreateOptions) error {
	_, err := parseProperties(opts.Properties)
	return problem(err, "cannot create boot environment %s", opts.Name)
}

func (s *Store) create(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (b be.BE, err error) {
	set, err := parseProperties(opts.Properties)
	if err != nil {
		return b, err
	}
	t, err := s.scan(ctx)
	if err != nil {
		return b, err
	}
	if err := s.checkFree(t, opts.Name); err != nil {
		return b, err
	}
	if opts.UUID == "" {
		opts.UUID = be.NewUUID()
	}
	volume := encode(opts.Name)
	tags := append([]string{tagUUID + string(opts.UUID), tagIncomplete + "create"}, textTags(opts.Description)...)
	made := "" // the volume of the automatic snapshot, if this call made it
	defer func() {
		if err == nil {
			return
		}
		undoing, cancel := settled(ctx)
		defer cancel()
		if undo := s.undoCreate(undoing, volume, opts.UUID, made); undo != nil {
			err = be.E(be.Recovery, "%w; and undoing it failed: %w; destroy %s to finish", err, undo, opts.Name)
		}
	}()
	readOnly := set.readOnly != nil && *set.readOnly
	if opts.From == "" {
		if err := s.hasRoom(t); err != nil {
			return b, err
		}
		if err := s.format(ctx, volume, s.usualSize(t), s.usualKind(ctx, t), tags, 0o755); err != nil {
			return b, err
		}
		if fill != nil {
			if err := s.filled(ctx, volume, readOnly, fill); err != nil {
				return b, err
			}
		}
	} else {
		source, err := s.whole(t, opts.From)
		if err != nil {
			return b, err
		}
		if set.readOnly == nil {
			readOnly = source.isReadOnly()
		}
		if made, err = s.clone(ctx, t, opts, source, volume, tags, readOnly); err != nil {
			return b, err
		}
	}
	if readOnly {
		// Nothing has it mounted any more, so its journal is empty.
		if err := s.change(ctx, "lvchange", "-y", "-pr", "--", s.vg+"/"+volume); err != nil {
			return b, err
		}
	}
	if err := s.change(ctx, "lvchange", "-y", "--deltag", tagIncomplete+"create", "--", s.vg+"/"+volume); err != nil {
		return b, err
	}
	// It is there, whatever ctx has come to.
	done, cancel := settled(ctx)
	defer cancel()
	return s.listed(done, opts.Name)
}

// hasRoom says why nothing new may be begun.
func (s *Store) hasRoom(t *tree) error {
	pool := t.named(s.pool)
	if pool == nil {
		return be.E(be.NoStore, "there is no thin pool %s any more", s.Location())
	}
	return room(pool)
}

// clone makes the new volume of a snapshot of source. It returns the volume of the
// automatic one that it made, also when it fails.
func (s *Store) clone(ctx context.Context, t *tree, opts be.CreateOptions, source *volume, volume string, tags []string, readOnly bool) (made string, err error) {
	if opts.Snapshot != "" {
		if err := be.CheckSnapshotName(opts.Snapshot); err != nil {
			return "", err
		}
	}
	if err := s.hasRoom(t); err != nil {
		return "", err
	}
	if t, err = s.sweepAuto(ctx, t); err != nil {
		return "", err
	}
	if t, source, err = s.adopted(ctx, t, source); err != nil {
		return "", err
	}
	owner := source.tag(tagUUID)
	origin := ""
	if opts.Snapshot != "" {
		v, err := snapshotIn(t, owner, opts.From, opts.Snapshot)
		if err != nil {
			return "", err
		}
		origin = v.name
	} else {
		snap := opts.AutoSnapshot
		if snap == "" {
			snap = "beadm-" + time.Now().UTC().Format("2006-01-02-150405.000")
		}
		if origin, err = s.take(ctx, t, source, owner, snap, tagAuto); err != nil {
			if be.KindOf(err) == be.InUse || be.KindOf(err) == be.Usage {
				return "", err
			}
			return snapshotVolume(owner, snap), err // it may be there all the same
		}
		made = origin
	}
	argv := []string{"lvcreate", "-y", "-q", "-s", "-kn", "-n", volume}
	for _, tag := range tags {
		argv = append(argv, "--addtag", tag)
	}
	if err := s.change(ctx, append(argv, "--", s.vg+"/"+origin)...); err != nil {
		return made, err
	}
	if t, err = s.scan(ctx); err != nil {
		return made, err
	}
	v := t.named(volume)
	if v == nil {
		return made, fmt.Errorf("%s/%s was made and is not there", s.vg, volume)
	}
	dir, err := s.opened(ctx, v)
	if err != nil {
		return made, err
	}
	defer dir.Close()
	text, _, err := fstab(dir)
	if err != nil {
		return made, err
	}
	if list := apart(text); len(list) > 0 {
		return made, be.E(be.Unbootable, "the fstab of %s mounts %s from elsewhere, and both would use the same one: a boot environment here is one volume with all that packages bring", opts.From, strings.Join(list, ", "))
	}
	// A root that is mounted read-only by its owner's will, and could be written,
	// stays that.
	var also func(string) string
	if readOnly || source.isReadOnly() {
		also = func(text string) string { return withRootOption(text, readOnly) }
	}
	if err := s.nameRoot(dir, s.vg, volume, also); err != nil {
		return made, err
	}
	return made, s.sync(dir, v.path())
}

// undoCreate removes what a Create made that failed: what carries the mark of
// this very one.
func (s *Store) undoCreate(ctx context.Context, volume string, uuid be.UUID, made string) error {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	if v := t.named(volume); v != nil && v.tag(tagUUID) == string(uuid) {
		if v.tag(tagIncomplete) != "create" {
			return nil // the last command did its work all the same
		}
		err = s.remove(ctx, v)
	}
	if v := t.named(made); v != nil && v.isAuto() {
		err = errors.Join(err, s.remove(ctx, v))
	}
	return err
}

// remove removes a volume, which nobody may have in use.
func (s *Store) remove(ctx context.Context, v *volume) error {
	return s.change(ctx, "lvremove", "-y", "-q", "--", v.path())
}

// usualSize is that of the running boot environment, or of the largest one.
func (s *Store) usualSize(t *tree) int64 {
	var size int64
	for _, v := range t.list {
		if s.isNow(v) && v.pool == s.pool {
			return v.size
		}
		if s.isBE(v) {
			size = max(size, v.size)
		}
	}
	if size == 0 {
		size = t.named(s.pool).size
	}
	return size
}

// usualKind is the kind of file system that the running boot environment has, or
// any.
func (s *Store) usualKind(ctx context.Context, t *tree) string {
	list := slices.Clone(t.list)
	slices.SortStableFunc(list, func(a, b *volume) int {
		switch {
		case s.isNow(a):
			return -1
		case s.isNow(b):
			return 1
		}
		return 0
	})
	for _, v := range list {
		if s.isBE(v) && v.tag(tagIncomplete) == "" {
			if _, sb, err := s.started(ctx, v); err == nil {
				return sb.kind
			}
		}
	}
	return "ext4"
}

// format makes a volume with an empty file system.
func (s *Store) format(ctx context.Context, volume string, size int64, kind string, tags []string, perm uint32) error {
	argv := []string{"lvcreate", "-y", "-q", "-kn", "-V", fmt.Sprintf("%db", size), "--thinpool", s.pool, "-n", volume}
	for _, tag := range tags {
		argv = append(argv, "--addtag", tag)
	}
	if err := s.change(ctx, append(argv, "--", s.vg)...); err != nil {
		return err
	}
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	v := t.named(volume)
	if v == nil {
		return fmt.Errorf("%s/%s was made and is not there", s.vg, volume)
	}
	d, ok := active(v)
	if !ok {
		return fmt.Errorf("%s was made and is not started", v.path())
	}
	// What was never written to a thin volume reads as zeros.
	mkfs := []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.node}
	if kind == "xfs" {
		mkfs = []string{"mkfs.xfs", "-q", "-f", d.node}
	}
	err = s.do(strings.Join(mkfs, " "), func() error {
		_, err := s.output(ctx, mkfs...)
		return err
	})
	if err != nil {
		return err
	}
	dir, err := s.opened(ctx, v)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = s.do("empty "+v.path(), func() error {
		// e2fsck makes it when it needs it.
		if err := unix.Unlinkat(int(dir.Fd()), "lost+found", unix.AT_REMOVEDIR); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return unix.Fchmod(int(dir.Fd()), perm)
	})
	if err != nil {
		return err
	}
	return s.sync(dir, v.path())
}
