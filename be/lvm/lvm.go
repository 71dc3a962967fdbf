// Package lvm keeps boot environments as thin volumes of one pool of a volume
// group of LVM.
//
// A boot environment is one thin volume with an ext2, ext3, ext4 or xfs in it;
// what its fstab mounts from other volumes is not part of it. In the pool are
//
//	be_NAME          a boot environment; NAME as in encode
//	root, …          the adopted one that the installer made
//	beadm_s_DIGEST   a snapshot, of a boot environment or of a volume
//	beadm_state, beadm_varshare   the volumes
//
// What they are say their tags (lvm(8)), which nothing copies along with a
// volume:
//
//	beadm.uuid=UUID           a boot environment
//	beadm.text.N=TEXT         its description, in parts
//	beadm.policy=TEXT
//	beadm.of=UUID|VOLUME, beadm.snap=NAME   a snapshot
//	beadm.auto                made by Create, removed with its last clone
//	beadm.incomplete=create|destroy         an operation that did not end
//	beadm.open                              a read-only one that is writable for now
//
// Every command of LVM changes the group's metadata at once, and what it made
// is there after a power cut when it has returned. All that a new volume is to
// be comes with the command that makes it, so there is no volume whose meaning
// is not known.
//
// All boot environments are started at boot, as the initramfs must find them by
// their names: they have no activation skip. Snapshots have it. A copy has the
// file system UUID of its original, which only one of them can be found by:
// nothing here names a root by that, and an xfs is mounted with nouuid.
package lvm

// Config says where the store is.
type Config struct {
	// BERoot is VG/POOL. Empty: the pool that holds the volume mounted at Root.
	BERoot string

	// Root is the target's root directory; empty means "/". What is mounted
	// there is the running boot environment.
	Root string

	// Logger gets one line for each command and system call.
	Logger Logger
}

// Logger is what logrus and others have.
type Logger interface {
	Debugf(format string, args ...any)
}

// Names in the volume group.
const (
	bePrefix       = "be_"
	snapshotPrefix = "beadm_s_"
	stateVolume    = "beadm_state"
	shareVolume    = "beadm_varshare"
)
