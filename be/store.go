package be

import (
	"context"
	"io"
	"os"
	"time"
)

// BE is one boot environment as its store describes it.
type BE struct {
	Name        string
	UUID        UUID // empty for one that beadm has not adopted yet
	Description string
	Policy      string // "static" unless said otherwise
	Location    string // dataset, subvolume path, LV or directory, as the store's own tools name it
	Created     time.Time
	Space       int64  // bytes that it and its snapshots hold, or SpaceUnknown
	Mountpoint  string // where its root is mounted now; empty if it is not
	Running     bool   // its root is what is mounted on the target's root directory
	ReadOnly    bool
	Incomplete  bool   // an operation on it did not finish; only destroy and recover accept it
	Origin      string // BE@SNAP it was cloned from, empty if none or unknown
}

// SpaceUnknown is the Space of a boot environment that nobody measured.
const SpaceUnknown = -1

// ID is the loader's word for it.
func (b BE) ID() string { return b.UUID.ID() }

// Snapshot is one snapshot of a boot environment with all its subordinates,
// or of a Volume.
type Snapshot struct {
	BE      string // name of the boot environment; empty for one of a Volume
	Name    string // after the @
	GUID    string // as the store knows it for ever, across renames
	Created time.Time
	Space   int64 // bytes that it alone holds, SpaceUnknown for one of a boot environment that nobody measured
}

// Part is one file system or subvolume of a boot environment.
type Part struct {
	Location   string // as the store's own tools name it
	Path       string // in the boot environment: "/" is its root; empty where it is mounted nowhere
	Mountpoint string // where it is mounted now; empty if it is not
	Space      int64  // bytes that it and its snapshots hold, without what is below it; -1 if that is not known
	Created    time.Time
	Origin     string // what it was cloned from, as Location names it; empty if nothing
}

// Volume is one of the two file systems that stand beside the boot
// environments of a target, in none of them.
type Volume string

// The volumes. On ZFS they are POOL/beadm and POOL/VARSHARE, on btrfs @beadm
// and @varshare.
const (
	StateVolume Volume = "beadm"
	ShareVolume Volume = "varshare"
)

// Caps are facts about a store, for those who plan.
type Caps struct {
	Kind      string // "zfs", "btrfs", "lvm", "dir"
	Snapshots bool   // has snapshots at all
	Atomic    bool   // a snapshot of a BE with its subordinates is one instant
	Hosts     bool   // can hold the root of a host, not only of guests
	Promote   bool   // a clone must be promoted before its origin can go
}

// CreateOptions say what Create makes.
type CreateOptions struct {
	Name         string
	UUID         UUID   // of the new boot environment
	From         string // name of the source; empty makes an empty BE
	Snapshot     string // of From; empty: a new one named AutoSnapshot is made
	AutoSnapshot string
	Description  string
	Properties   []string // P=V, set on the new root after the clone
}

// RootRef tells loaders and the kernel where the root of a BE is.
type RootRef struct {
	FS     string   // what a loader must be able to read: "zfs", "btrfs", "ext4", "xfs"
	Label  string   // file system or pool label to search by, or empty
	FSUUID string   // file system UUID to search by, or empty
	Prefix string   // loader path of the root directory in that file system: "/ROOT/debian@", "/@be-x"
	Args   []string // kernel arguments that select it: root=ZFS=rpool/ROOT/debian

	// Needs are what a loader must know beyond FS to read from it, in the words
	// of the file system's own tools: the features in use of a ZFS pool or a
	// btrfs; and what its devices are made of (package blockdev), or "thin" for
	// what is on a thin volume. What a reader may be ignorant of is not among
	// them; what nobody knows is. MayNeed are those that come into use without
	// anybody asking for them (ZFS: enabled).
	Needs   []string
	MayNeed []string
}

// NeedsBootPool is among the Needs of a root whose /boot, with its kernels, is in
// another pool: no loader looks for them there.
const NeedsBootPool = "/boot in another pool"

// DestroyReport says what a destroy did or would do.
type DestroyReport struct {
	Frees    int64    // bytes that come back
	AtLeast  bool     // or more; so with a SetDestroyer, which is asked for it
	Promotes []string // boot environments that become independent first
	Removes  []string // locations and snapshots that go
}

