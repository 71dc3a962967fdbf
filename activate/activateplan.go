package activate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

type activateArgs struct {
	Activation    string        `json:"activation"`
	Name          string        `json:"name"`
	UUID          be.UUID       `json:"uuid"`
	From          string        `json:"from"`
	FromUUID      be.UUID       `json:"from_uuid"`
	Default       be.UUID       `json:"default"`
	Previous      be.UUID       `json:"previous,omitempty"`
	HadEntry      bool          `json:"had_entry"`
	Once          bool          `json:"once,omitempty"`
	Permanent     bool          `json:"permanent,omitempty"`
	NoAutoConfirm bool          `json:"no_auto_confirm,omitempty"`
	Within        time.Duration `json:"within_ns"`
	Strict        bool          `json:"strict,omitempty"`
	Running       bool          `json:"running,omitempty"` // the BE is the running one: nothing to prepare
	LookedAt      time.Time     `json:"looked_at,omitzero"`
	Stale         []be.UUID     `json:"stale,omitempty"` // entries that the loader could not start by

	With   be.UUID         `json:"with,omitempty"` // state.Trial.With
	before *state.Baseline // no step behind the commit needs it

	Guests      []state.GuestBE `json:"guests,omitempty"` // tried with it
	LeaveBehind bool            `json:"leave_behind,omitempty"`
}

