package activate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// PruneOptions say which boot environments Prune destroys: those that all of the
// criteria given name, the oldest first.
type PruneOptions struct {
	Keep      *int          // all but the newest so many of those that may go
	Older     time.Duration // only those made longer ago; 0: any
	UntilFree int64         // bytes; it ends as soon as so many can be written; 0: no end
	DryRun    bool
	// Ask, if not nil, is asked before the first is destroyed; its error ends the
	// command. frees is of all of them, where UntilFree does not end it earlier.
	Ask func(names []string, frees be.Frees) error

	taken map[be.UUID]string // what the host takes along, and which of its own does
}

// Kept is a boot environment that Prune does not destroy.
type Kept struct {
	BE  string `json:"be"`
	Why string `json:"why"`
}

// Pruned is what Prune did, or would do.
type Pruned struct {
	Destroyed []string `json:"destroyed"` // in order
	Kept      []Kept   `json:"kept"`
	// What comes back of all of them together: exactly, or at least.
	Frees        *int64 `json:"frees_bytes,omitempty"`
	FreesAtLeast int64  `json:"frees_at_least_bytes,omitempty"`
}

// Prune destroys boot environments that nobody needs: never one that runs, boots
// next, is the default or the previous one, part of a trial, failed and not
// acknowledged, pinned, mounted, incomplete or owing, and never the last that was
// ever confirmed. One that cannot be destroyed ends it. While it asks, others may
// work on the target; it refuses to go on if others than those asked about would go.
func (t *Target) Prune(ctx context.Context, opts PruneOptions) (Pruned, error) {
	var asked *toPrune
	if opts.Ask != nil && !opts.DryRun {
		c, err := t.wouldPrune(ctx, opts)
		if err != nil || len(c.doomed) == 0 {
			return c.Pruned, err
		}
		if err := opts.Ask(c.names(), c.frees); err != nil {
			return c.Pruned, err
		}
		asked = &c
	}
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return nothingPruned(), err
	}
	defer s.Close()
	c, err := s.toPrune(ctx, &opts, asked)
	if err != nil || len(c.doomed) == 0 {
		return c.Pruned, err
	}
	return s.prune(ctx, opts, c)
}

// wouldPrune is what would go, of a target that nobody holds any more.
func (t *Target) wouldPrune(ctx context.Context, opts PruneOptions) (toPrune, error) {
	s, err := t.write(ctx, false)
	if err != nil {
		return toPrune{Pruned: nothingPruned()}, err
	}
	defer s.Close()
	return s.toPrune(ctx, &opts, nil)
}

func nothingPruned() Pruned { return Pruned{Destroyed: []string{}, Kept: []Kept{}} }

// toPrune is what is to go, and what is known of that.
type toPrune struct {
	Pruned
	doomed []be.BE
	free   int64 // bytes that can be written, where it matters
	frees  be.Frees
}

func (c toPrune) names() (names []string) {
	for _, b := range c.doomed {
		names = append(names, b.Name)
	}
	return names
}

// toPrune chooses, and measures unless that was done before somebody was asked.
func (s *Session) toPrune(ctx context.Context, opts *PruneOptions, asked *toPrune) (toPrune, error) {
	c := toPrune{Pruned: nothingPruned(), frees: be.Frees{AtLeast: true}}
	if err := Allow(s.State, "prune"); err != nil {
		return c, err
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return c, err
	}
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return c, err // nobody knows what boots next
	}
	if opts.taken, err = s.takenAlong(ctx); err != nil {
		return c, fmt.Errorf("cannot prune: %w", err)
	}
	c.doomed, c.Kept = choose(s.State, []string{ls.Default, ls.Trial}, all, *opts, time.Now())
	if opts.UntilFree > 0 {
		if c.free, err = s.room(ctx); err != nil {
			return c, err
		}
		if c.free >= opts.UntilFree {
			c.doomed = nil
			return c, nil
		}
	}
	if len(c.doomed) == 0 {
		return c, opts.enough(c.free)
	}
	if asked != nil {
		same := func(a, b be.BE) bool { return a.UUID == b.UUID && a.Name == b.Name }
		if !slices.EqualFunc(c.doomed, asked.doomed, same) {
			return c, be.E(be.Decision, "nothing was pruned: while you were asked, what would go became %s; run it again", strings.Join(c.names(), ", "))
		}
		c.frees = asked.frees
	} else if opts.UntilFree == 0 {
		if c.frees, err = s.frees(ctx, c.names()...); err != nil {
			return c, err
		}
	}
	return c, nil
}

// prune destroys what was chosen.
func (s *Session) prune(ctx context.Context, opts PruneOptions, c toPrune) (p Pruned, err error) {
	p, free, frees, doomed := c.Pruned, c.free, c.frees, c.doomed
	before := free
	for i, b := range doomed {
		if opts.UntilFree > 0 && free >= opts.UntilFree {
			for _, b := range doomed[i:] {
				p.Kept = append(p.Kept, Kept{b.Name, "there is room enough without"})
			}
			break
		}
		if err := ctx.Err(); err != nil {
			return p, err
		}
		s.mentionGuests(b)
		if opts.DryRun {
			_, err = s.Store.Destroy(ctx, b.Name, true)
		} else {
			_, err = s.destroy(ctx, b, false)
		}
		if err != nil {
			return p, fmt.Errorf("cannot prune %s: %w", b.Name, err)
		}
		p.Destroyed = append(p.Destroyed, b.Name)
		switch {
		case opts.UntilFree == 0:
		case opts.DryRun:
			if frees, err = s.frees(ctx, p.Destroyed...); err != nil {
				return p, err
			}
			free = before + frees.Bytes
		default:
			if free, err = s.room(ctx); err != nil {
				return p, err
			}
			frees = be.Frees{Bytes: max(0, free-before)}
		}
	}
	if frees.AtLeast {
		p.FreesAtLeast = frees.Bytes
	} else {
		p.Frees = &frees.Bytes
	}
	return p, opts.enough(free)
}

