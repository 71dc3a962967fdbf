package share

import (
	"errors"
	"io/fs"
	"path"
	"strings"

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
