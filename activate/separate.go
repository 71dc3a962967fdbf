package activate

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/share"
)

// Directories of the profile that are file systems of their own are shared as
// they are: no switch changes them. Those that the store can snapshot have, with
// the shared data, a snapshot of each switch.

// volumeAt is what is mounted at p in the running root.
func (s *Session) volumeAt(ctx context.Context, p string) (v be.Volume, part bool, err error) {
	m, ok := s.Store.(be.MountSnapshotter)
	if !ok {
		return "", false, nil
	}
	d, err := share.OpenDir(s.Root, p)
	if err != nil {
		return "", false, err
	}
	defer d.Close()
	return m.VolumeAt(ctx, openPath(d))
}

// sharePaths says of every path of the profile what it is, as the store sees it
// too.
func (s *Session) sharePaths(ctx context.Context) ([]share.Path, error) {
	list, err := share.Status(ctx, s.Root, s.shareProfile())
	if err != nil {
		return nil, err
	}
	return list, s.seeSeparate(ctx, list)
}

func (s *Session) seeSeparate(ctx context.Context, list []share.Path) error {
	for i := range list {
		p := &list[i]
		if p.State != share.Separate {
			continue
		}
		v, part, err := s.volumeAt(ctx, p.Path)
		switch {
		case err != nil:
			return be.E(be.KindOf(err), "cannot see what is mounted at %s: %w", rooted.Printable(p.Path), err)
		case part:
			p.State = share.Refused
			p.Why = "it is a file system of each boot environment, which a switch changes: have it mounted from elsewhere to share it"
		case v != "":
			p.Snapshots = true
		}
	}
	return nil
}

// noteSeparate has the state say what the store can snapshot of the separate
// directories, for the next boot, at which they are not mounted yet. It goes to
// the disk with what the command saves: one that is refused changes nothing.
func (s *Session) noteSeparate(ctx context.Context) (changed bool, err error) {
	var list []state.Separate
	if exists, err := s.hasShare(ctx); err != nil {
		return false, err
	} else if exists {
		paths, err := s.sharePaths(ctx)
		if err != nil {
			return false, err
		}
		for _, p := range paths {
			if !p.Snapshots {
				continue
			}
			v, _, err := s.volumeAt(ctx, p.Path)
			if err != nil {
				return false, err
			}
			list = append(list, state.Separate{Path: p.Path, Volume: v})
		}
	}
	changed = !slices.Equal(list, s.State.Separate)
	s.State.Separate = list
	return changed, nil
}

// keepSeparate is noteSeparate for a command that saves nothing else.
func (s *Session) keepSeparate(ctx context.Context) error {
	changed, err := s.noteSeparate(ctx)
	if err != nil || !changed {
		return err
	}
	return s.save()
}

// withSeparate calls f for each separate volume that is still there, and then for
// the shared dataset, which is the one that is listed: none keeps the others
// from it.
func (s *Session) withSeparate(f func(v be.Volume) error) error {
	var errs []error
	for _, one := range s.State.Separate {
		if err := f(one.Volume); err != nil && be.KindOf(err) != be.NotFound {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, f(be.ShareVolume))...)
}

// shared is the shared data, or a separate directory.
type shared struct {
	volume be.Volume
	path   string // of a separate one
}

var sharedData = shared{volume: be.ShareVolume}

// open opens it, nil if it is not mounted.
func (s *Session) openShared(ctx context.Context, of shared) *os.File {
	if of.path == "" {
		return s.openLive()
	}
	if v, _, err := s.volumeAt(ctx, of.path); err != nil || v != of.volume {
		return nil
	}
	d, err := share.OpenDir(s.Root, of.path)
	if err != nil {
		return nil
	}
	return d
}

// placeOf says what all the paths are in, and where in that; nothing is all of
// it.
func (s *Session) placeOf(ctx context.Context, paths []string) (of shared, in []string, err error) {
	for i, p := range paths {
		at, rel := sharedData, ""
		j := slices.IndexFunc(s.State.Separate, func(one state.Separate) bool { return p == one.Path || strings.HasPrefix(p, one.Path+"/") })
		if j >= 0 {
			one := s.State.Separate[j]
			at, rel = shared{one.Volume, one.Path}, strings.Trim(p[len(one.Path):], "/")
		} else if rel, err = s.pathInShare(ctx, p); err != nil {
			return of, nil, err
		}
		if i > 0 && at != of {
			return of, nil, be.E(be.Usage, "%s and %s are in different file systems: restore one after the other", rooted.Printable(paths[0]), rooted.Printable(p))
		}
		of, in = at, append(in, rel)
	}
	return of, in, nil
}

// namesAt are paths, with the names in the directory for what is all of it.
func namesAt(dir string, paths []string) ([]string, error) {
	var names []string
	for _, p := range paths {
		if p != "" {
			names = append(names, p)
			continue
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !strings.HasPrefix(d.Name(), ".beadm-") {
				names = append(names, d.Name())
			}
		}
	}
	return names, nil
}

// snapshotSeparate makes snapshots of that name, where there are none.
func (s *Session) snapshotSeparate(ctx context.Context, name string) error {
	var errs []error
	for _, one := range s.State.Separate {
		_, err := s.Store.SnapshotVolume(ctx, one.Volume, name)
		if kind := be.KindOf(err); err != nil && kind != be.NotFound && kind != be.InUse {
			errs = append(errs, be.E(kind, "cannot snapshot %s with the shared data: %w", rooted.Printable(one.Path), err))
		}
	}
	return errors.Join(errs...)
}