// enough says, as an error, that so much that can be written is not what was
// asked for.
func (o PruneOptions) enough(free int64) error {
	if o.UntilFree == 0 || free >= o.UntilFree || o.DryRun {
		return nil
	}
	return be.E(be.Undone, "%d MiB can be written, and not %d: nothing else may go", free>>20, o.UntilFree>>20)
}

// settleTime is how long space is waited for that was destroyed: what somebody
// still has open of it does not come back before that is closed.
const settleTime = 30 * time.Second

// room is what can be written, with all that was destroyed before.
func (s *Session) room(ctx context.Context) (int64, error) {
	if settler, ok := s.Store.(be.Settler); ok {
		short, cancel := context.WithTimeout(ctx, settleTime)
		err := settler.Settle(short)
		late := short.Err() != nil && ctx.Err() == nil
		cancel()
		if late {
			return 0, be.E(be.Undone, "space of what was destroyed has not come back within %s: something on %s that is deleted is still in use", settleTime, s.Store.Location())
		}
		if err != nil {
			return 0, err
		}
	}
	return s.Store.Free(ctx)
}

// choose says, by looking only, which go, the oldest first, and why others stay.
// boots are the loader's words for what it starts next.
func choose(st *state.State, boots []string, all []be.BE, opts PruneOptions, now time.Time) (doomed []be.BE, kept []Kept) {
	kept = []Kept{}
	var may []be.BE
	for _, b := range all {
		why := needed(st, boots, b)
		if with := opts.taken[b.UUID]; why == "" && with != "" {
			why = "it belongs to the host's boot environment " + with + ", which takes it along"
		}
		if why != "" {
			kept = append(kept, Kept{b.Name, why})
			continue
		}
		may = append(may, b)
	}
	slices.SortStableFunc(may, func(a, b be.BE) int { return a.Created.Compare(b.Created) })
	if opts.Keep != nil {
		n := max(0, len(may)-*opts.Keep)
		for _, b := range may[n:] {
			kept = append(kept, Kept{b.Name, fmt.Sprintf("it is one of the newest %d", *opts.Keep)})
		}
		may = may[:n]
	}
	for _, b := range may {
		if opts.Older > 0 && now.Sub(b.Created) < opts.Older {
			kept = append(kept, Kept{b.Name, "it is not that old"})
			continue
		}
		doomed = append(doomed, b)
	}
	good := func(b be.BE) bool { return st.BEs[b.UUID] != nil && st.BEs[b.UUID].Good && !b.Incomplete }
	stays := func(b be.BE) bool {
		return good(b) && !slices.ContainsFunc(doomed, func(d be.BE) bool { return d.UUID == b.UUID })
	}
	if !slices.ContainsFunc(all, stays) {
		for i, b := range slices.Backward(doomed) {
			if good(b) {
				kept = append(kept, Kept{b.Name, "no other one that was ever confirmed would be left"})
				return slices.Delete(doomed, i, i+1), kept
			}
		}
	}
	return doomed, kept
}

// needed is why a boot environment is never pruned; empty if it may be.
func needed(st *state.State, boots []string, b be.BE) string {
	known := st.BEs[b.UUID]
	switch {
	case b.Running:
		return "it is running"
	case b.Incomplete:
		return "it is incomplete: beadm recover ends that"
	case b.UUID == "":
		return "beadm does not know it: it was never activated, or another tool made it"
	case b.UUID == st.Default:
		return "it is the default"
	case b.UUID == st.Previous:
		return "it is the previous one: beadm rollback goes back to it"
	case st.Trial != nil && (b.UUID == st.Trial.BE || b.UUID == st.Trial.From):
		return "it is part of a trial"
	case slices.Contains(boots, b.ID()):
		return "the loader starts it next"
	case b.Mountpoint != "":
		return "it is mounted at " + b.Mountpoint
	case known != nil && known.Pinned:
		return "it is pinned"
	case slices.ContainsFunc(st.Owed, func(o state.Owed) bool { return o.From == b.UUID }):
		return "what it wrote was not carried over yet: beadm recover does that"
	case slices.ContainsFunc(st.Failures, func(f state.Failure) bool { return f.BE == b.UUID && !f.Acknowledged }):
		return "its trial failed, and nobody has acknowledged that"
	case st.Restore != nil && st.Restore.To == b.UUID:
		return "a rollback to it waits for the next boot"
	}
	return ""
}

// Pin has Prune leave a boot environment alone, or no longer.
func (t *Target) Pin(ctx context.Context, name string, pinned, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "prune", b.UUID); err != nil {
		return err
	}
	word := "pin"
	if !pinned {
		word = "unpin"
	}
	if b.UUID == "" {
		return be.E(be.NoStore, "cannot %s %s: beadm does not know it, and never prunes it", word, name)
	}
	if k := s.State.BEs[b.UUID]; (k != nil && k.Pinned) == pinned {
		s.Report.Note("%s is as it was: nothing to %s", name, word)
		return nil
	}
	if dryRun {
		s.Report.Would(word + " " + name)
		return nil
	}
	k := s.State.Know(b.UUID)
	k.Name, k.Pinned = name, pinned
	if err := s.saveOnly(word + " " + name); err != nil {
		return err
	}
	s.record(word, name, "")
	return nil
}
