package zfs

import (
	"fmt"
	"os"
	"strings"
)

// mountArgv mounts a dataset whatever its mount point property says.
func mountArgv(ds, dir string, options string) []string {
	return []string{"mount", "-F", "zfs", "-o", options + ",nosub", ds, dir}
}

// allMounts reads mnttab(5): special, mount point, type, options, time.
func allMounts() ([]mounted, error) {
	b, err := os.ReadFile("/etc/mnttab")
	if err != nil {
		return nil, err
	}
	var out []mounted
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Split(line, "\t")
		if len(f) < 5 {
			return nil, fmt.Errorf("/etc/mnttab: line %q has %d fields, not 5", line, len(f))
		}
		out = append(out, mounted{source: f[0], dir: f[1]})
	}
	return out, nil
}
