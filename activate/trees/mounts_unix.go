//go:build linux || freebsd

package trees

import "github.com/moby/sys/mountinfo"

func mountTable() ([]mounted, error) {
	all, err := mountinfo.GetMounts(nil)
	var table []mounted
	for _, m := range all {
		table = append(table, mounted{m.Source, m.Mountpoint})
	}
	return table, err
}
