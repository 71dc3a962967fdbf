package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// Adopt marks a boot environment as ours. Any directory in the BE root whose
// name could be that of one can be adopted.
func (s *Store) Adopt(ctx context.Context, name string) (be.BE, error) {
	e, err := s.find(name)
	if be.KindOf(err) == be.NotFound && be.CheckName(name) == nil {
		dirs, dirErr := s.directories()
		if dirErr != nil {
			return be.BE{}, dirErr
		}
		for _, d := range dirs {
			if d.name == name {
				e, err = entry{directory: d, be: name}, nil
			}
		}
	}
	if err == nil {
		err = s.adopt(e)
	}
	if err != nil {
		return be.BE{}, problem(err, "cannot adopt boot environment %s", name)
	}
	return s.listed(ctx, name)
}

func (s *Store) adopt(e entry) error {
	if e.uuid != "" {
		return nil
	}
	fd, err := beneath(s.fd(), e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.setAttr(fd, markAttr, string(be.NewUUID())+" "+e.created.UTC().Format(rfc3339))
}

const rfc3339 = "2006-01-02T15:04:05.999999999Z07:00"

// Create makes a boot environment under a partial name and renames it when it
// is whole. What is running is copied again and again until nothing of it
// changed meanwhile, thrice at most: then a file that is written all the time
// is as a power cut would have left it.
func (s *Store) Create(ctx context.Context, opts be.CreateOptions) (be.BE, error) {
	if err := s.create(ctx, opts, nil); err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return s.listed(ctx, opts.Name)
}

// CreateFilled has fill write into the directory under its partial name.
func (s *Store) CreateFilled(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (be.BE, error) {
	if opts.From != "" {
		return be.BE{}, be.E(be.Usage, "cannot create boot environment %s: what is filled is no clone", opts.Name)
	}
	if err := s.create(ctx, opts, fill); err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return s.listed(ctx, opts.Name)
}

func (s *Store) filled(ctx context.Context, partial, final string, fill func(context.Context, be.Filling) error) error {
	dir, err := s.openEntry(partial)
	if err != nil {
		return err
	}
	defer dir.Close()
	var failed error // which says itself what it could not do
	err = s.do(func() error {
		failed = fill(ctx, be.Filling{
			Dir: fmt.Sprintf("/proc/self/fd/%d", dir.Fd()),
			Ref: be.RootRef{FS: s.in.fsType, Prefix: s.in.below(final)},
		})
		return nil
	}, "fill %s", partial)
	return cmp.Or(failed, err)
}

// CheckProperties refuses any.
func (s *Store) CheckProperties(_ context.Context, opts be.CreateOptions) error {
	for _, p := range opts.Properties {
		return be.E(be.Usage, "there is no property %q: a directory has none", p)
	}
	return nil
}

func (s *Store) create(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (err error) {
	if err := s.CheckProperties(ctx, opts); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	partial, final := partialPrefix+opts.Name, bePrefix+opts.Name
	for _, e := range entries {
		if e.be == opts.Name && e.partial {
			return be.E(be.InUse, "an unfinished one of that name is there; destroy it first")
		}
		if e.be == opts.Name || e.name == final {
			return be.E(be.InUse, "it exists already; choose another name")
		}
	}
	if err := s.sweepAuto(ctx, entries); err != nil {
		return err
	}
	var from entry
	made := "" // the automatic snapshot, if this call made it
	defer func() {
		if err == nil {
			return
		}
		undo := s.removeTree(partial)
		if made != "" {
			undo = errors.Join(undo, s.destroySnapshot(string(from.uuid), made))
		}
		if undo != nil {
			err = be.E(be.Recovery, "%w; and undoing it failed: %w; destroy %s to finish", err, undo, opts.Name)
		}
	}()
	origin := ""
	switch {
	case opts.From == "":
		if err := s.mkdir(partial, 0o755); err != nil {
			return err
		}
		if fill != nil {
			if err := s.filled(ctx, partial, final, fill); err != nil {
				return err
			}
		}
	default:
		if from, err = s.findOwned(opts.From); err != nil {
			return err
		}
		snap := opts.Snapshot
		if snap == "" {
			snap = cmp.Or(opts.AutoSnapshot, stamp())
			if err := s.roomFor(ctx, from.name, 2); err != nil {
				return err
			}
			if err := s.snapshotOf(ctx, from, snap, true); err != nil {
				return err
			}
			made = snap
		}
		src, guid, err := s.openSnapshot(string(from.uuid), opts.From, snap)
		if err != nil {
			return err
		}
		defer src.Close()
		if err := s.copyTo(ctx, src, opts.From+"@"+snap, partial, false); err != nil {
			return err
		}
		origin = guid
	}
	return s.finish(ctx, opts, origin)
}

// finish gives a partial boot environment what makes it one, and its name.
func (s *Store) finish(ctx context.Context, opts be.CreateOptions, origin string) error {
	partial, final := partialPrefix+opts.Name, bePrefix+opts.Name
	dir, err := s.openEntry(partial)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd := int(dir.Fd())
	uuid := cmp.Or(opts.UUID, be.NewUUID())
	for _, a := range [][2]string{
		{snapshotAttr, ""}, {policyAttr, ""}, {originAttr, origin}, {descriptionAttr, opts.Description},
		{markAttr, string(uuid) + " " + now()},
	} {
		if err := s.setAttr(fd, a[0], a[1]); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// All of it before the name: whoever finds the name after a power cut
	// finds a whole boot environment.
	if err := s.sync(); err != nil {
		return err
	}
	if err := s.move(partial, final); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		// Nobody has seen the name yet; without it the undoing finds the rest.
		return errors.Join(err, s.undoMove(final, partial))
	}
	return nil
}

// mkdir makes a directory in the BE root.
func (s *Store) mkdir(name string, perm uint32) error {
	return s.do(func() error {
		if err := unix.Mkdirat(s.fd(), name, 0o700); err != nil {
			return err
		}
		fd, err := beneath(s.fd(), name)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Fchmod(fd, perm)
	}, "make directory %s", name)
}

func (s *Store) openEntry(name string) (*os.File, error) {
	fd, err := beneath(s.fd(), name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(s.path, name)), nil
}

// inUse says whether a boot environment may be written to by others now.
func (s *Store) inUse(e entry) (bool, error) {
	if e.inode == s.now {
		return true, nil
	}
	table, err := mounttable.Read()
	if err != nil {
		return false, err
	}
	return len(s.in.mountsOf(table, e.name)) > 0 || processIn(e.inode) != 0, nil
}

// Rename changes the name. The directory that is called what --root says keeps
// it: without it nothing would find what runs there.
func (s *Store) Rename(ctx context.Context, from, to string) error {
	return problem(s.rename(from, to), "cannot rename boot environment %s to %s", from, to)
}

func (s *Store) rename(from, to string) error {
	e, err := s.find(from)
	if err != nil {
		return err
	}
	final := bePrefix + to
	if from == to {
		if e.name != final {
			return nil // one that was adopted
		}
		return s.sync() // what a cut may have left undone
	}
	list, err := s.entries()
	if err != nil {
		return err
	}
	if taken(list, to) {
		return be.E(be.InUse, "%s exists already; choose another name", to)
	}
	if e.inode == s.now && filepath.Clean(s.cfg.Root) == filepath.Join(s.path, e.name) {
		return be.E(be.InUse, "it is running at %s, which is that directory", s.cfg.Root)
	}
	// The mark first: another name alone does not make a boot environment, so
	// one that is renamed back must keep being one.
	if err := s.adopt(e); err != nil {
		return err
	}
	if err := s.move(e.name, final); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return errors.Join(err, s.undoMove(final, e.name))
	}
	return nil
}

// Describe replaces the description.
func (s *Store) Describe(ctx context.Context, name, text string) error {
	err := func() error {
		e, err := s.findOwned(name)
		if err != nil {
			return err
		}
		dir, err := s.openEntry(e.name)
		if err != nil {
			return err
		}
		defer dir.Close()
		if err := s.setAttr(int(dir.Fd()), descriptionAttr, text); err != nil {
			return err
		}
		// The text is in place; a power cut may still take it back.
		if err := unix.Fsync(int(dir.Fd())); err != nil {
			return fmt.Errorf("write it to the disk: %w", err)
		}
		return nil
	}()
	return problem(err, "cannot describe boot environment %s", name)
}
