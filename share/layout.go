package share

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"beadm/be/rooted"
)

// layoutFile, at the top of the shared dataset, names the directories that are
// shared and in no profile, a line each: what else lies there is somebody's.
const layoutFile = ".beadm-layout"

// added are those names; the shared dataset is at dir of r.
func added(r *rooted.Root, dir string) ([]string, error) {
	data, err := r.ReadFileLimit(dir+"/"+layoutFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, name := range strings.Split(string(data), "\n") {
		if name != "" && name[0] != '.' && nameOnly(name) {
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
	slices.Sort(names)
	effect("write the layout")
	return r.WriteFileAtomic(dir+"/"+layoutFile, []byte(strings.Join(names, "\n")+"\n"), rooted.Attr{Mode: 0o644})
}

// layout is the profile, and whatever else the root has links for.
func layout(r *rooted.Root, profile []string) ([]string, error) {
	paths := slices.Clone(profile)
	list, err := r.ReadDir("/var")
	if errors.Is(err, fs.ErrNotExist) {
		return paths, nil
	}
	for _, info := range list {
		p := "/var/" + info.Name
		if !info.IsLink() || slices.Contains(paths, p) {
			continue
		}
		if target, err := r.Readlink(p); err == nil && target == LinkTarget(info.Name) {
			paths = append(paths, p)
		}
	}
	return paths, err
}
