// Package btrfs keeps boot environments as subvolumes of a btrfs.
//
// What is on disk, below one directory of the file system, the BE root, which
// is normally its top level:
//
//	@be-NAME                    a boot environment
//	@rootfs, @, root …          the adopted one that the installer made
//	@beadm-partial-NAME         one that is being made or destroyed
//	@beadm-snapshots/UUID/SNAP  read-only snapshots of the BE with that UUID
//	@beadm, @varshare           the volumes
//
// An adopted one that is a snapshot of snapper's, as openSUSE's installer makes
// the root, stays where snapper has it; the BE root is then the top level, and
// says in an attribute of its own which those are.
//
// A boot environment becomes one by a rename, after everything else is in
// place, and ceases to be one by a rename, before anything of it goes. So
// whatever has a proper name is whole.
//
// UUID and description are trusted.* extended attributes of the subvolume's
// root directory. A snapshot copies those, so they say which subvolume they
// are of, by the subvolume's own UUID, and count for no other.
//
// Nothing is run: all is ioctl(2) on a mount of the top level that is never
// attached to the file tree, so that it needs no directory, nobody else can
// walk into it, and it ends with the process whatever happens.
package btrfs

// Config says where the store is.
type Config struct {
	// BERoot is the directory that holds the boot environments: a directory
	// on a btrfs, or btrfs:FSUUID:/PATH for one that need not be mounted.
	// Empty: the directory that holds the subvolume mounted at Root, and the top
	// level if that is a snapshot of snapper's.
	BERoot string

	// Root is the target's root directory; empty means "/". What is mounted
	// there is the running boot environment.
	Root string

	// Logger gets one line for each thing that is done to the file system.
	Logger Logger
}

// Logger is what logrus and others have.
type Logger interface {
	Debugf(format string, args ...any)
}

// Names in the BE root.
const (
	bePrefix      = "@be-"
	partialPrefix = "@beadm-partial-"
	snapshotsDir  = "@beadm-snapshots"
	stateVolume   = "@beadm"
	shareVolume   = "@varshare"
)

// Extended attributes of a subvolume's root directory.
const (
	markAttr        = "trusted.beadm.be" // "SUBVOLUME-UUID BE-UUID"
	descriptionAttr = "trusted.beadm.description"
	policyAttr      = "trusted.beadm.policy"
	snapshotAttr    = "trusted.beadm.snapshot" // "SUBVOLUME-UUID" or "SUBVOLUME-UUID auto"
	openAttr        = "trusted.beadm.open"     // "SUBVOLUME-UUID" of a read-only one that is writable for now
	outsideAttr     = "trusted.beadm.outside"  // of the BE root: "SUBVOLUME-UUID ..." of those that are not in it
)
