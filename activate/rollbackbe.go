package activate

import (
	"context"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/journal"
)

// RollbackBE gives a boot environment that does not run the contents of one of
// its snapshots. Nothing is destroyed: what it held until now stays as another
// one, whose name is returned. After a cut it is as before, or done.
func (t *Target) RollbackBE(ctx context.Context, name, snap string, dryRun bool) (kept string, err error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return "", err
	}
	if err := s.findSnapshot(ctx, name, snap); err != nil {
		return "", err
	}
	if err := Allow(s.State, "rename", b.UUID); err != nil {
		return "", err
	}
	switch {
	case b.Incomplete:
		return "", be.E(be.InUse, "cannot roll back %s: it is incomplete; beadm recover or beadm destroy ends that", name)
	case b.Running:
		return "", be.E(be.InUse, "cannot roll back %s: it is running; beadm create -e %s@%s NEW makes another one of that, to activate", name, name, snap)
	case b.UUID != "" && b.UUID == s.State.Default:
		return "", be.E(be.InUse, "cannot roll back %s: it is the default; beadm create -e %s@%s NEW makes another one of that, to activate", name, name, snap)
	case b.Mountpoint != "":
		return "", be.E(be.InUse, "cannot roll back %s: it is mounted at %s; unmount it first", name, b.Mountpoint)
	}
	if b.UUID == "" && !dryRun {
		if b, err = s.Store.Adopt(ctx, name); err != nil {
			return "", err
		}
	}
	if kept, err = s.freeName(ctx, name, time.Now()); err != nil {
		return "", err
	}
	if err := s.roomFor(ctx, "roll back "+name); err != nil {
		return "", err
	}
	upTo, err := s.cloneUpTo(ctx, b, snap)
	if err != nil {
		return "", err
	}
	args := rollbackBEArgs{Kept: kept, UUID: b.UUID, Create: createArgs{
		Name: name, Source: kept, Snapshot: snap, Token: be.NewToken(), Desc: b.Description, UUID: be.NewUUID(),
	}}
	if b.UUID != "" {
		entries, err := s.Loader.Entries(ctx)
		if err != nil {
			return "", err
		}
		args.HadEntry = slices.Contains(entries, b.ID())
	}
	plan := s.rollbackBEPlan(args)
	if dryRun {
		s.printPlan(plan)
		return kept, nil
	}
	if err := s.run(ctx, plan); err != nil {
		return "", err
	}
	k := s.State.Know(args.Create.UUID)
	k.Name, k.UpTo = name, upTo
	if k.Upgrade, err = s.upgradeIn(ctx, args.Create); err != nil {
		return kept, err
	}
	if err := s.save(); err != nil {
		return kept, err
	}
	s.record("rollback", name, "to @"+snap+"; what it was is "+kept)
	return kept, nil
}

// freeName is a name for what a boot environment was until now.
func (s *Session) freeName(ctx context.Context, name string, now time.Time) (string, error) {
	all, err := s.Store.List(ctx)
	if err != nil {
		return "", err
	}
	for ; ; now = now.Add(time.Second) {
		at := now.Format("-2006-01-02-15:04:05")
		free := name[:min(len(name), be.MaxName-len(at))] + at
		if !slices.ContainsFunc(all, func(b be.BE) bool { return b.Name == free }) {
			return free, nil
		}
	}
}

type rollbackBEArgs struct {
	Kept     string     `json:"kept"`
	UUID     be.UUID    `json:"uuid"` // of what is kept
	HadEntry bool       `json:"had_entry,omitempty"`
	Create   createArgs `json:"create"`
}

func (s *Session) rollbackBEPlan(a rollbackBEArgs) journal.Plan {
	name := a.Create.Name
	move := func(ctx context.Context, from, to string) error {
		all, err := s.Store.List(ctx)
		if err != nil {
			return err
		}
		// By its uuid: another one may have its name by now.
		i := slices.IndexFunc(all, func(b be.BE) bool { return b.UUID == a.UUID })
		if i < 0 || all[i].Name != from && all[i].Name != to {
			return be.E(be.NotFound, "there is no boot environment %s", from)
		}
		if err := s.Store.Rename(ctx, all[i].Name, to); err != nil {
			return err
		}
		s.State.Know(a.UUID).Name = to
		return s.save()
	}
	plan := journal.Plan{Op: "rollback to a snapshot", Args: a}
	if a.HadEntry {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "take " + name + " out of the boot menu",
			Do:   func(ctx context.Context) error { return s.Loader.Remove(ctx, a.UUID.ID()) },
			Undo: func(ctx context.Context) error { s.entryBack(ctx, a.UUID, name); return nil },
		})
	}
	plan.Steps = append(plan.Steps, journal.Step{
		Name: "rename " + name + " to " + a.Kept,
		Do:   func(ctx context.Context) error { return move(ctx, name, a.Kept) },
		Undo: func(ctx context.Context) error { return move(ctx, a.Kept, name) },
	})
	plan.Steps = append(plan.Steps, s.createPlan(a.Create).Steps...)
	plan.Commit = len(plan.Steps) - 1
	if a.HadEntry {
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "write the menu entry of " + a.Kept,
			Do:   func(ctx context.Context) error { s.entryBack(ctx, a.UUID, a.Kept); return nil },
		})
	}
	return plan
}
