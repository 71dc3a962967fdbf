package share

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"beadm/be/rooted"
)

// followSELinux has restorecon(8) and its like give the shared directories the
// labels of the paths that lead there: by lines of file_contexts.subs, as
// semanage-fcontext(8) --equal writes them.
func followSELinux(r *rooted.Root, names []string) error {
	conf, err := r.ReadFileLimit("/etc/selinux/config", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := "/etc/selinux/" + policyName(string(conf)) + "/contexts/files"
	if !isDir(r, dir) {
		return nil
	}
	file := dir + "/file_contexts.subs"
	data, err := r.ReadFileLimit(file, 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = keep(r, file, []byte(substitutions(string(data), names)))
	return err
}

// policyName is the SELINUXTYPE of selinux_config(5).
func policyName(conf string) string {
	name := "targeted"
	for _, line := range strings.Split(conf, "\n") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "SELINUXTYPE="); ok && plainName(v) && v[0] != '.' {
			name = v
		}
	}
	return name
}

// substitutions are the lines of a file_contexts.subs with ours for names, and
// no others of ours.
func substitutions(old string, names []string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimRight(old, "\n"), "\n") {
		f := strings.Fields(line)
		if len(f) == 2 && strings.HasPrefix(f[0], MountPoint+"/") && f[1] == pathOf(strings.TrimPrefix(f[0], MountPoint+"/")) {
			continue
		}
		lines = append(lines, line)
	}
	if slices.Equal(lines, []string{""}) {
		lines = nil
	}
	for _, name := range names {
		if plainName(name) {
			lines = append(lines, MountPoint+"/"+name+" "+pathOf(name))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
