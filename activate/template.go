package activate

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"beadm/be"
)

// Template is a boot environment of one guest that those of others are made
// from.
type Template struct {
	name           string // GUEST/BE or GUEST/BE@SNAP
	store          be.Store
	from, snapshot string
	root           string
}

const templatePrefix = "beadm-template-"

// WithTemplate calls do with what beadm create clones in other guests: source, a
// BE or BE@SNAP of t, which is the guest called name. All of them clone one
// snapshot, and until do has returned nothing else changes t. runs says that the
// guest runs; what runs is no template.
func (t *Target) WithTemplate(ctx context.Context, name, source string, runs, dryRun bool, do func(*Template) error) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	defer s.Close()
	from, snap, isSnap := be.SplitSnapshot(source)
	b, err := s.find(ctx, from)
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	switch {
	case b.Incomplete:
		return be.E(be.InUse, "cannot clone %s/%s: it is incomplete; beadm -g %s destroy %s ends that", name, from, name, from)
	case b.Running && runs && !isSnap:
		return be.E(be.InUse, "cannot clone %s/%s: it runs, and a template does not; stop %s, or name another boot environment of it", name, from, name)
	}
	if isSnap {
		err = s.findSnapshot(ctx, from, snap)
	} else {
		err = s.upgradedWell(b, "clone")
	}
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	tm := &Template{name: name + "/" + source, store: s.Store, from: from, snapshot: snap, root: t.Root}
	if dryRun {
		return do(tm)
	}
	// This is the one writer: what there is of them, a cut left.
	if err := s.dropSnapshotsNamed(ctx, templatePrefix, ""); err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	if !isSnap {
		tm.snapshot = templatePrefix + be.NewToken()
		s.Report.Step("snapshot " + tm.name)
		if err := tm.take(ctx, b); err != nil {
			return fmt.Errorf("template %s: %w", name, err)
		}
		defer func() {
			err := s.Store.DestroySnapshot(context.WithoutCancel(ctx), from, tm.snapshot)
			if s.Store.Caps().Promote && be.KindOf(err) == be.InUse {
				return // one that has clones; without any the next create or destroy beside it takes it away
			}
			if err != nil {
				s.Report.Warn("%v: the next create from a template of %s takes it away", err, name)
			}
		}()
	}
	return do(tm)
}

// take makes the snapshot of b, an automatic one where clones keep theirs.
func (tm *Template) take(ctx context.Context, b be.BE) error {
	if joint, ok := tm.store.(be.JointSnapshotter); ok {
		return joint.SnapshotJointly(ctx, tm.snapshot, []string{b.Location})
	}
	_, err := tm.store.Snapshot(ctx, tm.from, tm.snapshot)
	return err
}

// fitsHere says, as an error, why nothing of s can be made from it.
func (tm *Template) fitsHere(s *Session) error {
	creator, ok := s.Store.(be.CrossCreator)
	if !ok {
		return be.E(be.NoStore, "cannot clone %s: %s clones nothing of another guest", tm.name, s.Store.Location())
	}
	if err := creator.CanCreateFrom(tm.store); err != nil {
		return fmt.Errorf("cannot clone %s: %w", tm.name, err)
	}
	theirs, err := ownerOf(tm.root)
	if err != nil {
		return err
	}
	ours, err := ownerOf(s.Root)
	if err != nil {
		return err
	}
	if theirs != ours {
		// Every file of the one would be another's in the user namespace of the
		// other, and what is carried over a stranger's.
		return be.E(be.NoStore, "cannot clone %s: its root belongs to user %d and the one here to user %d, as user namespaces have it; let both have the same", tm.name, theirs, ours)
	}
	return nil
}

func ownerOf(dir string) (uint32, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("cannot see whom %s belongs to: %w", dir, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("cannot see whom %s belongs to", dir)
	}
	return st.Uid, nil
}

// create clones it.
func (tm *Template) create(ctx context.Context, s *Session, opts be.CreateOptions) error {
	opts.From, opts.Snapshot = tm.from, tm.snapshot
	_, err := s.Store.(be.CrossCreator).CreateFrom(ctx, tm.store, opts)
	return err
}
