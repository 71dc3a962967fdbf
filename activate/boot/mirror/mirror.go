// Package mirror keeps the loaders of several disks alike, so that whichever
// of them the firmware starts comes up in the right boot environment.
//
// One copy is the primary: what it says is true, it alone is asked for the
// state, and it alone is armed, unless the token is the firmware's and so
// common to all. The others are its mirrors. A change goes to the primary
// first, where it commits, and then to the mirrors; what a cut, or a disk that
// was away, left different Mend makes alike:
//
//   - A mirror has a default that boots at every moment: its entries come before
//     a default that needs them, and go after a default that needed them.
//   - A mirror never keeps a token: a boot from it runs the default, and the
//     trial is not tried. So a disk that comes back with an old token is
//     disarmed before anything else is done with it.
//   - Nothing that a mirror says is believed.
//
// Which copy is the primary is kept by the caller, durably, before anything is
// changed: a disk that was away is then a mirror when it comes back, whatever
// it holds.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"beadm/activate/boot"
	"beadm/be"
)

// Copy is a loader that can be one of several of its kind.
type Copy interface {
	boot.Loader

	// CopyEntry makes the entry of id, with the kernel it starts, as from has
	// it: durably, and the loader sees the old one or the new. Nothing is written
	// if it is so already. It fails if from, a loader of the same kind, has no
	// whole one.
	CopyEntry(ctx context.Context, from boot.Loader, id string) error

	// FollowDefault is SetDefault but for a token that is not in this copy.
	FollowDefault(ctx context.Context, id string) error
}

// Member is one place for a loader.
type Member struct {
	// Name is unique among the members and stays with the partition.
	Name string
	// Copy is the loader there, and nil if Away says why there is none now.
	Copy Copy
	Away error
	// Started: this machine was started from it.
	Started bool
}

// Config says which loaders are alike.
type Config struct {
	Members []Member // as they were configured

	// Primary is the name of the one that was the primary last.
	Primary string

	// SharedToken: the token is the firmware's, and whichever copy is started
	// takes it.
	SharedToken bool

	// Trouble hears what could not be done on a mirror. The operation goes on
	// unless it returns an error. nil returns what it is told.
	Trouble func(name string, err error) error
}

// Loader is a primary with its mirrors.
type Loader struct {
	cfg     Config
	primary Member
	mirrors []Member // those that are there
}

var _ boot.Loader = (*Loader)(nil)

// New chooses the primary: the one that was it last if it is there and can be
// read, else the one this machine was started from, else the first. If none is
// there the error says why of each.
func New(ctx context.Context, cfg Config) (*Loader, error) {
	if cfg.Trouble == nil {
		cfg.Trouble = func(_ string, err error) error { return err }
	}
	l := &Loader{cfg: cfg}
	var there []Member
	var away error
	for _, m := range cfg.Members {
		if m.Copy == nil {
			away = errors.Join(away, m.Away)
			continue
		}
		there = append(there, m)
	}
	if len(there) == 0 {
		return nil, be.E(be.NoStore, "none of the loader's partitions is there: %w", away)
	}
	// Not to be set up is better than to be damaged, and worse than nothing.
	works := func(m Member) bool { _, err := m.Copy.State(ctx); return err == nil }
	set := func(m Member) bool { _, err := m.Copy.State(ctx); return be.KindOf(err) != be.NoStore }
	any := func(Member) bool { return true }
	for _, ok := range []func(Member) bool{works, set, any} {
		for _, first := range []func(Member) bool{
			func(m Member) bool { return m.Name == cfg.Primary }, func(m Member) bool { return m.Started }, any,
		} {
			i := slices.IndexFunc(there, func(m Member) bool { return first(m) && ok(m) })
			if i >= 0 {
				l.use(there, i)
				return l, nil
			}
		}
	}
	panic("unreachable: the last of each accepts all")
}

func (l *Loader) use(there []Member, i int) {
	l.primary = there[i]
	l.mirrors = slices.Delete(slices.Clone(there), i, i+1)
}

// Name is the primary's.
func (l *Loader) Name() string { return l.primary.Copy.Name() }

// Primary is the name of the member that is the primary now.
func (l *Loader) Primary() string { return l.primary.Name }

// Successor is the name of the member that ought to be the primary: the one
// this machine was started from, and will be again, once it is alike.
func (l *Loader) Successor(ctx context.Context) string {
	for _, m := range l.mirrors {
		if m.Started && l.differs(ctx, m) == nil {
			return m.Name
		}
	}
	return l.primary.Name
}

// Use makes the member of that name, which is there, the primary.
func (l *Loader) Use(name string) {
	there := append([]Member{l.primary}, l.mirrors...)
	if i := slices.IndexFunc(there, func(m Member) bool { return m.Name == name }); i >= 0 {
		l.use(there, i)
	}
}

