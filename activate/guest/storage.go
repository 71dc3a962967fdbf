package guest

import (
	"path/filepath"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
)

// Storage is what of a Place depends on how the roots of the boot environments
// are stored. All but Live, Directory and Belongs may be repeated after a cut. A
// name is that of a directory in Place.Dir.
type Storage interface {
	// Live says that TakeIn and GiveOut are for guests that run, too.
	Live() bool

	// CanAdopt says, as an error, why the root, which is a directory, cannot
	// become a boot environment.
	CanAdopt(p Place) error

	// TakeIn makes the root the boot environment be of the guest. What is at
	// Place.Root then is moved to its directory, and a link put in its place: the
	// root itself, or an empty directory for Attach.
	TakeIn(p Place, be string) error

	// Exchange is between what is at Place.Root and at, a path in Place.Dir, of
	// which one is a link and the other what TakeIn left or Detach uncovered.
	Exchange(p Place, at string) error

	// GiveOut is the reverse of TakeIn, once what is at Place.Root is no link any more.
	GiveOut(p Place) error

	// Attach has the directory be the root that it is named for; Detach ends
	// that, and is refused while somebody uses it. Left is for one that is
	// detached and to which no link leads any more.
	Attach(p Place, name string) error
	Detach(p Place, name string) error
	Left(p Place, name string)

	Directory(ref be.RootRef) string
	Belongs(p Place, m *mountinfo.Info) (shared, part bool)
}

// subvolumes are the Storage of package btrfs' boot environments, which are in
// their directories without being mounted there.
type subvolumes struct{}

func (subvolumes) Live() bool                        { return true }
func (subvolumes) CanAdopt(p Place) error            { return isSubvolume(p.Root) }
func (subvolumes) TakeIn(Place, string) error        { return nil }
func (subvolumes) Exchange(p Place, at string) error { return exchange(p.Root, at) }
func (subvolumes) GiveOut(Place) error               { return nil }
func (subvolumes) Attach(Place, string) error        { return nil }
func (subvolumes) Detach(Place, string) error        { return nil }
func (subvolumes) Left(Place, string)                {}
func (subvolumes) Directory(ref be.RootRef) string   { return filepath.Base(ref.Prefix) }

// Belongs goes by what of the file system is mounted: wherever the guest has
// moved the directory to.
func (subvolumes) Belongs(_ Place, m *mountinfo.Info) (shared, part bool) {
	return filepath.Base(m.Root) == sharedVolume, false
}

// sharedVolume is the subvolume that is mounted as the shared data, as package
// btrfs has it.
const sharedVolume = "@varshare"
