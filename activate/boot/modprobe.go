package boot

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ModprobeDirs are where modprobe looks, the one that rules first
// (modprobe.d(5)).
var ModprobeDirs = []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

// Modprobe are the files of modprobe.d(5) of a system, by their absolute paths.
type Modprobe map[string][]byte

var modprobeFile = regexp.MustCompile(`^(?:/etc|/run|/usr/local/lib|/usr/lib|/lib)/modprobe\.d/[^/]+\.conf$`)

var commentLine = regexp.MustCompile(`(?m)^[ \t]*#.*$`)

// HostID is the hostid that they have the module spl get, or 0, which stands for
// none: the module then takes what is in /etc/hostid (OpenZFS, spl(4),
// spl_hostid; module/os/linux/spl/spl-generic.c, zone_get_hostid). What does not
// parse is 0.
func (m Modprobe) HostID() (id uint32) {
	byName := map[string][]byte{}
	for _, dir := range ModprobeDirs {
		for file, text := range m {
			if _, have := byName[path.Base(file)]; !have && path.Dir(file) == dir {
				byName[path.Base(file)] = text
			}
		}
	}
	// All options that are given reach the module, in this order, and of one that
	// is given twice it keeps the last.
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		text := strings.ReplaceAll(commentLine.ReplaceAllString(string(byName[name]), ""), "\\\n", "")
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) < 3 || f[0] != "options" || f[1] != "spl" {
				continue
			}
			for _, option := range f[2:] {
				if v, ok := strings.CutPrefix(option, "spl_hostid="); ok {
					id = ParamHostID(v)
				}
			}
		}
	}
	return id
}

// ParamHostID is the hostid that a value of the module's parameter stands for:
// an unsigned number in C's notation, of which the lower 32 bits count. 0 is
// none, as what is no number.
func ParamHostID(value string) uint32 {
	n, err := strconv.ParseUint(strings.Trim(value, `"`), 0, 64)
	if err != nil || strings.Contains(value, "_") {
		return 0
	}
	return uint32(n)
}