func (s *Session) activatePlan(a activateArgs) journal.Plan {
	snap := "beadm-activate-" + a.Activation
	snapDir, newDir := s.path("snap"), s.path("new")
	id := a.UUID.ID()
	plan := journal.Plan{Op: "activate", Args: a}
	if len(a.Stale) > 0 {
		// First the way back. It stays when the activation is undone.
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "write the menu entries anew that the loader can no longer start by",
			Do:   func(ctx context.Context) error { return s.mendStale(ctx, a) },
		})
	}
	if !a.Running {
		plan.Steps = append(plan.Steps,
			journal.Step{
				Name: "snapshot " + a.From + " as it runs",
				Do: func(ctx context.Context) error {
					return s.mountAsItRuns(ctx, a.From, snap, snapDir)
				},
				Undo: func(ctx context.Context) error {
					return errors.Join(s.Store.UnmountDir(ctx, snapDir), notFoundIsFine(s.Store.DestroySnapshot(ctx, a.From, snap)))
				},
			},
			journal.Step{
				Name: "mount " + a.Name,
				Do: func(ctx context.Context) error {
					if err := s.private(newDir); err != nil {
						return err
					}
					return s.mountStaged(ctx, a.Name, newDir, false)
				},
				Undo: func(ctx context.Context) error {
					if _, err := os.Lstat(newDir); errors.Is(err, fs.ErrNotExist) {
						return nil // restarted since: nothing is mounted
					}
					if b, err := s.find(ctx, a.Name); err == nil && b.Running {
						return nil // chosen at the loader's menu since: its mounts are the system's
					}
					return errors.Join(s.unstage(ctx, newDir), s.Store.Unmount(ctx, a.Name, true), s.Store.UnmountDir(ctx, newDir))
				},
			},
			// What these two bring into the new boot environment stays when the
			// activation is undone: it is what `sync run` would bring, and the
			// records say that it is there.
			journal.Step{
				Name: "bring in the links to the shared data",
				Do: func(ctx context.Context) error {
					return errors.Join(s.adoptShare(ctx, a.Name, newDir), stillMounted(a.Name, newDir))
				},
			},
			journal.Step{
				Name: "reconcile the files of the synclist",
				Do: func(ctx context.Context) error {
					if err := s.reconcileRunning(ctx, a.FromUUID, a.UUID, snapDir, newDir, a.Strict); err != nil {
						return err
					}
					return stillMounted(a.Name, newDir)
				},
				Undo: func(ctx context.Context) error { s.tidy(ctx, a.Name, newDir); return nil },
			},
			journal.Step{
				Name: "write the menu entry of " + a.Name,
				Do: func(ctx context.Context) error {
					b, err := s.find(ctx, a.Name)
					if err != nil {
						return err
					}
					return errors.Join(s.putEntry(ctx, b, newDir), stillMounted(a.Name, newDir))
				},
				Undo: func(ctx context.Context) error {
					if a.HadEntry {
						return nil
					}
					return s.Loader.Remove(ctx, id)
				},
			},
			journal.Step{
				Name: "unmount " + a.Name,
				Do: func(ctx context.Context) error {
					if err := s.unmountStaged(ctx, a.Name, newDir, false); err != nil {
						return err
					}
					if err := s.Store.UnmountDir(ctx, snapDir); err != nil {
						return err
					}
					return notFoundIsFine(s.Store.DestroySnapshot(ctx, a.From, snap))
				},
			},
		)
	}
	plan.Steps = append(plan.Steps, s.armGuests(a.Guests, a.UUID, ActivateOptions{Strict: a.Strict, LeaveBehind: a.LeaveBehind}, false)...)
	plan.Steps = append(plan.Steps, journal.Step{
		Name: "flush everything to where the loader reads it",
		Do:   func(ctx context.Context) error { return s.Store.Flush(ctx) },
	})
	if a.Permanent {
		plan.Commit = len(plan.Steps)
		plan.Committed = func(ctx context.Context) (bool, error) {
			st, err := s.Loader.State(ctx)
			return st.Default == id, err
		}
		plan.Steps = append(plan.Steps,
			journal.Step{Name: "make " + a.Name + " the default", Do: func(ctx context.Context) error { return s.Loader.SetDefault(ctx, id) }},
			journal.Step{Name: "record that", Do: func(ctx context.Context) error {
				s.State.Restore = nil
				return s.becameDefault(ctx, a.UUID, a.Default)
			}},
		)
		return plan
	}
	plan.Steps = append(plan.Steps, journal.Step{
		// So that a token found consumed from here on is this activation's.
		Name: "clear the trace of an earlier trial",
		Do:   func(ctx context.Context) error { return s.Loader.ClearTried(ctx) },
	}, journal.Step{
		// Before the token: a trial that starts finds out what it is. After a
		// cut between the two, the token is not there and this is taken back.
		Name: "record the trial",
		Do: func(ctx context.Context) error {
			s.State.NotTried = nil
			for i := range s.State.Failures {
				if s.State.Failures[i].BE == a.UUID {
					s.State.Failures[i].Acknowledged = true
				}
			}
			s.State.Trial = &state.Trial{
				Activation: a.Activation, BE: a.UUID, From: a.Default, Phase: state.Armed, Once: a.Once,
				ArmedAt: time.Now().UTC(), NoAutoConfirm: a.NoAutoConfirm, ConfirmWithin: a.Within,
				Baseline: s.baseline(ctx), LookedAt: a.LookedAt, With: a.With,
			}
			if a.before != nil {
				s.State.Trial.Baseline = a.before
			}
			spareGuests(s.State.Trial.Baseline, a.Guests)
			return s.save()
		},
		Undo: func(ctx context.Context) error {
			s.State.Trial = nil
			return s.save()
		},
	})
	plan.Commit = len(plan.Steps)
	plan.Committed = func(ctx context.Context) (bool, error) {
		st, err := s.Loader.State(ctx)
		return st.Trial == id || st.Tried == id, err
	}
	plan.Steps = append(plan.Steps, journal.Step{
		Name: "arm one trial of " + a.Name,
		Do: func(ctx context.Context) error {
			// Recovered after the trial boot: its token is never armed twice.
			if st, err := s.Loader.State(ctx); err != nil || st.Tried == id {
				return err
			}
			return s.Loader.Arm(ctx, id)
		},
		Undo: func(ctx context.Context) error { return s.Loader.Disarm(ctx) },
	})
	return plan
}

func notFoundIsFine(err error) error {
	if be.KindOf(err) == be.NotFound {
		return nil
	}
	return err
}

// stillMounted says that what was written to dir went into the boot environment
// name: had somebody unmounted it, it would be nowhere.
func stillMounted(name, dir string) error {
	if !isMountPoint(dir) {
		return be.E(be.InUse, "%s was unmounted from %s meanwhile: activate it again", name, dir)
	}
	return nil
}
