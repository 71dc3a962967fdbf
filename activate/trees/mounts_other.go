//go:build !linux && !freebsd

package trees

import (
	"os"
	"strings"
)

// mountTable reads illumos' mnttab(5).
func mountTable() ([]mounted, error) {
	data, err := os.ReadFile("/etc/mnttab")
	if err != nil {
		return nil, err
	}
	var table []mounted
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, "\t"); len(f) > 1 {
			table = append(table, mounted{f[0], f[1]})
		}
	}
	return table, nil
}
