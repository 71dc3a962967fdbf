package share

import (
	"errors"
	"io/fs"
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

// sweepVar does it where directories are exchanged for links.
func sweepVar(r *rooted.Root) error {
	return errors.Join(sweep(r, "/var"), sweep(r, OldDir))
}
