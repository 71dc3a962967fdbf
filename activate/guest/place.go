package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
)

// Place is where the boot environments of a guest are. The directory that its
// runtime starts it from is a link to the one that is to run, which is exchanged
// by one rename:
//
//	/var/lib/machines/web1 -> .beadm/web1/@be-NAME
//	/var/lib/machines/.beadm/web1/@be-NAME      the roots
//	/var/lib/machines/.beadm/web1/@varshare     what they share
//	/var/lib/machines/.beadm/web1/loader        what runs next, and the trial (package stub)
//
// Nobody but root, and the mapped root of a guest with a user namespace, may
// enter there: what does not run holds old setuid programs. All of it is on one
// file system; where a Storage mounts the roots, their mount points are.
type Place struct {
	Root string
	// Storage is how the roots are stored; nil: as subvolumes of a btrfs.
	Storage Storage
}

// RootPrefix begins the name of a boot environment's directory in a Place, as
// package btrfs has it.
const RootPrefix = "@be-"

// Record is a Storage's own file in a Place.
const Record = "kept"

const (
	ours      = ".beadm"
	snapshots = "@beadm-snapshots" // package btrfs
)

// Dir holds the boot environments.
func (p Place) Dir() string {
	return filepath.Join(filepath.Dir(p.Root), ours, filepath.Base(p.Root))
}

// Loader is the directory of the guest's loader.
func (p Place) Loader() string { return filepath.Join(p.Dir(), "loader") }

func (p Place) link(name string) string { return filepath.Join(ours, filepath.Base(p.Root), name) }

// Current is the directory in Dir that the guest is started from. Adopted says
// whether the guest's root is such a link at all.
func (p Place) Current() (name string, adopted bool, err error) {
	to, err := os.Readlink(p.Root)
	if err != nil {
		// A root that is no link, or is not there, is nobody's error here.
		if info, lerr := os.Lstat(p.Root); errors.Is(lerr, fs.ErrNotExist) || lerr == nil && info.Mode()&fs.ModeSymlink == 0 {
			return "", false, nil
		}
		return "", false, fmt.Errorf("cannot read where %s leads: %w", p.Root, err)
	}
	name, ok := strings.CutPrefix(to, p.link("")+"/")
	if !ok || name == "" || strings.Contains(name, "/") {
		return "", false, nil
	}
	return name, true, nil
}

// Point has the guest start from name in Dir from now on. After a power cut it
// starts from the one or from the other.
func (p Place) Point(name string) error {
	now, adopted, err := p.Current()
	if err != nil {
		return err
	}
	if !adopted {
		return be.E(be.NoStore, "cannot exchange the root %s: it is not a link of beadm's; run beadm guest init", p.Root)
	}
	if now == name {
		return nil
	}
	// What does not run is not left mounted: one that is in use keeps the link.
	if err := p.storage().Detach(p, now); err != nil {
		return fmt.Errorf("cannot exchange the root %s: %w", p.Root, err)
	}
	err = p.point(now, name)
	if is, _, lerr := p.Current(); err != nil && lerr == nil && is == now {
		err = errors.Join(err, p.storage().Detach(p, name), p.storage().Attach(p, now))
	}
	return err
}

func (p Place) point(now, name string) error {
	if err := p.storage().Attach(p, name); err != nil {
		return fmt.Errorf("cannot exchange the root %s: %w", p.Root, err)
	}
	if info, err := os.Lstat(filepath.Join(p.Dir(), name)); err != nil || !info.IsDir() {
		return be.E(be.Unbootable, "cannot exchange the root %s: there is no directory %s in %s", p.Root, name, p.Dir())
	}
	// Within .beadm nobody takes it for a guest.
	next := filepath.Join(p.Dir(), "next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot exchange the root %s: %w", p.Root, err)
	}
	if err := os.Symlink(p.link(name), next); err != nil {
		return fmt.Errorf("cannot exchange the root %s: %w", p.Root, err)
	}
	if err := os.Rename(next, p.Root); err != nil {
		return fmt.Errorf("cannot exchange the root %s: %w", p.Root, err)
	}
	if err := syncDirs(filepath.Dir(p.Root)); err != nil {
		return err
	}
	p.storage().Left(p, now)
	return nil
}

// Ready has what the link leads to be the root that it names, where that has to
// be mounted. Of a guest that is not adopted there is nothing to do.
func (p Place) Ready() error {
	now, adopted, err := p.Current()
	if err != nil || !adopted {
		return err
	}
	return p.storage().Attach(p, now)
}

// Live says that a guest can be adopted and released while it runs.
func (p Place) Live() bool { return p.storage().Live() }

// Directory is where in Dir the root is that a loader's entry names.
func (p Place) Directory(ref be.RootRef) string { return p.storage().Directory(ref) }

// Belongs says whether what is mounted below the root is the guest's shared data,
// or part of the boot environment itself.
func (p Place) Belongs(m *mountinfo.Info) (shared, part bool) { return p.storage().Belongs(p, m) }

func (p Place) storage() Storage {
	if p.Storage == nil {
		return subvolumes{}
	}
	return p.Storage
}