// Store is where the boot environments of one target live. Every method may
// be called from one goroutine at a time. Names given have passed CheckName.
// Errors are of kind NotFound, InUse, NoStore or Denied where a user can act
// on that, and wrap the tool's own words otherwise. A method that fails has
// undone what it did unless its comment says otherwise.
//
// The contract suite in be/storetest holds every implementation to this.
type Store interface {
	Caps() Caps

	// Location is what --beroot accepts for this store.
	Location() string

	// GUID is a file-name-safe string that identifies this store for ever.
	GUID() string

	// List returns all boot environments sorted by creation time, then name.
	List(ctx context.Context) ([]BE, error)

	// Adopt gives the boot environment a UUID if it has none of its own (one
	// inherited or copied does not count). Repeatable.
	Adopt(ctx context.Context, name string) (BE, error)

	// Create makes a boot environment with all subordinates of the source and
	// their local properties. An interrupted Create leaves nothing or an
	// Incomplete BE that Destroy removes. The automatic snapshot is one
	// instant for all subordinates where Caps().Atomic.
	Create(ctx context.Context, opts CreateOptions) (BE, error)

	// Destroy removes a boot environment that is neither running nor mounted,
	// and those of its snapshots that nothing else needs, promoting what
	// depends on it. With dryRun it only reports. An interrupted Destroy is
	// finished by calling it again.
	Destroy(ctx context.Context, name string, dryRun bool) (DestroyReport, error)

	// Rename of a boot environment to the name it has finishes a Rename that
	// was interrupted.
	Rename(ctx context.Context, from, to string) error
	Describe(ctx context.Context, name, text string) error

	// Mount mounts the root and all subordinates at dir, which exists and is
	// empty, without touching the persistent mount properties.
	Mount(ctx context.Context, name, dir string, readOnly bool) error

	// Unmount undoes Mount (and, with force, is not stopped by busy files).
	// Not mounted is no error.
	Unmount(ctx context.Context, name string, force bool) error

	// CompleteMounts mounts what Mount would mount below dir, where the root
	// of the BE is mounted already, and is not mounted yet: for the earliest
	// moment of a boot.
	CompleteMounts(ctx context.Context, name, dir string) error

	Snapshot(ctx context.Context, name, snap string) (Snapshot, error)
	Snapshots(ctx context.Context, name string) ([]Snapshot, error)
	DestroySnapshot(ctx context.Context, name, snap string) error

	// MountSnapshot mounts the snapshot with all subordinates read-only at
	// dir; UnmountDir takes away whatever is mounted at and below dir.
	MountSnapshot(ctx context.Context, name, snap, dir string) error
	UnmountDir(ctx context.Context, dir string) error

	// RootRef needs no mount.
	RootRef(ctx context.Context, name string) (RootRef, error)

	// VolumeExists, CreateVolume (repeatable), MountVolume (repeatable at the
	// same dir; mode 0700 root for StateVolume, 0755 for ShareVolume) and
	// DestroyVolume (of one that is not mounted; not there is no error).
	VolumeExists(ctx context.Context, v Volume) (bool, error)
	CreateVolume(ctx context.Context, v Volume) error
	MountVolume(ctx context.Context, v Volume, dir string) error
	DestroyVolume(ctx context.Context, v Volume) error

	// SnapshotVolume snapshots the volume and all below it.
	SnapshotVolume(ctx context.Context, v Volume, snap string) (Snapshot, error)
	VolumeSnapshots(ctx context.Context, v Volume) ([]Snapshot, error)
	DestroyVolumeSnapshot(ctx context.Context, v Volume, snap string) error
	MountVolumeSnapshot(ctx context.Context, v Volume, snap, dir string) error

	// SetDefaultRoot makes what follows the loader's default (ZFS bootfs)
	// name this BE; a no-op where the store has no such thing.
	SetDefaultRoot(ctx context.Context, name string) error

	// Free is the number of bytes that can still be written.
	Free(ctx context.Context) (int64, error)

	// Flush puts everything written so far where a loader reads it, after a
	// power cut too (zpool sync, syncfs).
	Flush(ctx context.Context) error
}

// Rememberer is a Store that is slow to ask, as ZFS is by its programs. Remember
// has it answer from memory, from now on and until a change is made through it,
// what it was asked once; every call forgets what is remembered. It is for the
// time of one command only: what others change meanwhile is not seen.
type Rememberer interface {
	Remember(on bool)
}

// Frees is what comes back of something that is destroyed.
type Frees struct {
	Bytes   int64
	AtLeast bool // or more; 0 and more is not known
}

// SetDestroyer is a Store that can say what comes back when several boot
// environments, and snapshots as BE@SNAP, are destroyed one after another: what
// they share with each other alone comes back with the last of them, and an
// automatic snapshot with the last that was cloned from it. It does not look
// whether they may be destroyed. Where ctx ends at a deadline, what is known
// until then is at least what comes back; that is no error.
type SetDestroyer interface {
	Frees(ctx context.Context, names []string) (Frees, error)
}

// SpaceMeasurer is a Store that takes too long to measure boot environments for
// List to do it. Spaces is the bytes that each would give free if it alone were
// destroyed. Those are missing that it did not get to before the deadline of
// ctx.
type SpaceMeasurer interface {
	Spaces(ctx context.Context) (map[string]int64, error)
}

// Filling is the root of a boot environment that is being made.
type Filling struct {
	Dir string // where it is mounted; nothing else is below it

	// Part makes the directory name in the open directory dir, which is in Dir, a
	// file system or subvolume of its own in the boot environment; nil where
	// there is no such thing.
	Part func(dir *os.File, name string) error

	// Ref is what RootRef will say of it, without what a loader must know.
	Ref RootRef
}

