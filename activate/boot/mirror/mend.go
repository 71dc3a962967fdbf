package mirror

import (
	"context"
	"errors"
	"slices"

	"beadm/be"
)

// Mend makes every mirror that is there what the primary is. Nothing is written
// to one that is so already. What cannot be done is Config.Trouble's to hear;
// the error is what that returns, or the primary's own.
func (l *Loader) Mend(ctx context.Context) error {
	if _, err := l.State(ctx); err != nil {
		return err
	}
	return l.onMirrors(func(m Member) error { return l.mend(ctx, m) })
}

// mend changes m in an order in which it boots at every moment: its old default
// while that has its entry, then the primary's.
func (l *Loader) mend(ctx context.Context, m Member) error {
	want, err := l.State(ctx)
	if err != nil {
		return err
	}
	have, err := m.Copy.State(ctx)
	if be.KindOf(err) == be.NoStore {
		return err // not set up, or another's: setup's to do
	}
	damaged := err != nil
	if !l.cfg.SharedToken && (damaged || have.Trial != "" || have.Tried != "") {
		// First of all: the machine may be started from there the moment after.
		if err := errors.Join(m.Copy.Disarm(ctx), m.Copy.ClearTried(ctx)); err != nil && !damaged {
			return err
		}
	}
	if err := m.Copy.CopyEntry(ctx, l.primary.Copy, want.Default); err != nil {
		return err
	}
	if damaged || have.Default != want.Default {
		if err := m.Copy.FollowDefault(ctx, want.Default); err != nil {
			// Perhaps for a kernel that is there and damaged, which CopyEntry does
			// not read where the entry is right. It boots by another so far.
			if m.Copy.Remove(ctx, want.Default) != nil || m.Copy.CopyEntry(ctx, l.primary.Copy, want.Default) != nil || m.Copy.FollowDefault(ctx, want.Default) != nil {
				return err
			}
		}
	}
	ids, err := l.Entries(ctx)
	if err != nil {
		return err
	}
	var lacks error
	for _, id := range ids {
		if id != want.Default {
			lacks = errors.Join(lacks, m.Copy.CopyEntry(ctx, l.primary.Copy, id))
		}
	}
	theirs, err := m.Copy.Entries(ctx)
	if err != nil {
		return errors.Join(lacks, err)
	}
	for _, id := range theirs {
		if !slices.Contains(ids, id) {
			lacks = errors.Join(lacks, m.Copy.Remove(ctx, id))
		}
	}
	if l.cfg.SharedToken {
		switch have, err := m.Copy.State(ctx); {
		case err != nil:
			lacks = errors.Join(lacks, err)
		case want.Trial != "":
			lacks = errors.Join(lacks, m.Copy.Arm(ctx, want.Trial)) // its entry; the token is there
		case want.Tried == "" && have.Tried != "":
			lacks = errors.Join(lacks, m.Copy.ClearTried(ctx))
		}
	}
	return lacks
}

// differs says what of m would not do in the place of the primary, reading only.
func (l *Loader) differs(ctx context.Context, m Member) error {
	want, err := l.State(ctx)
	if err != nil {
		return nil // the primary's trouble
	}
	have, err := m.Copy.State(ctx)
	if err != nil {
		return err
	}
	if have.Default != want.Default {
		return be.E(be.Unbootable, "it boots %s by default and not %s", have.Default, want.Default)
	}
	if !l.cfg.SharedToken && have.Trial != "" {
		return be.E(be.Unbootable, "it holds the token of an old trial, of %s", have.Trial)
	}
	ids, err := l.Entries(ctx)
	if err != nil {
		return nil
	}
	theirs, err := m.Copy.Entries(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.Contains(theirs, id) {
			return be.E(be.Unbootable, "it has no entry for %s", id)
		}
	}
	return m.Copy.Probe(ctx)
}

// Health is what there is to say of one member.
type Health struct {
	Name    string
	Primary bool
	Started bool
	Away    bool
	// Trouble says why a machine started from there might not come up as it
	// should; nil: nothing is wrong with it.
	Trouble error
}

// Health looks at every member, as they were configured, and changes nothing.
func (l *Loader) Health(ctx context.Context) []Health {
	var list []Health
	for _, m := range l.cfg.Members {
		h := Health{Name: m.Name, Started: m.Started, Primary: m.Name == l.primary.Name, Away: m.Copy == nil}
		switch {
		case h.Away:
			h.Trouble = m.Away
		case h.Primary:
			h.Trouble = m.Copy.Probe(ctx)
		default:
			h.Trouble = l.differs(ctx, m)
		}
		list = append(list, h)
	}
	return list
}
