// Package guest is the contract between beadm and whatever runs guests:
// containers, jails and zones that share the host's kernel and have a root of
// their own. A guest is hostile: its root, and what it says, are read as such.
package guest

import (
	"context"
	"os"
)

// Guest is one guest as its runtime knows it.
type Guest struct {
	Name    string `json:"guest"`   // as the runtime calls it
	Runtime string `json:"runtime"` // Runtime.Name
	Root    string `json:"root"`    // the directory that the runtime starts it from
	Running bool   `json:"running"`
	// Leader is its process 1, as the host numbers it; 0 if it does not run, or
	// where a guest has none.
	Leader int `json:"leader,omitempty"`
}

// Health is what a guest that runs says of itself.
type Health struct {
	Up     bool     // it has started all that it starts by itself
	Why    string   // not Up: what it still does
	Failed []string // services that have failed, sorted
}

// Command is what Runtime.Run runs. Its error is an exec.ExitError, in the
// chain, if the command ran and failed.
type Command struct {
	Root   string // the root to run it in, as it is mounted now, with all below
	Argv   []string
	Env    []string // besides what every such command gets
	Stdin  *os.File
	Stdout *os.File
	Stderr *os.File
}

// Runtime starts and stops guests. Guests given are of List, and may be out of
// date: what runs is looked up anew. Its methods may be called for different
// guests at the same time. Errors are of kind be.NoStore when the runtime is
// not there, be.NotFound when the guest is not.
//
// The contract suite in activate/guest/guesttest holds every implementation to
// this.
type Runtime interface {
	// Name is "nspawn", "lxc", ...
	Name() string

	// List returns all guests, sorted by name. A runtime that is not installed
	// has none. Beside an error are those that could be read.
	List(ctx context.Context) ([]Guest, error)

	// Start starts the guest from its Root and returns when its process 1 runs.
	// One that runs already is be.InUse. It goes on running when this process
	// ends.
	Start(ctx context.Context, g Guest) error

	// Stop has the guest shut down in order, and ends what has not ended by the
	// deadline of ctx, or after a minute and a half. When it returns nil no process of
	// the guest is left. One that does not run is no error.
	Stop(ctx context.Context, g Guest) error

	// Health looks at a guest that runs. An error says that it cannot be
	// looked at, as while it starts.
	Health(ctx context.Context, g Guest) (Health, error)

	// Run runs a command in a root of the guest that does not run, confined as
	// the guest is, with the host's network. Nothing of it is left running.
	Run(ctx context.Context, g Guest, c Command) error
}

// Linker is a Runtime of which not every guest can be started from a link, as
// Place puts one. FollowsLink says, as an error, why this one cannot, and what to
// do about it.
type Linker interface {
	FollowsLink(ctx context.Context, g Guest) error
}

// Sharer is a Runtime that cannot start every guest with something mounted below
// its root. MayShare says, as an error, why this one must share nothing, and what
// to do about it.
type Sharer interface {
	MayShare(ctx context.Context, g Guest) error
}

// Keeper is a Runtime whose guests have boot environments that the system itself
// keeps, in a form of its own: no Place takes such a guest.
type Keeper interface {
	// Kept returns what the system keeps of the guest, which may be nothing. An
	// error of be.Unbootable says that it could not be started so.
	Kept(ctx context.Context, g Guest) (Kept, error)
}

// Kept are the boot environments of a guest that the system keeps. Each belongs
// to one of the host's.
type Kept struct {
	Starts string   `json:"starts,omitempty"` // what the guest is started from
	Idle   []string `json:"idle,omitempty"`   // what else belongs to the host's running one
	Others []string `json:"others,omitempty"` // what does not
}
