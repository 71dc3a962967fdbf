// Package datasets keeps the boot environments of guests as datasets of ZFS. A
// guest's root is a file system of its own, mounted on the directory that its
// runtime starts it from; taken in, it is one beside it, in a store of package
// zfs, and what the guest runs is mounted in its Place by nobody but beadm:
//
//	tank/machines/web1                       /var/lib/machines/web1
//	tank/machines/.beadm/web1/ROOT/default   /var/lib/machines/.beadm/web1/@be-default
//
// A file in the Place says what it was before.
package datasets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/state"
	"beadm/be/zfs"
)

// Keeper is the one of one guest.
type Keeper struct {
	taken   *zfs.Taken // nil: it is as its administrator has it
	broken  error      // nobody can know
	runtime string     // guest.Runtime.Name
	log     zfs.Logger
}

var _ guest.Keeper = (*Keeper)(nil)

// For is the Keeper of a guest whose root is on ZFS, or was taken in; nil for any
// other guest.
func For(p guest.Place, runtime string, log zfs.Logger) *Keeper {
	k := &Keeper{runtime: runtime, log: log}
	data, err := os.ReadFile(record(p))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !onZFS(p.Root):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return k
	case err != nil:
		k.broken = fmt.Errorf("cannot read what the root %s was: %w", p.Root, err)
		return k
	}
	var tk zfs.Taken
	if err := json.Unmarshal(data, &tk); err != nil || !strings.Contains(tk.Dataset, "/") || tk.At == "" {
		k.broken = be.E(be.Recovery, "cannot read what the root %s was: %s is not whole", p.Root, record(p))
		return k
	}
	k.taken = &tk
	return k
}

func record(p guest.Place) string { return filepath.Join(p.Dir(), guest.Record) }

// base is the mountpoint of all boot environments of a guest: nothing is mounted
// there, and nobody asks for what is to be.
func base(p guest.Place) string { return filepath.Join(p.Dir(), "root") }

// Open is the store of a guest that was taken in.
func (k *Keeper) Open(ctx context.Context, p guest.Place) (*zfs.Store, error) {
	return k.open(ctx, p.Root)
}

// open has a store of which root is the running one's.
func (k *Keeper) open(ctx context.Context, root string) (*zfs.Store, error) {
	if k.broken != nil {
		return nil, k.broken
	}
	if k.taken == nil {
		return nil, be.E(be.NoStore, "%s was not taken in: run beadm guest init", root)
	}
	return zfs.Open(ctx, zfs.Config{BERoot: k.taken.BERoot(), Root: root, Logger: k.log})
}

// Live is false: its root is unmounted to be moved.
func (k *Keeper) Live() bool { return false }

// CanAdopt is for a root that the host's own boot environments do not hold: it,
// and the loader beside it, would come and go with them.
func (k *Keeper) CanAdopt(p guest.Place) error {
	if k.taken != nil || k.broken != nil {
		return k.broken
	}
	_, err := k.look(p)
	return err
}

