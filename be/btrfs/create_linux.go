package btrfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// List returns all boot environments sorted by creation time, then name.
func (s *Store) List(context.Context) ([]be.BE, error) {
	list, _, err := s.list()
	return list, err
}

// Adopt marks a boot environment as ours. Any subvolume in the BE root can be
// adopted by its name, with or without a leading @.
func (s *Store) Adopt(ctx context.Context, name string) (be.BE, error) {
	woods, err := s.scan()
	if err != nil {
		return be.BE{}, err
	}
	e, err := s.findIn(woods, name)
	if be.KindOf(err) == be.NotFound {
		for _, sv := range woods.held(s.beroot.id, s.beroot.inode) {
			if shownName(sv.name) == name && !strings.HasPrefix(sv.name, "@beadm") && sv.name != shareVolume {
				e, err = entry{subvolume: sv, be: name}, nil
			}
		}
	}
	if err != nil {
		return be.BE{}, err
	}
	if err := s.adopt(e); err != nil {
		return be.BE{}, problem(err, "cannot adopt boot environment %s", name)
	}
	return s.listed(name)
}

func (s *Store) adopt(e entry) error {
	if e.uuid != "" {
		return nil
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Before the mark: a mark outside counts for nothing that is not noted.
	if strings.Contains(e.name, "/") {
		if err := s.noteOutside(e.subvolume.uuid); err != nil {
			return err
		}
	}
	return s.writable(fd, e.readOnly, func() error {
		// A copied description is another one's; it goes before the mark
		// makes it this one's.
		if err := s.setAttr(fd, descriptionAttr, ""); err != nil {
			return err
		}
		if err := s.setAttr(fd, policyAttr, ""); err != nil {
			return err
		}
		return s.setAttr(fd, markAttr, e.subvolume.uuid+" "+string(be.NewUUID()))
	})
}

// Create makes a boot environment under a partial name and renames it when it
// is whole.
func (s *Store) Create(ctx context.Context, opts be.CreateOptions) (be.BE, error) {
	b, err := s.create(ctx, s, opts, nil)
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}

// CreateFilled has fill write into the subvolume under its partial name.
func (s *Store) CreateFilled(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (be.BE, error) {
	if opts.From != "" {
		return be.BE{}, be.E(be.Usage, "cannot create boot environment %s: what is filled is no clone", opts.Name)
	}
	b, err := s.create(ctx, s, opts, fill)
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}

// filled calls fill for the new subvolume at partial that will be called final.
func (s *Store) filled(ctx context.Context, partial, final string, fill func(context.Context, be.Filling) error) error {
	fd, err := s.openEntry(partial)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var failed error // which says itself what it could not do
	err = s.do(func() error {
		failed = fill(ctx, be.Filling{
			Dir: fmt.Sprintf("/proc/self/fd/%d", fd),
			Part: func(dir *os.File, name string) error {
				if err := subvolCreate(int(dir.Fd()), name); err != nil {
					return fmt.Errorf("create subvolume %s: %w", name, err)
				}
				return nil
			},
			Ref: s.refOf(s.beroot.join(final)),
		})
		return nil
	}, "fill %s", partial)
	return cmp.Or(failed, err)
}

// CanCreateFrom says, as an error, why nothing in other can be cloned here:
// blocks are shared within one file system only.
func (s *Store) CanCreateFrom(other be.Store) error {
	_, err := s.kin(other)
	return err
}

func (s *Store) kin(other be.Store) (*Store, error) {
	o, ok := other.(*Store)
	if !ok {
		return nil, be.E(be.NoStore, "%s is no btrfs, and nothing of it can be cloned to %s", other.Location(), s.Location())
	}
	if o.fsid != s.fsid {
		return nil, be.E(be.NoStore, "%s and %s are on two file systems, and nothing can be cloned from the one to the other", other.Location(), s.Location())
	}
	return o, nil
}

// CreateFrom is Create of a snapshot that is in another store.
func (s *Store) CreateFrom(ctx context.Context, other be.Store, opts be.CreateOptions) (be.BE, error) {
	from, err := s.kin(other)
	if err == nil && (opts.From == "" || opts.Snapshot == "") {
		err = be.E(be.Usage, "no snapshot to clone is named")
	}
	var b be.BE
	if err == nil {
		b, err = s.create(ctx, from, opts, nil)
	}
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}

// create clones what is in source, which may be s itself.
func (s *Store) create(ctx context.Context, source *Store, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (b be.BE, err error) {
	set, err := parseProperties(opts.Properties)
	if err != nil {
		return b, err
	}
	woods, err := s.scan()
	if err != nil {
		return b, err
	}
	entries, err := s.entries(woods)
	if err != nil {
		return b, err
	}
	final := bePrefix + opts.Name
	for _, e := range entries {
		if e.be == opts.Name && e.partial {
			return b, be.E(be.InUse, "an unfinished one of that name is there; destroy it first")
		}
		if e.be == opts.Name || e.name == final {
			return b, be.E(be.InUse, "it exists already; choose another name")
		}
	}
	partial := partialPrefix + opts.Name
	dir := s.beroot.fd()
	if err := s.sweepAuto(woods); err != nil {
		return b, err
	}
	made := "" // the automatic snapshot, if this call made it
	var from entry
	defer func() {
		if err == nil {
			return
		}
		undo := s.deleteTree(dir, partial)
		if made != "" {
			undo = errors.Join(undo, source.destroySnapshot(source.beroot, string(from.uuid), made))
		}
		if undo != nil {
			err = be.E(be.Recovery, "%w; and undoing it failed: %w; destroy %s to finish", err, undo, opts.Name)
		}
	}()
	if opts.From == "" {
		err := s.do(func() error { return subvolCreate(dir, partial) }, "create subvolume %s", partial)
		if err == nil && fill != nil {
			err = s.filled(ctx, partial, final, fill)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return b, err
		}
	} else {
		if from, err = source.findIn(woods, opts.From); err != nil {
			return b, err
		}
		if from.uuid == "" {
			if err := source.adopt(from); err != nil {
				return b, err
			}
			if from, err = source.find(opts.From); err != nil {
				return b, err
			}
		}
		snap := opts.Snapshot
		if snap == "" {
			if snap = opts.AutoSnapshot; snap == "" {
				snap = stamp()
			}
			if err := source.snapshot(ctx, from, snap, true); err != nil {
				return b, err
			}
			made = snap
		}
		src, err := openSnapshot(source.beroot, string(from.uuid), snap)
		if err != nil {
			return b, snapshotProblem(err, opts.From, snap)
		}
		defer unix.Close(src)
		all := func(string) bool { return true } // a snapshot holds only what belongs
		if err := s.copyTree(ctx, src, dir, partial, "", all); err != nil {
			return b, err
		}
	}
	uuid := opts.UUID
	if uuid == "" {
		uuid = be.NewUUID()
	}
	readOnly := from.subvolume != nil && from.staysReadOnly()
	if err := s.finish(partial, final, uuid, opts.Description, set, readOnly); err != nil {
		return b, err
	}
	return s.listed(opts.Name)
}

// finish gives a partial boot environment what makes it one, and its name.
func (s *Store) finish(partial, final string, uuid be.UUID, description string, set properties, readOnly bool) error {
	fd, err := s.openEntry(partial)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.nameRoot(fd, s.beroot.join(final)); err != nil {
		return err
	}
	if err := s.setAttr(fd, snapshotAttr, ""); err != nil {
		return err
	}
	if err := s.setAttr(fd, openAttr, ""); err != nil {
		return err
	}
	if err := s.setAttr(fd, descriptionAttr, description); err != nil {
		return err
	}
	if set.compression != nil {
		if err := s.setAttr(fd, "btrfs.compression", *set.compression); err != nil {
			return err
		}
	}
	id, err := subvolumeID(fd)
	if err != nil {
		return err
	}
	woods, err := s.scan()
	if err != nil {
		return err
	}
	if err := s.setAttr(fd, markAttr, woods.byID[id].uuid+" "+string(uuid)); err != nil {
		return err
	}
	if set.readOnly != nil {
		readOnly = *set.readOnly
	}
	if readOnly {
		if err := s.do(func() error { return setReadOnly(fd, true) }, "make it read-only"); err != nil {
			return err
		}
	}
	// All of it before the name: whoever finds the name after a power cut
	// finds a whole boot environment.
	if err := s.sync(); err != nil {
		return err
	}
	dir := s.beroot.fd()
	err = s.do(func() error {
		return unix.Renameat2(dir, partial, dir, final, unix.RENAME_NOREPLACE)
	}, "rename %s to %s", partial, final)
	if err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		// Nobody has seen the name yet; without it the undoing finds the rest.
		return errors.Join(err, unix.Renameat2(dir, final, dir, partial, unix.RENAME_NOREPLACE))
	}
	return nil
}

func (s *Store) sync() error {
	return s.do(func() error { return unix.Syncfs(s.fd()) }, "commit")
}

// properties are those of btrfs that can be given with -o.
type properties struct {
	compression *string
	readOnly    *bool
}

// CheckProperties reads nothing.
func (s *Store) CheckProperties(_ context.Context, opts be.CreateOptions) error {
	_, err := parseProperties(opts.Properties)
	return problem(err, "cannot create boot environment %s", opts.Name)
}

func parseProperties(list []string) (properties, error) {
	var p properties
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			return p, be.E(be.Usage, "property %q is not NAME=VALUE", text)
		case name == "compression" && !slices.Contains([]string{"zlib", "lzo", "zstd", "no", "none", ""}, value):
			return p, be.E(be.Usage, "compression %q is none of btrfs: there are zlib, lzo, zstd and none", value)
		case name == "compression":
			p.compression = &value
		case name == "ro" && (value == "true" || value == "false"), name == "readonly" && (value == "on" || value == "off"):
			on := value == "true" || value == "on"
			p.readOnly = &on
		default:
			return p, be.E(be.Usage, "property %q is none of btrfs: there are compression=zlib|lzo|zstd and readonly=on|off, or ro=true|false", text)
		}
	}
	return p, nil
}

