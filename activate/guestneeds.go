package activate

import (
	"context"

	"beadm/be"
	"beadm/be/journal"
)

// TakesAlong are the boot environments of one guest (Machine.ID) that those of this
// host have start with them, each with the name of one that does. What belongs to
// the host's default alone is not one of them while that runs and nothing is under
// way: whatever the guest runs when the host leaves it is noted then.
func (t *Target) TakesAlong(ctx context.Context, guest string) (takes map[be.UUID]string, err error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Dir == nil {
		return nil, nil
	}
	rec, err := journal.Open(s.Dir)
	if err != nil {
		return nil, err
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	idle := s.State.Trial == nil && rec == nil
	takes = map[be.UUID]string{}
	for _, b := range all {
		if b.UUID == "" || idle && b.Running && b.UUID == s.State.Default {
			continue
		}
		for _, g := range s.guestsOf(b.UUID) {
			if g.Guest == guest {
				takes[g.UUID] = b.Name
			}
		}
	}
	return takes, nil
}

// takenAlong is what the host has start with its own; of a host, nothing.
func (s *Session) takenAlong(ctx context.Context) (map[be.UUID]string, error) {
	if s.HostTakes == nil {
		return nil, nil
	}
	takes, err := s.HostTakes(ctx)
	if err != nil {
		return nil, be.E(be.KindOf(err), "cannot see what boot environments of the host it belongs to: %w", err)
	}
	return takes, nil
}
