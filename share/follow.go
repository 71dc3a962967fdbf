package share

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"

	"beadm/be"
	"beadm/be/rooted"
)

// Follow has what goes by path names follow the shared directories of the
// system at root to where they are: AppArmor's profiles, SELinux's labels and
// systemd-tmpfiles' ageing, each where the system has it. moving are paths that
// are about to be shared: to know of them early does no harm. What is not
// shared any more is forgotten. Follow may be killed and called again, and
// writes nothing where nothing is new. It says whether AppArmor's profiles have
// to be loaded again to know.
func Follow(ctx context.Context, root string, moving []string) (reload bool, err error) {
	fail := func(err error) (bool, error) {
		return false, be.E(be.Other, "cannot tell what goes by path where the shared directories of %s are: %w", root, err)
	}
	r, err := rooted.Open(root)
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	list, err := Status(ctx, root, nil)
	if err != nil {
		return fail(err)
	}
	var names []string
	for _, p := range list {
		if p.State == Linked {
			names = append(names, p.Name)
		}
	}
	for _, p := range moving {
		names = append(names, NameOf(p))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	reload, err = followAppArmor(r, names)
	if err == nil {
		err = followSELinux(r, names)
	}
	if err == nil {
		err = followAgeing(r, names)
	}
	if err != nil {
		return fail(err)
	}
	return reload, nil
}

// keep makes data the content of a file of root's that all may read, or
// removes the file if there is none. It says whether that was anything new.
func keep(r *rooted.Root, file string, data []byte) (bool, error) {
	old, err := r.ReadFileLimit(file, 1<<20)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(data) == 0, err == nil && len(data) > 0 && bytes.Equal(old, data):
		return false, nil
	case len(data) == 0:
		return true, r.Remove(file)
	}
	// Also where something is there that cannot be read: a link, a fifo.
	effect("write " + file)
	return true, r.WriteFileAtomic(file, data, rooted.Attr{Mode: 0o644})
}
