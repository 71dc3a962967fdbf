package activate

import (
	"context"
	"fmt"
	"slices"

	"beadm/activate/boot"
	"beadm/be"
)

// putEntry writes the menu entry of b, whose root is mounted at dir.
func (s *Session) putEntry(ctx context.Context, b be.BE, dir string) error {
	e, err := s.entry(ctx, b, dir)
	if err != nil {
		return err
	}
	return s.Loader.Put(ctx, e)
}

// refreshEntry writes the menu entry of a boot environment, mounted or not.
func (s *Session) refreshEntry(ctx context.Context, uuid be.UUID) error {
	b, err := s.byUUID(ctx, uuid)
	if err != nil {
		return err
	}
	return s.lookInto(ctx, b, func(dir string) error { return s.putEntry(ctx, b, dir) })
}

// followEntry is refreshEntry for one that was changed at rest, if it has an
// entry: what is not armed and not rolled back to must still start from the
// menu, or as the default.
func (s *Session) followEntry(ctx context.Context, uuid be.UUID) {
	entries, err := s.Loader.Entries(ctx)
	if err == nil && slices.Contains(entries, uuid.ID()) && uuid != "" {
		if err = s.Store.Flush(ctx); err == nil {
			err = s.refreshEntry(ctx, uuid)
		}
	}
	if err != nil {
		s.Report.Warn("its entry in the boot menu is the old one: %v", err)
	}
}

// initPath is our init in every boot environment that holds beadm.
const initPath = "/usr/lib/beadm/init"

// identityFile is who the host is, in each of its boot environments.
const identityFile = "etc/beadm/identity"

func (s *Session) entry(ctx context.Context, b be.BE, dir string) (boot.Entry, error) {
	ref, err := s.Store.RootRef(ctx, b.Name)
	if err != nil {
		return boot.Entry{}, err
	}
	e := boot.Entry{ID: b.ID(), Title: b.Name, Root: ref, Dir: dir}
	if s.State.Loader.Kind != "stub" {
		if e.Kernel, e.Initrd, err = s.findKernel(ctx, dir); err != nil {
			return boot.Entry{}, fmt.Errorf("cannot boot %s: %w", b.Name, err)
		}
	}
	args, _ := lasting(s.State.Loader.Args) // an older beadm kept them all
	e.Root.Args, args = withRootflags(ref.Args, args)
	e.Args = append(args, "init="+initPath)
	e.TrialArgs = boot.TrialArgs(s.Conf.Panic)
	return e, nil
}
