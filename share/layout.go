package share

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"beadm/be/rooted"
)

// StandIn is the source of the file systems in memory that Skeleton, and a
// relocation, mount where the shared data is not.
const StandIn = "beadm-skeleton"

// layoutFile names directories that are shared, a line each. At the top of the
// shared dataset it has those that are in no profile: what else lies there is
// somebody's. In /var of a boot environment it has those whose links are not in
// /var itself, for whoever looks for all links.
const layoutFile = ".beadm-layout"

// added are the names that it has in the directory dir of r.
func added(r *rooted.Root, dir string) ([]string, error) {
	data, err := r.ReadFileLimit(dir+"/"+layoutFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, name := range strings.Split(string(data), "\n") {
		if _, ok := PathOf(name); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// setAdded makes the file say whether name is one of them.
func setAdded(r *rooted.Root, dir, name string, is bool) error {
	names, err := added(r, dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, name) == is {
		return nil
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	if is {
		names = append(names, name)
	}
	if len(names) == 0 {
		effect("remove the layout")
		return r.Remove(dir + "/" + layoutFile)
	}
	slices.Sort(names)
	effect("write the layout")
	return r.WriteFileAtomic(dir+"/"+layoutFile, []byte(strings.Join(names, "\n")+"\n"), rooted.Attr{Mode: 0o644})
}

// setLinked has the boot environment say where its link for name is, or is no
// more. It is written before the link: one that is not there does no harm.
func setLinked(r *rooted.Root, name string, is bool) error {
	if path.Dir(pathOf(name)) == "/var" {
		return nil
	}
	return setAdded(r, "/var", name, is)
}

// layout is the profile, and whatever else the root has links for.
func layout(r *rooted.Root, profile []string) ([]string, error) {
	paths := slices.Clone(profile)
	linked, err := links(r)
	for _, p := range linked {
		if !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths, err
}

// links are the paths where the root has links to the shared dataset.
func links(r *rooted.Root) ([]string, error) {
	list, err := r.ReadDir("/var")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, info := range list {
		if p := "/var/" + info.Name; info.IsLink() && isLinked(r, p) {
			paths = append(paths, p)
		}
	}
	names, err := added(r, "/var")
	for _, name := range names {
		if p := pathOf(name); isLinked(r, p) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths, err
}

// isLinked says whether there is a link at p to its place in the shared
// dataset.
func isLinked(r *rooted.Root, p string) bool {
	if at, err := r.Resolve(path.Dir(p)); err != nil || at != path.Dir(p) {
		return false
	}
	target, err := r.Readlink(p)
	return err == nil && target == linkTarget(p)
}
