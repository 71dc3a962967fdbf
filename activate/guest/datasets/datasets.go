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

// Storage is the one of one guest.
type Storage struct {
	taken   *zfs.Taken // nil: it is as its administrator has it
	broken  error      // nobody can know
	runtime string     // guest.Runtime.Name
	log     zfs.Logger
}

var _ guest.Storage = (*Storage)(nil)

// For is the Storage of a guest whose root is on ZFS, or was taken in; nil for any
// other guest.
func For(p guest.Place, runtime string, log zfs.Logger) *Storage {
	d := &Storage{runtime: runtime, log: log}
	data, err := os.ReadFile(record(p))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !onZFS(p.Root):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return d
	case err != nil:
		d.broken = fmt.Errorf("cannot read what the root %s was: %w", p.Root, err)
		return d
	}
	var tk zfs.Taken
	if err := json.Unmarshal(data, &tk); err != nil || !strings.Contains(tk.Dataset, "/") || tk.At == "" {
		d.broken = be.E(be.Recovery, "cannot read what the root %s was: %s is not whole", p.Root, record(p))
		return d
	}
	d.taken = &tk
	return d
}

func record(p guest.Place) string { return filepath.Join(p.Dir(), guest.Record) }

// base is the mountpoint of all boot environments of a guest: nothing is mounted
// there, and nobody asks for what is to be.
func base(p guest.Place) string { return filepath.Join(p.Dir(), "root") }

// Open is the store of a guest that was taken in.
func (d *Storage) Open(ctx context.Context, p guest.Place) (*zfs.Store, error) {
	return d.open(ctx, p.Root)
}

// open has a store of which root is the running one's.
func (d *Storage) open(ctx context.Context, root string) (*zfs.Store, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	if d.taken == nil {
		return nil, be.E(be.NoStore, "%s was not taken in: run beadm guest init", root)
	}
	return zfs.Open(ctx, zfs.Config{BERoot: d.taken.BERoot(), Root: root, Logger: d.log})
}

// Live is false: its root is unmounted to be moved.
func (d *Storage) Live() bool { return false }

// CanAdopt is for a root that the host's own boot environments do not hold: it,
// and the loader beside it, would come and go with them.
func (d *Storage) CanAdopt(p guest.Place) error {
	if d.taken != nil || d.broken != nil {
		return d.broken
	}
	_, err := d.look(p)
	return err
}

func (d *Storage) look(p guest.Place) (zfs.Taken, error) {
	if d.runtime == "lxc" {
		// It tells how to mount a root by what it finds there (lxc.container.conf(5)).
		return zfs.Taken{}, be.E(be.NoStore, "cannot adopt %s: LXC containers can have boot environments on btrfs only", p.Root)
	}
	tk, err := zfs.LookAt(context.Background(), p.Root, d.log)
	if err != nil {
		return tk, fmt.Errorf("cannot adopt %s: %w", p.Root, err)
	}
	host, err := zfs.DatasetAt("/")
	if err != nil {
		return tk, err
	}
	if host != "" && zfs.IsPartOf(tk.Dataset, host) {
		return tk, be.E(be.NoStore, "cannot adopt %s: %s is part of %s, which is a boot environment of the host or may become one; move it out of there", p.Root, tk.Dataset, host)
	}
	if comesAndGoes("/", filepath.Dir(p.Root)) {
		return tk, be.E(be.NoStore, "cannot adopt %s: %s is in the host's root, and would change with its boot environments; have a file system of its own for it", p.Root, filepath.Dir(p.Root))
	}
	return tk, nil
}

// TakeIn leaves an empty directory at p.Root, or none. A cut between the first change and
// the link leaves a guest that is mounted there, or one that cannot be started:
// it is repeated.
func (d *Storage) TakeIn(p guest.Place, name string) error {
	if d.broken != nil {
		return d.broken
	}
	if d.taken == nil {
		tk, err := d.look(p)
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
		d.taken = &tk
	}
	if err := zfs.TakeIn(context.Background(), *d.taken, name, base(p), d.log); err != nil {
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
func (d *Storage) Exchange(p guest.Place, at string) error {
	if err := os.Remove(p.Root); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(at, p.Root)
}

// Cut says that taking the guest in, or giving it out, was begun and has not ended:
// it may have an empty root, or none, until that is repeated.
func Cut(p guest.Place) bool {
	if _, err := os.Lstat(record(p)); err != nil {
		return false
	}
	_, adopted, err := p.Current()
	return err == nil && !adopted
}

// Mend makes the directory of a guest that is Cut, if that has left it without
// one, so that what was cut can be repeated.
func Mend(p guest.Place) error {
	if _, err := os.Lstat(p.Root); !errors.Is(err, fs.ErrNotExist) || !Cut(p) {
		return nil
	}
	left, err := os.ReadDir(p.Dir())
	if err != nil {
		return fmt.Errorf("cannot mend what was cut: %w", err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), guest.RootPrefix) {
			os.Remove(filepath.Join(p.Dir(), e.Name())) // a link, or the empty mount point that was to come back
		}
	}
	if err := os.Mkdir(p.Root, 0o755); err != nil {
		return fmt.Errorf("cannot mend what was cut: %w", err)
	}
	return nil
}

// GiveOut mounts it at p.Root again.
func (d *Storage) GiveOut(p guest.Place) error {
	if d.taken == nil {
		return d.broken
	}
	return zfs.GiveOut(context.Background(), *d.taken, base(p), d.log)
}

// Attach mounts the boot environment, with the datasets below it.
func (d *Storage) Attach(p guest.Place, name string) error {
	dir := filepath.Join(p.Dir(), name)
	called, ok := strings.CutPrefix(name, guest.RootPrefix)
	if !ok {
		return be.E(be.NotFound, "%s is no boot environment of beadm's", dir)
	}
	ctx := context.Background()
	s, err := d.open(ctx, p.Dir()) // where nothing runs, to it
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
	err = s.Attach(ctx, called, dir)
	if have, lerr := zfs.DatasetAt(dir); err != nil && lerr == nil && have == want {
		return nil // another command was quicker
	}
	return err
}

// Detach unmounts it, and what is mounted in it.
func (d *Storage) Detach(p guest.Place, name string) error {
	dir := filepath.Join(p.Dir(), name)
	ctx := context.Background()
	s, err := d.open(ctx, p.Dir())
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
func (d *Storage) Left(p guest.Place, name string) {
	os.Remove(filepath.Join(p.Dir(), name)) // else it is there the next time
}

// Directory is named for the boot environment.
func (d *Storage) Directory(ref be.RootRef) string {
	return guest.RootPrefix + path.Base(strings.TrimSuffix(ref.Prefix, "@"))
}

// Belongs goes by the dataset that is mounted.
func (d *Storage) Belongs(p guest.Place, m *mountinfo.Info) (shared, part bool) {
	switch {
	case m.FSType != "zfs":
		return false, false
	case d.taken != nil:
		return m.Source == path.Dir(d.taken.BERoot())+"/VARSHARE", zfs.IsPartOf(m.Source, d.taken.BERoot())
	}
	root, err := zfs.DatasetAt(p.Root)
	return false, err == nil && root != "" && zfs.IsPartOf(m.Source, root)
}
