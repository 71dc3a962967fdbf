package share

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"beadm/be/rooted"
)

// ageingFile is ours of tmpfiles.d(5).
const ageingFile = "/etc/tmpfiles.d/beadm-share.conf"

// tmpfilesDirs in the order in which a file of one hides that of the same name
// in the next (tmpfiles.d(5)). /run has what programs make when they start: it
// is none of a boot environment's.
var tmpfilesDirs = []string{"/etc/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d", "/lib/tmpfiles.d"}

// followAgeing has systemd-tmpfiles clean what is shared at the age that the
// system's configuration says. It follows no link to a directory that it
// cleans, so a link at /var/tmp would end the ageing of what is in it.
func followAgeing(r *rooted.Root, names []string) error {
	files := map[string]string{}
	for _, dir := range tmpfilesDirs {
		list, err := r.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, info := range list {
			if _, hidden := files[info.Name]; hidden || !strings.HasSuffix(info.Name, ".conf") || dir+"/"+info.Name == ageingFile {
				continue
			}
			data, err := r.ReadFileLimit(dir+"/"+info.Name, 1<<20)
			if err != nil {
				data = nil // a link to /dev/null, which hides the others
			}
			files[info.Name] = string(data)
		}
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all.WriteString(files[name] + "\n")
	}
	if _, err := r.Lstat("/etc/tmpfiles.d"); err != nil {
		return nil // not systemd's machine, or one that nothing is to be aged on
	}
	_, err := keep(r, ageingFile, ageing(all.String(), names))
	return err
}

// ageing are the lines that stand for those of conf, in the order of their
// files, in the shared dataset: for each of the directories names that has an
// age itself.
func ageing(conf string, names []string) []byte {
	type line struct{ kind, path, age string }
	var lines []line
	for _, text := range strings.Split(conf, "\n") {
		f := strings.Fields(text)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[1], `"`) && !strings.HasSuffix(f[1], `"`) {
			continue
		}
		l := line{kind: f[0][:1], path: strings.Trim(f[1], `"`), age: "-"}
		if len(f) > 5 && strings.Contains("dDevqQC", l.kind) {
			l.age = f[5]
		}
		lines = append(lines, l)
	}
	var out bytes.Buffer
	for _, name := range names {
		dir := pathOf(name)
		i := slices.IndexFunc(lines, func(l line) bool { return strings.TrimRight(l.path, "/") == dir && strings.Contains("dDevqQC", l.kind) })
		if i < 0 || lines[i].age == "-" || !plainName(name) { // of two for a path, the first holds
			continue
		}
		if out.Len() == 0 {
			out.WriteString("# Made by beadm(8) from the other files here: what is aged, where it is.\n")
		}
		fmt.Fprintf(&out, "e %s/%s - - - %s\n", MountPoint, name, lines[i].age)
		seen := map[string]bool{}
		for _, l := range lines {
			below, ok := strings.CutPrefix(l.path, dir+"/")
			if !ok || below == "" || seen[l.kind+below] || strings.Contains("rR", l.kind) {
				continue
			}
			seen[l.kind+below] = true
			switch {
			case l.kind == "X":
				fmt.Fprintf(&out, "X %s/%s/%s\n", MountPoint, name, below)
			case strings.Contains("dDevqQC", l.kind):
				fmt.Fprintf(&out, "e %s/%s/%s - - - %s\n", MountPoint, name, below, l.age)
			default: // what has a line of its own is not cleaned with the rest
				fmt.Fprintf(&out, "x %s/%s/%s\n", MountPoint, name, below)
			}
		}
	}
	return out.Bytes()
}