// Filler is a Store that can make a boot environment of what somebody else
// writes into it. CreateFilled is Create of an empty one, for which fill is called
// before it is whole: until then it is Incomplete, and if fill fails nothing of
// it is left.
type Filler interface {
	CreateFilled(ctx context.Context, opts CreateOptions, fill func(context.Context, Filling) error) (BE, error)
}

// Streamer is a Filler with a format of its own for what leaves it. Export
// writes the snapshot of a boot environment with all its subordinates and their
// local properties. Import is CreateFilled of one that r brings, down to its end:
// the properties in it never have it mounted by itself. What is cut off or
// damaged is an error. About is what the stream says of itself.
type Streamer interface {
	Filler
	Export(ctx context.Context, name, snap string, about About, w io.Writer) error
	Import(ctx context.Context, opts CreateOptions, r io.Reader, fill func(context.Context, Filling) error) (BE, About, error)
}

// About is what a stream says of the boot environment in it.
type About struct {
	Name        string
	Description string
	Bare        bool // nothing in it says where it ends: whole file systems may be missing
}

// CrossCreator is a Store that can clone what is in another one without copying
// it. CanCreateFrom says, as an error of kind NoStore, why it cannot. CreateFrom
// is Create where From and Snapshot, which is given, name a snapshot in other;
// nothing in other changes. Where Caps().Promote, that snapshot cannot go before the
// clone, and a Destroy of what it is of makes the clone independent; elsewhere
// the clone lasts without it.
type CrossCreator interface {
	CanCreateFrom(other Store) error
	CreateFrom(ctx context.Context, other Store, opts CreateOptions) (BE, error)
}

// JointSnapshotter is a Store that can snapshot its boot environments and those of
// other stores of its kind as one instant. Pool names those that can be: two
// stores with the same one. SnapshotJointly takes the Locations of boot
// environments in any stores of that pool, whose subordinates are in it too, and
// makes automatic snapshots called snap of all, or of none. A Create whose options
// give it as Snapshot clones it; like any automatic snapshot it goes with the last
// of its clones, or by the next Create or Destroy beside it if it has none.
type JointSnapshotter interface {
	Pool() string
	SnapshotJointly(ctx context.Context, snap string, locations []string) error
}

// PropertyChecker is a Store that says, with kind Usage, which properties a Create
// with these options would refuse. It only reads, and knows no more of a value
// than it has to.
type PropertyChecker interface {
	CheckProperties(ctx context.Context, opts CreateOptions) error
}

// Sealer is a Store where a boot environment that is read-only is so for
// whoever reaches it, by whatever mount. Mount makes one writable unless it is
// to mount it read-only, and Unmount makes it read-only again; in between, and
// between Unseal and Seal, its ReadOnly stays true. Both may be repeated, and do
// nothing to one that is not read-only.
type Sealer interface {
	Unseal(ctx context.Context, name string) error
	Seal(ctx context.Context, name string) error
}

// MountSnapshotter is a Store that can also snapshot what of its kind is mounted
// elsewhere in its target. VolumeAt is a name for what is mounted at dir, which
// lasts as long as that is there, mounted or not: SnapshotVolume,
// VolumeSnapshots, DestroyVolumeSnapshot and MountVolumeSnapshot take it. It is
// empty where nothing is mounted at dir, or nothing that the Store can snapshot.
// With part it belongs to a boot environment, and is cloned and switched with it.
type MountSnapshotter interface {
	VolumeAt(ctx context.Context, dir string) (v Volume, part bool, err error)
}

// PartLister is a Store that can say what a boot environment consists of: its
// root, first, and the file systems or subvolumes that are cloned and switched
// with it, by location, those of another pool last. An incomplete one is listed too.
type PartLister interface {
	Parts(ctx context.Context, name string) ([]Part, error)
}

// BootPooler is a Store where the /boot of a boot environment may be in a pool that
// is not imported yet when CompleteMounts is called for it: that leaves it out, and
// mounts it when it is called again. BootPool is that pool, whether it is imported
// or not, of what CompleteMounts was last called for; empty if there is none.
type BootPooler interface {
	BootPool() (pool string, mounted bool)
}

// SnapshotMeasurer is a Store that has to look up, file by file, what a snapshot
// of a volume holds alone: where its Snapshot.Space is 0, this says it, in
// bytes, and takes as long as a look at every file.
type SnapshotMeasurer interface {
	VolumeSnapshotSpace(ctx context.Context, v Volume, snap string) (int64, error)
}

// Sharer is a Store in which the shared volume may not be what the files that move
// there need. MayShare says, as an error, why CreateVolume would refuse to make it,
// and nothing where it is there already.
type Sharer interface {
	MayShare(ctx context.Context) error
}

// Settler is a Store that gives space back only some time after a Destroy.
// Settle returns when all of it has come back, or ctx ends.
type Settler interface {
	Settle(ctx context.Context) error
}
