package activate

import (
	"context"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

type defaultArgs struct {
	Name string  `json:"name"`
	UUID be.UUID `json:"uuid"`
	Was  be.UUID `json:"default"` // the state's default before
	// Restore is shared data that its next boot brings back.
	Restore *state.Restore `json:"share_restore,omitempty"`
}

// defaultPlan makes a boot environment the default with no trial: a rollback's
// target, or what the state calls the default where the loader has another.
func (s *Session) defaultPlan(op string, a defaultArgs) journal.Plan {
	id := a.UUID.ID()
	return journal.Plan{Op: op, Args: a, Commit: 2,
		Committed: func(ctx context.Context) (bool, error) {
			st, err := s.Loader.State(ctx)
			return st.Default == id, err
		},
		Steps: []journal.Step{
			// It may have been renamed, or have another kernel since.
			{Name: "write the menu entry of " + a.Name, Do: func(ctx context.Context) error { return s.refreshEntry(ctx, a.UUID) }},
			{Name: "flush everything to where the loader reads it", Do: func(ctx context.Context) error { return s.Store.Flush(ctx) }},
			{Name: "make " + a.Name + " the loader's default", Do: func(ctx context.Context) error { return s.Loader.SetDefault(ctx, id) }},
			{Name: "record that", Do: func(ctx context.Context) error {
				s.State.Restore = a.Restore
				return s.becameDefault(ctx, a.UUID, a.Was)
			}},
		}}
}

// becameDefault follows the loader, which is changed already.
func (s *Session) becameDefault(ctx context.Context, uuid, was be.UUID) error {
	if was != uuid {
		s.State.Previous = was
	}
	s.State.Default = uuid
	s.State.Trial = nil
	if err := s.save(); err != nil {
		return err
	}
	if s.Guest {
		return nil // a pool's bootfs is the host's
	}
	b, err := s.byUUID(ctx, uuid)
	if err != nil {
		return err
	}
	return s.Store.SetDefaultRoot(ctx, b.Name)
}
