// Package boot is the contract between beadm and whatever starts a kernel:
// a boot loader, the firmware, or, for guests and tests, a stub. See
// DESIGN in README: the loader consumes the token of a trial before it starts
// the kernel and verifies that; if it cannot, it boots the default.
package boot

import (
	"context"
	"errors"

	"beadm/be"
)

// Entry is one boot environment as a loader starts it.
type Entry struct {
	ID    string     // be.UUID.ID
	Title string     // what a person reads in the menu; any bytes
	Root  be.RootRef // where the kernel and the root are
	// Dir is where the root of the BE is mounted now, for loaders that copy
	// kernels. Kernel and Initrd are absolute paths inside the BE, links
	// resolved as in a chroot.
	Dir    string
	Kernel string
	Initrd string
	// Args follow Root.Args on the kernel's command line; TrialArgs follow
	// them in a trial only.
	Args      []string
	TrialArgs []string
}

// State is what the loader will do, read from where it reads it. All are IDs.
type State struct {
	Default string // what boots next if nothing is armed
	Trial   string // armed: boots next, once; empty if none
	Tried   string // a consumed token that nobody has cleared yet; empty if none
}

// ErrRestart is in the chain of an error of Probe where nothing is missing but
// a restart of the host after setup.
var ErrRestart = errors.New("restart the host once, as it is, before the first trial")

// Loader makes boot environments bootable and arms trials. One caller at a
// time. Every method that changes something is durable when it returns, and
// may be repeated. Errors are of kind be.NoStore when the loader or its files
// are not there, be.Unbootable when it cannot read or cannot consume.
//
// The contract suite in activate/boot/loadertest holds every implementation
// to this.
type Loader interface {
	// Name is "grub", "stub", ...
	Name() string

	// Probe says, as an error, why a trial could not be consumed here, or nil.
	Probe(ctx context.Context) error

	// Install puts the loader's own configuration in place with def as the
	// default. An existing default, trial or entry of ours is kept.
	Install(ctx context.Context, def Entry) error

	// Put adds or replaces the entry; the loader sees the old one or the new.
	Put(ctx context.Context, e Entry) error

	// Remove takes the entry away. It refuses (be.InUse) the default and an
	// armed trial. Not there is no error.
	Remove(ctx context.Context, id string) error

	// Entries lists the IDs that have an entry, sorted.
	Entries(ctx context.Context) ([]string, error)

	// CheckEntry says, as an error, why the loader could not start by the entry
	// of id as it is: none is be.NotFound; a kernel that is not there, or in a
	// root, as root says it is now, that the loader cannot read, is
	// be.Unbootable. Put mends it, if anything does. It reads no kernel.
	CheckEntry(ctx context.Context, id string, root be.RootRef) error

	// CheckEntryWhole is CheckEntry that reads the kernel and the initrd, where
	// the loader keeps its own: tens of megabytes, as Arm does.
	CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error

	State(ctx context.Context) (State, error)

	// Arm makes id boot next, once, and reads it back. The default does not
	// change. Tried is cleared by the same write.
	Arm(ctx context.Context, id string) error

	// Disarm takes an unconsumed token back; none is no error.
	Disarm(ctx context.Context) error

	// SetDefault makes id what boots from now on, clearing Trial and Tried,
	// in one atomic write.
	SetDefault(ctx context.Context, id string) error

	// ClearTried forgets a consumed token.
	ClearTried(ctx context.Context) error

	// Tidy removes what a cut left unfinished. No loader looks at that.
	Tidy(ctx context.Context) error
}

// Heir is a Loader that can have the file system that was /boot for its own:
// its own tools have left a configuration there, and the kernels that names.
type Heir interface {
	// MayInherit says, as an error, why Install of def would be refused there. It
	// changes nothing.
	MayInherit(ctx context.Context, def Entry) error

	// Inherit has that configuration call ours first. As long as ours is not
	// there it does what it did.
	Inherit(ctx context.Context) error
}

// Fitter is a Loader that copies kernels. Fits says, as the error that Put would
// be refused with, that there is no room for those of e; it changes nothing.
type Fitter interface {
	Fits(ctx context.Context, e Entry) error
}