// CanAdopt says, as an error, why neither Adopt nor AdoptPlain can.
func (p Place) CanAdopt() error {
	if _, adopted, err := p.Current(); adopted || err != nil {
		return err
	}
	info, err := os.Lstat(p.Root)
	if err != nil {
		return be.E(be.NotFound, "cannot adopt %s: %w", p.Root, err)
	}
	if !info.IsDir() {
		return be.E(be.NoStore, "cannot adopt %s: it is not a directory", p.Root)
	}
	if p.IsPlain() {
		return nil
	}
	return p.storage().CanAdopt(p)
}

// Make makes Dir, for a guest that CanAdopt lets be adopted. It may be repeated.
func (p Place) Make() error {
	if err := p.CanAdopt(); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Join(filepath.Dir(p.Root), ours), p.Dir()} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot adopt %s: %w", p.Root, err)
		}
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return be.E(be.InUse, "cannot adopt %s: %s is not a directory", p.Root, dir)
		}
	}
	if err := p.letIn(); err != nil {
		return fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	if err := os.Mkdir(p.Loader(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	return nil
}

// Adopt moves the guest's root into Dir, which Make made, as the boot environment
// name, and puts the link in its place by one exchange of the two: a guest that
// runs goes on. It may be repeated, by one at a time: a second exchange would
// undo the first.
func (p Place) Adopt(name string) error {
	if _, adopted, err := p.Current(); adopted || err != nil {
		return err
	}
	// What a cut before the exchange left, whatever name that was for.
	if err := p.dropLinks(); err != nil {
		return fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	if err := p.storage().TakeIn(p, name); err != nil {
		return fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	at := filepath.Join(p.Dir(), RootPrefix+name)
	if err := os.Symlink(p.link(RootPrefix+name), at); err != nil {
		return be.E(be.InUse, "cannot adopt %s: %w", p.Root, err)
	}
	if err := p.storage().Exchange(p, at); err != nil {
		return errors.Join(be.E(be.InUse, "cannot adopt %s: %w", p.Root, err), os.Remove(at))
	}
	if err := syncDirs(filepath.Dir(p.Root), p.Dir()); err != nil {
		return err
	}
	return p.storage().Attach(p, RootPrefix+name)
}

// dropLinks removes the links in Dir, which lead nowhere.
func (p Place) dropLinks() error {
	entries, err := os.ReadDir(p.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			if err := os.Remove(filepath.Join(p.Dir(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// letIn lets the root of a guest with a user namespace come to what it starts:
// LXC opens that as this one. Nobody else does.
func (p Place) letIn() error {
	info, err := os.Stat(p.Root)
	if err != nil {
		return err
	}
	gid := groupOf(info)
	if gid == 0 {
		return nil
	}
	if err := os.Chmod(filepath.Dir(p.Dir()), 0o711); err != nil {
		return err
	}
	if err := os.Lchown(p.Dir(), 0, gid); err != nil {
		return err
	}
	return os.Chmod(p.Dir(), 0o710)
}

// Release is the reverse of Adopt: the root that the guest starts from comes
// back to its old place. The rest of Dir stays. It may be repeated.
func (p Place) Release() error {
	name, adopted, err := p.Current()
	if err != nil {
		return err
	}
	if adopted {
		if err := p.storage().Detach(p, name); err != nil {
			return fmt.Errorf("cannot put the root back to %s: %w", p.Root, err)
		}
		if err := p.storage().Exchange(p, filepath.Join(p.Dir(), name)); err != nil {
			return be.E(be.InUse, "cannot put the root back to %s: %w", p.Root, err)
		}
		if err := syncDirs(filepath.Dir(p.Root), p.Dir()); err != nil {
			return err
		}
	}
	if err := p.dropLinks(); err != nil {
		return err
	}
	return p.storage().GiveOut(p)
}

// Released says that Release and Forget were begun, and everything of the guest
// but its root is gone: they can be repeated.
func (p Place) Released() bool {
	if _, adopted, err := p.Current(); adopted || err != nil {
		return false
	}
	entries, err := os.ReadDir(p.Dir())
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() && e.Name() != "loader" && e.Name() != snapshots
	})
}

// Forget removes what Adopt made, once nothing of the guest is in it.
func (p Place) Forget() error {
	for _, name := range []string{"loader", "lock", "next", "copying", "copying.new", Record} {
		if err := os.RemoveAll(filepath.Join(p.Dir(), name)); err != nil {
			return fmt.Errorf("cannot forget %s: %w", p.Root, err)
		}
	}
	// The store's directories for snapshots, if they are empty.
	held, _ := filepath.Glob(filepath.Join(p.Dir(), snapshots, "*"))
	for _, dir := range append(held, filepath.Join(p.Dir(), snapshots)) {
		os.Remove(dir)
	}
	if err := os.Remove(p.Dir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return be.E(be.InUse, "cannot forget %s: %w", p.Root, err)
	}
	os.Remove(filepath.Dir(p.Dir())) // if it was the last
	return syncDirs(filepath.Dir(p.Root))
}

func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fmt.Errorf("cannot make the names in %s durable: %w", dir, err)
		}
	}
	return nil
}