// onMirrors does f on each mirror, whatever happens to one.
func (l *Loader) onMirrors(f func(m Member) error) error {
	for _, m := range l.mirrors {
		if err := f(m); err != nil {
			if err := l.cfg.Trouble(m.Name, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Probe is the primary's, and says so if this machine is started by another
// copy, which takes no token of the primary.
func (l *Loader) Probe(ctx context.Context) error {
	if err := l.primary.Copy.Probe(ctx); err != nil {
		return err
	}
	if l.cfg.SharedToken {
		return nil
	}
	for _, m := range l.mirrors {
		if m.Started {
			return be.E(be.Unbootable, "this machine was started from the loader on %s, which would not take a token on %s: mend the first (beadm status says what is wrong with it), or have the firmware start the second", m.Name, l.primary.Name)
		}
	}
	return nil
}

// Install sets up the primary, and then the mirrors as it is.
func (l *Loader) Install(ctx context.Context, def boot.Entry) error {
	if err := l.primary.Copy.Install(ctx, def); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error {
		err := m.Copy.Install(ctx, def)
		return errors.Join(err, l.mend(ctx, m))
	})
}

// Put writes the entry of the primary first: what a cut leaves of it is a
// mirror without an entry that nothing starts by yet, or with the old one.
func (l *Loader) Put(ctx context.Context, e boot.Entry) error {
	if err := l.primary.Copy.Put(ctx, e); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error { return m.Copy.Put(ctx, e) })
}

var _ boot.Fitter = (*Loader)(nil)

// Fits implements boot.Fitter: a mirror without room is no reason to refuse.
func (l *Loader) Fits(ctx context.Context, e boot.Entry) error {
	if f, ok := l.primary.Copy.(boot.Fitter); ok {
		return f.Fits(ctx, e)
	}
	return nil
}

// Remove takes the entry from the mirrors first: one that boots it by default,
// and cannot be given another, keeps it everywhere (be.InUse). A mirror that
// is away keeps an entry of what is gone.
func (l *Loader) Remove(ctx context.Context, id string) error {
	s, err := l.primary.Copy.State(ctx)
	if err != nil || id == s.Default || id == s.Trial {
		return errors.Join(err, l.primary.Copy.Remove(ctx, id))
	}
	var inUse error
	err = l.onMirrors(func(m Member) error {
		have, err := m.Copy.State(ctx)
		if err != nil {
			return err
		}
		if have.Default == id {
			if err := l.mend(ctx, m); err != nil {
				inUse = be.E(be.InUse, "the loader on %s still boots %s by default, and cannot be given another: %w; mend it, or take it off with beadm setup --loader-mirror", m.Name, id, err)
				return inUse
			}
		}
		if have.Trial == id && !l.cfg.SharedToken {
			if err := m.Copy.Disarm(ctx); err != nil {
				return err
			}
		}
		return m.Copy.Remove(ctx, id)
	})
	if err := errors.Join(err, inUse); err != nil {
		return err
	}
	return l.primary.Copy.Remove(ctx, id)
}

// Entries are the primary's.
func (l *Loader) Entries(ctx context.Context) ([]string, error) { return l.primary.Copy.Entries(ctx) }

// CheckEntry is the primary's: mirrors copy what it has.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	return l.primary.Copy.CheckEntry(ctx, id, root)
}

// CheckEntryWhole is the primary's.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.primary.Copy.CheckEntryWhole(ctx, id, root)
}

// State is the primary's.
func (l *Loader) State(ctx context.Context) (boot.State, error) { return l.primary.Copy.State(ctx) }

// Arm has the mirrors without a token before the primary has one: of two, each
// would be a trial. Where the token is common, a mirror without the trial's
// entry boots its default.
func (l *Loader) Arm(ctx context.Context, id string) error {
	if err := l.Probe(ctx); err != nil {
		return err
	}
	if !l.cfg.SharedToken {
		if err := l.onMirrors(func(m Member) error { return clear(ctx, m.Copy) }); err != nil {
			return err
		}
		return l.primary.Copy.Arm(ctx, id)
	}
	if err := l.primary.Copy.Arm(ctx, id); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error {
		if err := m.Copy.Arm(ctx, id); err != nil {
			return fmt.Errorf("started from there, the machine would come up in the default and the trial be over: %w", err)
		}
		return nil
	})
}

// clear takes what a copy says of trials.
func clear(ctx context.Context, c Copy) error {
	s, err := c.State(ctx)
	if err == nil && s.Trial == "" && s.Tried == "" {
		return nil
	}
	return errors.Join(c.Disarm(ctx), c.ClearTried(ctx))
}

// Disarm takes the primary's token back, and any that a mirror has.
func (l *Loader) Disarm(ctx context.Context) error {
	if err := l.primary.Copy.Disarm(ctx); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error {
		if l.cfg.SharedToken {
			return m.Copy.ClearTried(ctx) // the token is gone: this is its trace
		}
		return m.Copy.Disarm(ctx)
	})
}

// SetDefault commits on the primary. Before that the mirrors have the entry,
// after it they have the default; one that a cut left with the old default
// boots that, whose entry Remove keeps there.
func (l *Loader) SetDefault(ctx context.Context, id string) error {
	if ids, err := l.Entries(ctx); err == nil && slices.Contains(ids, id) {
		if err := l.onMirrors(func(m Member) error { return m.Copy.CopyEntry(ctx, l.primary.Copy, id) }); err != nil {
			return err
		}
	}
	if err := l.primary.Copy.SetDefault(ctx, id); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error { return m.Copy.SetDefault(ctx, id) })
}

// ClearTried forgets a consumed token everywhere.
func (l *Loader) ClearTried(ctx context.Context) error {
	if err := l.primary.Copy.ClearTried(ctx); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error { return m.Copy.ClearTried(ctx) })
}

// Tidy tidies all.
func (l *Loader) Tidy(ctx context.Context) error {
	if err := l.primary.Copy.Tidy(ctx); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error { return m.Copy.Tidy(ctx) })
}