func (k *Keeper) look(p guest.Place) (zfs.Taken, error) {
	if k.runtime == "lxc" {
		// It tells how to mount a root by what it finds there (lxc.container.conf(5)).
		return zfs.Taken{}, be.E(be.NoStore, "cannot adopt %s: LXC containers can have boot environments on btrfs only", p.Root)
	}
	tk, err := zfs.LookAt(context.Background(), p.Root, k.log)
	if err != nil {
		return tk, fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	host, err := zfs.DatasetAt("/")
	if err != nil || host == "" {
		return tk, err
	}
	if zfs.IsPartOf(tk.Dataset, host) {
		return tk, be.E(be.NoStore, "cannot adopt %s: %s is part of %s, which is a boot environment of the host or may become one; move it out of there", p.Root, tk.Dataset, host)
	}
	if sameFileSystem("/", filepath.Dir(p.Root)) {
		return tk, be.E(be.NoStore, "cannot adopt %s: %s is in the host's root, and would change with its boot environments; have a file system of its own for it", p.Root, filepath.Dir(p.Root))
	}
	return tk, nil
}

// TakeIn leaves an empty directory at p.Root, or none. A cut between the first change and
// the link leaves a guest that is mounted there, or one that cannot be started:
// it is repeated.
func (k *Keeper) TakeIn(p guest.Place, name string) error {
	if k.broken != nil {
		return k.broken
	}
	if k.taken == nil {
		tk, err := k.look(p)
		if err != nil {
			return err
		}
		data, err := json.Marshal(tk)
		if err != nil {
			return err
		}
		if err := state.WriteFile(record(p), append(data, '\n')); err != nil {
			return err
		}
		k.taken = &tk
	}
	if err := zfs.TakeIn(context.Background(), *k.taken, name, base(p), k.log); err != nil {
		return err
	}
	// ZFS has removed it if it had made it.
	entries, err := os.ReadDir(p.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = be.E(be.InUse, "%s holds files below what was mounted there: move them elsewhere", p.Root)
	}
	return err
}

// Exchange takes two steps: ZFS before 2.2 cannot exchange two names. After a cut
// between them there is nothing at p.Root, and Mend has to be called.
func (k *Keeper) Exchange(p guest.Place, at string) error {
	if err := os.Remove(p.Root); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(at, p.Root)
}

// Mend makes the directories of guests in dir that a cut has left without one, so
// that what was cut can be repeated.
func Mend(dir string) error {
	records, err := filepath.Glob(filepath.Join(dir, ".beadm", "*", guest.Record))
	if err != nil {
		return err
	}
	for _, file := range records {
		p := guest.Place{Root: filepath.Join(dir, filepath.Base(filepath.Dir(file)))}
		if _, err := os.Lstat(p.Root); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		left, _ := filepath.Glob(filepath.Join(p.Dir(), guest.RootPrefix+"*"))
		for _, name := range left {
			os.Remove(name) // a link, or the empty mount point that was to come back
		}
		if err := os.Mkdir(p.Root, 0o755); err != nil {
			return fmt.Errorf("cannot mend what was cut: %w", err)
		}
	}
	return nil
}

// GiveOut mounts it at p.Root again.
func (k *Keeper) GiveOut(p guest.Place) error {
	if k.taken == nil {
		return k.broken
	}
	return zfs.GiveOut(context.Background(), *k.taken, base(p), k.log)
}

// Attach mounts the boot environment, with the datasets below it.
func (k *Keeper) Attach(p guest.Place, name string) error {
	dir := filepath.Join(p.Dir(), name)
	called, ok := strings.CutPrefix(name, guest.RootPrefix)
	if !ok {
		return be.E(be.NotFound, "%s is no boot environment of beadm's", dir)
	}
	ctx := context.Background()
	s, err := k.open(ctx, p.Dir()) // where nothing runs, to it
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	want := s.Location() + "/" + called
	if have, err := zfs.DatasetAt(dir); err != nil || have == want {
		return err
	}
	err = s.Mount(ctx, called, dir, false)
	if have, lerr := zfs.DatasetAt(dir); err != nil && lerr == nil && have == want {
		return nil // another command was quicker
	}
	return err
}

// Detach unmounts it, and what is mounted in it.
func (k *Keeper) Detach(p guest.Place, name string) error {
	dir := filepath.Join(p.Dir(), name)
	ctx := context.Background()
	s, err := k.open(ctx, p.Dir())
	if err != nil {
		return err
	}
	defer s.Close()
	if err = s.UnmountDir(ctx, dir); err == nil {
		return nil
	}
	// What is below it went first.
	called := strings.TrimPrefix(name, guest.RootPrefix)
	if have, lerr := zfs.DatasetAt(dir); lerr == nil && have == s.Location()+"/"+called {
		err = errors.Join(err, s.CompleteMounts(ctx, called, dir))
	}
	return err
}

// Left removes the mount point.
func (k *Keeper) Left(p guest.Place, name string) {
	os.Remove(filepath.Join(p.Dir(), name)) // else it is there the next time
}

// Directory is named for the boot environment.
func (k *Keeper) Directory(ref be.RootRef) string {
	return guest.RootPrefix + path.Base(strings.TrimSuffix(ref.Prefix, "@"))
}

// Belongs goes by the dataset that is mounted.
func (k *Keeper) Belongs(p guest.Place, m *mountinfo.Info) (shared, part bool) {
	switch {
	case m.FSType != "zfs":
		return false, false
	case k.taken != nil:
		return m.Source == path.Dir(k.taken.BERoot())+"/VARSHARE", zfs.IsPartOf(m.Source, k.taken.BERoot())
	}
	root, err := zfs.DatasetAt(p.Root)
	return false, err == nil && root != "" && zfs.IsPartOf(m.Source, root)
}
