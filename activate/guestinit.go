package activate

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
	"beadm/share"
)

// Init makes a guest one of boot environments: its root becomes the first of
// them, called name, without being copied, and a guest that runs goes on. A root
// that is a plain directory is copied into a subvolume, while the guest does not
// run. It may be repeated.
func (m *Machine) Init(ctx context.Context, name string, dryRun bool, say Reporter) error {
	if err := be.CheckName(name); err != nil {
		return err
	}
	now, adopted, err := m.Place.Current()
	if err != nil {
		return err
	}
	if _, ok := m.Runtime.(guest.Keeper); ok {
		return be.E(be.NoStore, "cannot adopt the %s %s: its boot environments are the system's own, in a form that beadm cannot change yet", m.Guest.Runtime, m.Guest.Name)
	}
	if err := m.Place.CanAdopt(); err != nil {
		return err
	}
	if l, ok := m.Runtime.(guest.Linker); ok {
		if err := l.FollowsLink(ctx, m.Guest); err != nil {
			return err
		}
	}
	plain := m.Place.IsPlain()
	switch {
	case plain:
		if err := m.mayCopy(ctx); err != nil {
			return err
		}
	case !adopted:
		if err := m.atRest(ctx, "make boot environments of"); err != nil {
			return err
		}
	}
	if dryRun {
		if plain {
			kept, err := m.Place.KeepsPlain()
			if err != nil {
				return err
			}
			say.Would("copy " + m.Place.Root + " into a subvolume, " + filepath.Join(m.Place.Dir(), "@be-"+name) + ", leave a link to that, and keep the old one as " + kept)
		} else if !adopted {
			say.Would("move " + m.Place.Root + " to " + filepath.Join(m.Place.Dir(), "@be-"+name) + " and leave a link")
		}
		return nil
	}
	switch {
	case plain:
		say.Step("copy " + m.Place.Root + " into a subvolume in " + m.Place.Dir())
	case !adopted:
		say.Step("move " + m.Place.Root + " to " + m.Place.Dir())
	}
	if err := m.Place.Make(); err != nil {
		return err
	}
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	kept, err := "", error(nil)
	switch {
	case m.Place.IsPlain():
		kept, err = m.Place.AdoptPlain(ctx, name, func() error { return m.mayCopy(ctx) })
	case adopted:
		kept, err = m.Place.EndPlain()
	default:
		err = m.Place.Adopt(name)
	}
	if err != nil {
		return err
	}
	if kept != "" {
		say.Note("what was at %s is kept as %s: delete it when you do not need it any more", m.Place.Root, kept)
	}
	return m.with(ctx, func(t *Target) error {
		s, err := t.Look(ctx)
		if err != nil {
			return err
		}
		setUp := s.Dir != nil && s.State.Loader.Kind != ""
		s.Close()
		if setUp {
			say.Note("%s is one of boot environments already, and runs %s", m.Guest.Name, now)
			return nil
		}
		return t.Setup(ctx, SetupOptions{Loader: state.LoaderConfig{Kind: "stub", Dir: m.Place.Loader(), Args: []string{}}})
	})
}

// mayCopy says, as an error, why the root of the guest cannot be copied now.
func (m *Machine) mayCopy(ctx context.Context) error {
	running, err := m.Running(ctx)
	if err != nil {
		return err
	}
	if running {
		return be.E(be.InUse, "cannot adopt %s: its root is a plain directory, which is copied into a subvolume, and it runs: stop it, run beadm guest init %s, and start it again", m.Place.Root, m.Guest.Name)
	}
	return m.mountedBelow()
}

// atRest refuses a guest that runs, where its root has to be unmounted to be
// moved.
func (m *Machine) atRest(ctx context.Context, verb string) error {
	if m.Place.Live() {
		return nil
	}
	runs, err := m.Running(ctx)
	if err != nil {
		return err
	}
	if runs {
		return be.E(be.InUse, "cannot %s %s: it runs, and its root is to be unmounted and moved; stop it first", verb, m.Guest.Name)
	}
	return m.mountedBelow()
}

