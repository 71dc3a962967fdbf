package activate

import (
	"context"
	"errors"
	"fmt"
	"os"

	"beadm/be"
	copier "beadm/be/copy"
)

// ImportOptions are those of beadm import.
type ImportOptions struct {
	From        string   // a stream, an archive, a directory or an image; empty: In
	In          *os.File // what is read without From
	Description string   // empty: what the stream says
	Properties  []string
	Progress    func(Carried)
	DryRun      bool
}

// Import makes a boot environment of what somebody else made. Until all of it is
// there and proven whole, the boot environment is incomplete; when something
// fails nothing of it is left. What is read is not asked for before it is known
// that the name is free.
func (t *Target) Import(ctx context.Context, name string, opts ImportOptions) (be.BE, error) {
	if err := be.CheckName(name); err != nil {
		return be.BE{}, err
	}
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return be.BE{}, err
	}
	defer s.Close()
	if err := Allow(s.State, "import"); err != nil {
		return be.BE{}, err
	}
	if _, err := s.find(ctx, name); err == nil {
		return be.BE{}, be.E(be.InUse, "the boot environment %s exists already: choose another name", name)
	} else if be.KindOf(err) != be.NotFound {
		return be.BE{}, err
	}
	if _, ok := s.Store.(be.Filler); !ok {
		return be.BE{}, be.E(be.NoStore, "cannot import %s: %s takes nothing in yet; create one and unpack into it, mounted", name, s.Store.Location())
	}
	if check, ok := s.Store.(be.PropertyChecker); ok && len(opts.Properties) > 0 {
		if err := check.CheckProperties(ctx, be.CreateOptions{Name: name, Properties: opts.Properties}); err != nil {
			return be.BE{}, err
		}
	}
	if err := s.roomFor(ctx, "import "+name); err != nil {
		return be.BE{}, err
	}
	from := "standard input"
	if opts.From != "" {
		from = opts.From
	}
	args := createArgs{Name: name, Token: be.NewToken(), Desc: opts.Description, Props: opts.Properties, UUID: be.NewUUID(), Import: from}
	if opts.DryRun && opts.From == "" {
		s.printPlan(s.newPlan(args, nil))
		return be.BE{}, nil
	}
	src, err := s.openSource(ctx, opts, name)
	if err != nil {
		return be.BE{}, fmt.Errorf("cannot import %s: %w", name, err)
	}
	defer src.close()
	if src.stream {
		if _, ok := s.Store.(be.Streamer); !ok {
			return be.BE{}, be.E(be.NoStore, "cannot import %s: it is a stream of ZFS, and %s is no pool; export an archive (tar) there, or import it into a pool", name, s.Store.Location())
		}
	}
	if opts.DryRun {
		s.printPlan(s.newPlan(args, nil))
		return be.BE{}, nil
	}
	err = s.run(ctx, s.newPlan(args, func(ctx context.Context, create be.CreateOptions) error {
		return s.bring(ctx, src, create)
	}))
	if err != nil {
		return be.BE{}, err
	}
	b, err := s.find(ctx, name)
	if err != nil {
		return be.BE{}, err
	}
	s.record("import", name, "from "+from)
	return b, nil
}

// bring makes the boot environment of src.
func (s *Session) bring(ctx context.Context, src *source, opts be.CreateOptions) error {
	if src.stream {
		_, about, err := s.Store.(be.Streamer).Import(ctx, opts, src.in, func(ctx context.Context, f be.Filling) error { return s.makeOurs(f, opts.Name) })
		if err == nil && about.Bare {
			s.Report.Note("the stream does not say what it holds: whether all file systems of the boot environment came nobody knows")
		}
		return err
	}
	var about copier.Archive
	b, err := s.Store.(be.Filler).CreateFilled(ctx, opts, func(ctx context.Context, f be.Filling) error {
		var err error
		if about, err = src.fill(ctx, f); err != nil {
			return err
		}
		return s.makeOurs(f, opts.Name)
	})
	if err == nil && opts.Description == "" && about.Description != "" {
		// Without it, it is a boot environment all the same.
		if err := s.Store.Describe(ctx, b.Name, about.Description); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	return err
}

// makeOurs makes what was brought one of this target: nobody else's root is in its
// fstab, and its files belong to whom they do here.
func (s *Session) makeOurs(f be.Filling, name string) error {
	if s.Root != "/" {
		ours, err := ownerOf(s.Root)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		theirs, terr := ownerOf(f.Dir)
		if terr != nil {
			return terr
		}
		if err == nil && ours != theirs {
			return be.E(be.NoStore, "its root belongs to user %d and the one here to user %d, as user namespaces have it; bring one that belongs to %d", theirs, ours, ours)
		}
	}
	missing, err := ownFstab(f)
	if err != nil {
		return err
	}
	if s.Guest { // which mounts nothing by itself
		return nil
	}
	for _, line := range missing {
		s.Report.Warn("the fstab of %s mounts %s from %s, which is not here: correct that before you activate it", name, line.dir, line.source)
	}
	return nil
}
