package share

import (
	"context"
	"slices"
	"strings"
	"time"

	"beadm/be"
)

// still makes the copies true and durable while nobody has the directories
// open. What starts during the last pass is stopped like the rest, and the
// pass is made again.
func (m *move) still(ctx context.Context) error {
	for i := 0; ; i++ {
		if err := m.quiet(ctx); err != nil {
			return err
		}
		err := m.settle(ctx)
		if err == nil {
			var holders []Holder
			if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
				return be.E(be.Other, "cannot see who has the directories open: %w", err)
			}
			if len(holders) == 0 {
				return nil
			}
			_, err = m.allowed(holders)
			if err == nil {
				err = be.E(be.InUse, "cannot move %s: in use again and again by %s", strings.Join(m.asSeen(), ", "), holdersText(holders))
			}
		}
		if be.KindOf(err) != be.InUse || i == 5 {
			return err
		}
	}
}

// quiet makes everybody let go of the directories, or refuses.
func (m *move) quiet(ctx context.Context) error {
	if m.o.Units != nil {
		m.rec.Release = true
		if err := m.rec.save(m.o.Record, stopping); err != nil {
			return err
		}
		if _, err := m.o.Units.Release(ctx, m.asSeen()); err != nil {
			m.note("the system's journal does not let go of its files: %v", err)
		}
	}
	var holders []Holder
	var stop []string
	var err error
	for end := time.Now().Add(brief); ; {
		if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
			return be.E(be.Other, "cannot see who has the directories open: %w", err)
		}
		// Somebody who just drops a message there is soon gone.
		if stop, err = m.allowed(holders); err == nil {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(brief / 20)
	}
	if m.o.Units == nil {
		return nil
	}
	if !m.o.StopAll {
		stop = append(stop, withSuffix(m.o.Stop)...)
	}
	if err := m.stop(ctx, stop); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; {
		if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
			return be.E(be.Other, "cannot see who has the directories open: %w", err)
		}
		if len(holders) == 0 {
			return nil
		}
		more, err := m.allowed(holders)
		if err != nil && time.Now().After(end) {
			return err
		}
		if time.Now().After(end) {
			return be.E(be.InUse, "cannot move %s: after their units were stopped still in use by %s", strings.Join(m.asSeen(), ", "), holdersText(holders))
		}
		if err == nil { // started since, or never stopped
			if err := m.stop(ctx, more); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// allowed lists the units to stop, or says who is in the way.
func (m *move) allowed(holders []Holder) ([]string, error) {
	may := map[string]bool{}
	for _, u := range withSuffix(m.o.Stop) {
		may[u] = true
	}
	var blocked []Holder
	for _, h := range holders {
		if h.Unit == "" || !m.o.StopAll && !may[h.Unit] {
			blocked = append(blocked, h)
		}
	}
	if len(blocked) > 0 {
		remedy := "end these first"
		if slices.ContainsFunc(blocked, func(h Holder) bool { return h.Unit != "" }) {
			remedy = "--stop UNIT and --stop-all have units stopped meanwhile; end what is in none"
		}
		what := "move " + strings.Join(m.asSeen(), ", ")
		if m.rec.Op == "undo" {
			what = "put " + strings.Join(m.asSeen(), ", ") + " back"
		}
		return nil, be.E(be.InUse, "cannot %s while in use by %s; %s", what, holdersText(blocked), remedy)
	}
	return unitsOf(holders), nil
}

func withSuffix(units []string) []string {
	var list []string
	for _, u := range units {
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		list = append(list, u)
	}
	return list
}

func (m *move) stop(ctx context.Context, units []string) error {
	all, err := m.o.Units.With(ctx, units, m.asSeen())
	if err != nil {
		return be.E(be.InUse, "cannot stop %s: %w", strings.Join(units, ", "), err)
	}
	known := map[string]bool{}
	for _, u := range m.rec.Units {
		known[u] = true
	}
	for _, u := range all {
		if !known[u] {
			m.rec.Units = append(m.rec.Units, u)
		}
	}
	if len(all) == 0 {
		return nil
	}
	// Who is stopped is recorded before: a power cut or a kill in between
	// starts one too many, never one too few.
	if err := m.rec.save(m.o.Record, stopping); err != nil {
		return err
	}
	m.res.Stopped = m.rec.Units
	effect("stop units")
	if err := m.o.Units.Stop(ctx, all); err != nil {
		return be.E(be.InUse, "cannot stop %s: %w", strings.Join(all, ", "), err)
	}
	return nil
}

func (m *move) restart(ctx context.Context) error {
	if m.o.Units == nil {
		return nil
	}
	// The journal first, to hold what the units say.
	if m.rec.Release {
		effect("resume journal")
		if err := m.o.Units.Resume(ctx); err != nil {
			m.note("the system's journal stays in /run until the next boot: %v", err)
		}
	}
	if len(m.rec.Units) == 0 {
		return nil
	}
	effect("start units")
	if err := m.o.Units.Start(ctx, m.rec.Units); err != nil {
		return be.E(be.Recovery, "cannot start %s again: %w", strings.Join(m.rec.Units, ", "), err)
	}
	return nil
}