// Rename changes the name, and the fstab inside that names the subvolume; one that
// is outside the BE root comes into it. Who
// else names its path, loader entries first, is the caller's to change.
func (s *Store) Rename(ctx context.Context, from, to string) error {
	return problem(s.rename(from, to), "cannot rename boot environment %s to %s", from, to)
}

func (s *Store) rename(from, to string) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	e, err := s.findIn(woods, from)
	if err != nil {
		return err
	}
	list, err := s.entries(woods)
	if err != nil {
		return err
	}
	if from == to && e.name != bePrefix+to {
		return nil // @to, which is called to
	}
	if from != to && taken(list, to) {
		return be.E(be.InUse, "%s exists already; choose another name", to)
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// The mark first: the name @rootfs alone does not make a boot
	// environment, so one that is renamed back must keep being one.
	if err := s.adopt(e); err != nil {
		return err
	}
	name := func(path string) error {
		return s.writable(fd, e.readOnly, func() error { return s.nameRoot(fd, path) })
	}
	// fstab is used only to remount a root that is mounted already, so in a
	// power cut between the two the boot goes on; the name goes first because
	// the loader's entry depends on it and is to be in doubt the shortest.
	final := bePrefix + to
	if from == to {
		// What a cut may have left undone.
		return errors.Join(name(s.beroot.join(final)), s.sync())
	}
	if err := s.move(e.name, final); err != nil {
		return errors.Join(err, s.moveBack(final, e.name))
	}
	err = name(s.beroot.join(final))
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		return errors.Join(err, name(s.beroot.join(e.name)), s.moveBack(final, e.name))
	}
	return nil
}

// undoRename renames back, if there is something to rename.
func undoRename(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Describe replaces the description.
func (s *Store) Describe(ctx context.Context, name, text string) error {
	e, err := s.find(name)
	if err == nil {
		err = s.adopt(e)
	}
	if err != nil {
		return problem(err, "cannot describe boot environment %s", name)
	}
	fd, err := s.openEntry(e.name)
	if err != nil {
		return problem(err, "cannot describe boot environment %s", name)
	}
	defer unix.Close(fd)
	err = s.writable(fd, e.readOnly, func() error { return s.setAttr(fd, descriptionAttr, text) })
	return problem(err, "cannot describe boot environment %s", name)
}
