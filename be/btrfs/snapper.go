package btrfs

import (
	"path"
	"strings"
)

// snapperNumber is the number under which snapper keeps the subvolume at p, from
// the top level: DIRECTORY/NUMBER/snapshot. It is empty if p is none of snapper's.
func snapperNumber(p string) string {
	dir, name := path.Split(p)
	number := path.Base(dir)
	if name != "snapshot" || !strings.Contains(strings.Trim(dir, "/"), "/") || number == "" || strings.Trim(number, "0123456789") != "" {
		return ""
	}
	return number
}

// outsideName is the name of a boot environment that lies outside the BE root.
func outsideName(p string) string {
	if number := snapperNumber(p); number != "" {
		return "snapper-" + number
	}
	return shownName(p)
}