// GiveBack gives the guest back as it was before Init, with the root that it
// runs: nothing of beadm's is left. Its other boot environments are destroyed if
// others says so, and refused otherwise, as is one whose data is shared. It may
// be repeated.
func (m *Machine) GiveBack(ctx context.Context, others, dryRun bool, say Reporter) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.atRest(ctx, "release"); err != nil {
		return err
	}
	if !m.Place.Released() { // not cut behind the exchange
		err = m.with(ctx, func(t *Target) error { return t.emptyStore(ctx, m.Guest.Name, others, dryRun) })
	}
	if err != nil || dryRun {
		if err == nil {
			say.Would("put its root back to " + m.Place.Root)
		}
		return err
	}
	say.Step("put its root back to " + m.Place.Root)
	if err := m.Place.Release(); err != nil {
		return err
	}
	return m.Place.Forget()
}

// shareIsEmpty says that nothing is shared: no directory leads there, and
// nothing is in it.
func (s *Session) shareIsEmpty(ctx context.Context) bool {
	paths, err := share.Status(ctx, s.Root, nil)
	live := s.openLive()
	if err != nil || anyLinked(paths) || live == nil {
		return false
	}
	defer live.Close()
	names, err := live.Readdirnames(1)
	return len(names) == 0 && err == io.EOF
}

// emptyStore takes away everything of a guest but the root that it runs.
func (t *Target) emptyStore(ctx context.Context, name string, others, dryRun bool) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	// An earlier release, or init, was cut: then only what is there counts.
	half := s.Dir == nil || s.State.Loader.Kind == ""
	if !half {
		s.Close()
		if s, err = t.write(ctx, dryRun); err != nil {
			return err
		}
	}
	defer s.Close()
	if err := Allow(s.State, "destroy"); err != nil {
		return err
	}
	shared, err := s.hasShare(ctx)
	if err != nil {
		return err
	}
	// Given back, it is left, empty.
	if shared && !s.shareIsEmpty(ctx) {
		return be.E(be.InUse, "cannot release %s: its directories are shared; give them back first with beadm -g %s share undo and share commit", name, name)
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	if !half && running.UUID != s.State.Default {
		return be.E(be.InUse, "cannot release %s: it runs %s, and starts %s next; activate what it is to keep", name, running.Name, s.nameOf(ctx, s.State.Default))
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		switch {
		case b.Running:
			continue
		case !others:
			return be.E(be.InUse, "cannot release %s: it has another boot environment, %s; give --destroy, or destroy it first", name, b.Name)
		case dryRun:
			s.Report.Would("destroy " + b.Name)
			continue
		}
		s.Report.Step("destroy " + b.Name)
		if _, err := s.Store.Destroy(ctx, b.Name, false); err != nil {
			return err
		}
	}
	if dryRun {
		return nil
	}
	if shared {
		if err := s.dropEmptyShare(ctx); err != nil {
			return err
		}
	}
	if err := share.RemoveMountPoint(s.Root); err != nil {
		return err
	}
	if s.Dir == nil {
		return s.dropSnapshots(ctx, running.Name)
	}
	if rec, err := journal.Open(s.Dir); err != nil || rec != nil {
		return be.E(be.Recovery, "cannot release %s: an operation was interrupted; run beadm -g %s recover", name, name)
	}
	if err := s.dropSnapshots(ctx, running.Name); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Dir.Path("")); err != nil {
		return fmt.Errorf("cannot remove the state of %s: %w", name, err)
	}
	return nil
}

func (s *Session) dropSnapshots(ctx context.Context, name string) error {
	snaps, err := s.Store.Snapshots(ctx, name)
	if err != nil {
		return err
	}
	for _, sn := range snaps {
		// Where they are the root's own, they come along with it.
		if s.Store.Caps().Promote && !strings.HasPrefix(sn.Name, "beadm-") {
			continue
		}
		if err := s.Store.DestroySnapshot(ctx, name, sn.Name); err != nil {
			return err
		}
	}
	return nil
}
