package share

import "context"

// Units controls the services of the target whose directories move. A nil
// Units knows none: every holder then is one that cannot be stopped.
type Units interface {
	// Of names the unit that the process belongs to, empty if it belongs to
	// none that can be stopped and started again: a user's session, the
	// manager itself.
	Of(pid int) (string, error)

	// With adds to units what must be stopped with them, because it would
	// start them again (sockets, paths, timers) or cannot be without them;
	// and all that watches a name in one of dirs, which it would lose. Only
	// what is active now is named.
	With(ctx context.Context, units, dirs []string) ([]string, error)

	// Stop stops all of units and returns when their processes are gone.
	Stop(ctx context.Context, units []string) error

	// Start starts all of units. Those that run already are left alone.
	Start(ctx context.Context, units []string) error

	// Release makes the system's own journal let go of dirs, if it writes
	// there; resume, if not nil, lets it go back to where the name leads
	// then. Release that fails has nothing to resume.
	Release(ctx context.Context, dirs []string) (released bool, err error)
	Resume(ctx context.Context) error
}
