package zfs

import "github.com/moby/sys/mountinfo"

// mountArgv mounts a dataset whatever its mount point property says.
func mountArgv(ds, dir string, options string) []string {
	return []string{"mount", "-t", "zfs", "-o", options, ds, dir}
}

func allMounts() ([]mounted, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	var out []mounted
	for _, m := range list {
		out = append(out, mounted{source: m.Source, dir: m.Mountpoint})
	}
	return out, nil
}
