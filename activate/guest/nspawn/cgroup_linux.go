package nspawn

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Where systemd runs the host, each machine's service is a control group of its
// own. Elsewhere that is made here: systemd-nspawn puts every machine into
// "payload" below the group that it is started in, and two machines there would
// take each other's groups away.

// groups are the directories for the groups of the machine name: that of the
// unified hierarchy, and of systemd's own where there is one (cgroups(7)).
func groups(name string) (dirs []string, err error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		unified := m.FSType == "cgroup2"
		systemds := m.FSType == "cgroup" && strings.Contains(","+m.VFSOptions+",", ",name=systemd,")
		return !unified && !systemds, false
	})
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	own := map[string]string{} // by type of file system
	for _, line := range strings.Split(string(data), "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			own["cgroup2"] = path
		}
		if _, path, ok := strings.Cut(line, ":name=systemd:"); ok {
			own["cgroup"] = path
		}
	}
	for _, m := range mounts {
		if path, ok := own[m.FSType]; ok {
			dirs = append(dirs, filepath.Join(m.Mountpoint, path, "beadm-guest-"+name))
		}
	}
	return dirs, nil
}

// makeGroups makes them, empty.
func makeGroups(name string) (dirs []string, err error) {
	if dirs, err = groups(name); err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		removeGroup(dir)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return dirs, nil
}

// dropGroups removes those of a machine that does not run. What is left of them
// is in nobody's way.
func dropGroups(name string) {
	dirs, _ := groups(name)
	for _, dir := range dirs {
		removeGroup(dir)
	}
}

func removeGroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroup(filepath.Join(dir, e.Name()))
		}
	}
	os.Remove(dir)
}

// intoGroups is argv, run in those groups.
func intoGroups(dirs []string, argv ...string) []string {
	out := []string{"/bin/sh", "-c", `while [ "$1" != -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@"`, "sh"}
	for _, dir := range dirs {
		out = append(out, filepath.Join(dir, "cgroup.procs"))
	}
	return append(append(out, "--"), argv...)
}
