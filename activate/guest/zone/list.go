package zone

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// askList has zoneadm list all zones in lines for programs.
var askList = []string{zoneadm, "list", "-cp"}

// zone is a zone as zoneadm lists it.
type zone struct{ name, state, path, brand string }

// words is the state as a sentence has it.
func (z zone) words() string { return strings.ReplaceAll(z.state, "_", " ") }

// The states of a zone are of zones(7) and zone_state_str in libzonecfg.c.
var (
	// installed are those in which there is a root.
	installed = map[string]bool{"installed": true, "ready": true, "mounted": true, "running": true, "shutting_down": true, "down": true}
	// runs are those in which the kernel has the zone.
	runs = map[string]bool{"ready": true, "running": true, "shutting_down": true, "down": true}
	// The others have none, or not all of it; "unavailable" is Solaris' alone.
	absent = map[string]bool{"configured": true, "incomplete": true, "unavailable": true}
)

// machines are brands with a kernel of their own: their roots hold no system.
var machines = map[string]bool{"bhyve": true, "emu": true, "kvm": true, "solaris-kz": true}

// zoneName is what zonecfg(8) lets a name be: no option is among them.
var zoneName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// parseList reads what zoneadm list -cp prints (zoneadm(8)), beside what is wrong
// with lines that it leaves out. Fields may follow those that are known, as
// illumos has one and Solaris 11 two or three.
func parseList(text string) (list []zone, wrong []error) {
	for line := range strings.Lines(text) {
		z, err := parseZone(strings.TrimSuffix(line, "\n"))
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		list = append(list, z)
	}
	return list, wrong
}

// parseZone reads zoneid:zonename:state:zonepath:uuid:brand:ip-type.
func parseZone(line string) (zone, error) {
	f := fields(line)
	if len(f) < 7 {
		return zone{}, fmt.Errorf("cannot read the line %q of zoneadm: it has %d fields, not 7", line, len(f))
	}
	z := zone{name: f[1], state: f[2], path: f[3], brand: f[5]}
	switch {
	case !zoneName.MatchString(z.name):
		return zone{}, fmt.Errorf("cannot use the zone %q: its name could be taken for something else", z.name)
	case !installed[z.state] && !absent[z.state]:
		return zone{}, fmt.Errorf("cannot use the zone %s: nothing is known of its state %q", z.name, z.state)
	case !path.IsAbs(z.path) || path.Clean(z.path) != z.path || strings.ContainsFunc(z.path, func(c rune) bool { return c < ' ' }):
		return zone{}, fmt.Errorf("cannot use the zone %s: its zonepath %q is no directory's full name", z.name, z.path)
	case z.brand == "":
		return zone{}, fmt.Errorf("cannot use the zone %s: zoneadm does not say its brand", z.name)
	}
	return z, nil
}

// fields splits a line at its colons. A zonepath's own have a backslash before
// them, and nothing else does.
func fields(line string) (list []string) {
	for {
		i := 0
		for i < len(line) && line[i] != ':' {
			if strings.HasPrefix(line[i:], `\:`) {
				i++
			}
			i++
		}
		list = append(list, strings.ReplaceAll(line[:i], `\:`, ":"))
		if i == len(line) {
			return list
		}
		line = line[i+1:]
	}
}
