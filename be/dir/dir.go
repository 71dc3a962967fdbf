// Package dir keeps boot environments as plain directories, of guests and of
// what is entered by chroot(2): nothing can start a machine from one.
//
// What is on disk, below one directory, the BE root:
//
//	@be-NAME                     a boot environment
//	NAME                         one that was there and has been adopted
//	.beadm-partial-NAME          one that is being made or destroyed
//	.beadm-snapshots/OWNER/SNAP  copies, of the BE with that UUID or of a volume
//	.beadm, .varshare            the volumes
//
// A boot environment becomes one by a rename, after everything else is in
// place, and ceases to be one by a rename, before anything of it goes. So
// whatever has a proper name is whole.
//
// UUID, description and origin are trusted.* extended attributes of the
// directory. A copy has those too, so they say which directory they are of, by
// its file handle, which is never used again, and count for no other.
//
// A clone is a copy of a snapshot, and a snapshot is a copy that nobody writes
// to. Where the file system lets copies share their blocks (btrfs, XFS) they take
// next to nothing; elsewhere each takes all of its space, and what would not
// leave some is refused before it is begun.
//
// All is done on a mount of the BE root that is never attached to the file
// tree. So what is mounted in a boot environment that is in use, /proc for one,
// is neither copied nor deleted.
package dir

// Config says where the store is.
type Config struct {
	// BERoot is the directory that holds the boot environments.
	BERoot string

	// Root is the target's root directory; empty means "/". What is there, by
	// whatever name or mount, is the running boot environment.
	Root string

	// Logger gets one line for each thing that is done to the file system.
	Logger Logger

	// Progress, if not nil, hears now and then how far a copy is, and once when
	// it has ended.
	Progress func(Progress)
}

// Progress is how far the copy of a boot environment is.
type Progress struct {
	Name  string // of what is copied
	Files int64
	Bytes int64
	Done  bool
}

// Logger is what logrus and others have.
type Logger interface {
	Debugf(format string, args ...any)
}

// Names in the BE root.
const (
	bePrefix      = "@be-"
	ourPrefix     = ".beadm-"
	partialPrefix = ".beadm-partial-"
	volumePrefix  = ".beadm-volume-"
	snapshotsDir  = ".beadm-snapshots"
	stateVolume   = ".beadm"
	shareVolume   = ".varshare"
)

// Extended attributes of a directory. Each begins with the handle of what it is
// of.
const (
	markAttr        = "trusted.beadm.dir"             // "HANDLE UUID CREATED"
	descriptionAttr = "trusted.beadm.dir.description" // "HANDLE TEXT"
	policyAttr      = "trusted.beadm.dir.policy"      // "HANDLE POLICY"
	originAttr      = "trusted.beadm.dir.origin"      // "HANDLE GUID", the snapshot's
	snapshotAttr    = "trusted.beadm.dir.snapshot"    // "HANDLE GUID CREATED" or "HANDLE GUID CREATED auto"
)
