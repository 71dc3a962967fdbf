package activate

import (
	"context"
	"slices"

	"beadm/be"
	"beadm/be/journal"
)

// Rename renames a boot environment that does not run, and its menu entry.
func (t *Target) Rename(ctx context.Context, from, to string, dryRun bool) error {
	if err := be.CheckName(to); err != nil {
		return err
	}
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, from)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "rename", b.UUID); err != nil {
		return err
	}
	if b.Running || b.Mountpoint != "" {
		return be.E(be.InUse, "cannot rename %s: it is mounted at %s", from, b.Mountpoint)
	}
	if b.UUID != "" && b.UUID == s.State.Default {
		return be.E(be.InUse, "cannot rename %s: it is the default, and its menu entry names its root", from)
	}
	if _, err := s.find(ctx, to); err == nil {
		return be.E(be.InUse, "the boot environment %s exists already: choose another name", to)
	}
	args := renameArgs{From: from, To: to, UUID: b.UUID}
	if b.UUID != "" {
		entries, err := s.Loader.Entries(ctx)
		if err != nil {
			return err
		}
		args.HadEntry = slices.Contains(entries, b.ID())
	}
	plan := s.renamePlan(args)
	if dryRun {
		s.printPlan(plan)
		return nil
	}
	if err := s.run(ctx, plan); err != nil {
		return err
	}
	s.record("rename", to, "was "+from)
	return nil
}

type renameArgs struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	UUID     be.UUID `json:"uuid,omitempty"`
	HadEntry bool    `json:"had_entry,omitempty"`
}

// renamePlan takes the menu entry away first and brings it back last: it must
// not name a root that is not there.
func (s *Session) renamePlan(a renameArgs) journal.Plan {
	renamed := func(ctx context.Context) (bool, error) {
		all, err := s.Store.List(ctx)
		has := func(name string) bool {
			return slices.ContainsFunc(all, func(b be.BE) bool { return b.Name == name })
		}
		return err == nil && has(a.To) && !has(a.From), err
	}
	plan := journal.Plan{Op: "rename", Args: a, Commit: 0, Committed: renamed}
	if a.HadEntry {
		plan.Commit = 1
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "take " + a.From + " out of the boot menu",
			Do:   func(ctx context.Context) error { return s.Loader.Remove(ctx, a.UUID.ID()) },
			Undo: func(ctx context.Context) error { s.entryBack(ctx, a.UUID, a.From); return nil },
		})
	}
	plan.Steps = append(plan.Steps,
		journal.Step{
			Name: "rename " + a.From + " to " + a.To,
			Do: func(ctx context.Context) error {
				from := a.From
				if is, err := renamed(ctx); err != nil {
					return err
				} else if is {
					from = a.To
				}
				return s.Store.Rename(ctx, from, a.To)
			},
		},
		journal.Step{
			Name: "record that",
			Do: func(ctx context.Context) error {
				if a.UUID == "" {
					return nil
				}
				s.State.Know(a.UUID).Name = a.To
				return s.save()
			},
		})
	if a.HadEntry {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "write the menu entry of " + a.To,
			Do: func(ctx context.Context) error {
				s.entryBack(ctx, a.UUID, a.To)
				return nil
			},
		})
	}
	return plan
}

// entryBack brings a menu entry back that was taken away. One that cannot be
// written is no reason to leave an operation open, which would keep every other
// command from its work.
func (s *Session) entryBack(ctx context.Context, uuid be.UUID, name string) {
	if err := s.refreshEntry(ctx, uuid); err != nil && be.KindOf(err) != be.NotFound {
		s.Report.Warn("%s is not in the boot menu until it is activated: %v", name, err)
	}
}
