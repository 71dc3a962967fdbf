package share

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// sweep removes from the directory dir what copies and links that were cut had
// not named yet, trees too.
func sweep(r *rooted.Root, dir string) error {
	list, err := r.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, info := range list {
		if strings.HasPrefix(info.Name, rooted.TempPrefix) {
			err = errors.Join(err, r.RemoveAll(dir+"/"+info.Name))
		}
	}
	return err
}

// sweepPaths does it where the directories of these names are exchanged for
// links, and where those are written down.
func sweepPaths(r *rooted.Root, names []string) error {
	errs := []error{sweep(r, "/var")}
	for _, name := range names {
		p := pathOf(name)
		errs = append(errs, sweep(r, path.Dir(p)), sweep(r, oldDir(p)))
	}
	return errors.Join(errs...)
}

// removeAll removes a tree of ours, also where in it somebody has made something
// immutable or append-only.
func removeAll(r *rooted.Root, p string) error {
	err := r.RemoveAll(p)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	d, oerr := copier.OpenDir(r, p)
	if oerr != nil {
		return err
	}
	oerr = copier.Unguard(d)
	d.Close()
	if oerr != nil {
		return err
	}
	return r.RemoveAll(p)
}
