package zone

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// The system's own beadm and the brands' scripts keep a zone's boot environments
// in ZONEPATH/ROOT, those of Solaris 11 in ZONEPATH/rpool/ROOT, a dataset each:
// zbe, zbe-1, ... One belongs to the boot environment of the host whose UUID is
// its parentbe; of those that belong to one the zone starts from the only one
// that is active (be_zones.c of libbe, get_active_ds of the brand ipkg).
const (
	uuidProp   = "org.opensolaris.libbe:uuid"
	parentProp = "org.opensolaris.libbe:parentbe"
	activeProp = "org.opensolaris.libbe:active"
)

// askBEs lists the datasets of one zonepath with these, whatever their source:
// libbe asks for none either. No other zone's are with them, for a zone that has
// datasets of its own may write anything into their properties.
func askBEs(zonepath string) []string {
	return []string{zfs, "list", "-H", "-r", "-d", "3", "-t", "filesystem", "-o", "name," + parentProp + "," + activeProp, zonepath}
}

func askUUID(host string) []string {
	return []string{zfs, "get", "-H", "-o", "value", uuidProp, host}
}

// dataset is a line of the answer.
type dataset struct{ name, parent, active string }

func parseDatasets(text string) (list []dataset, err error) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 || !datasetName.MatchString(f[0]) {
			return nil, fmt.Errorf("cannot read the line %q of zfs list", line)
		}
		list = append(list, dataset{f[0], f[1], f[2]})
	}
	return list, nil
}

// datasetName is what zfs(8) lets a name be: no option is among them.
var datasetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:/ -]*$`)

// mountedOn is the dataset that mnttab(5) first has on dir, "" if there is none. A
// later line may be a guest's, which can mount on a name with a line's end in it;
// so what is no line of five fields is passed over.
func mountedOn(mnttab, dir string) string {
	for line := range strings.Lines(mnttab) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 || f[1] != dir {
			continue
		}
		if f[2] != "zfs" || !datasetName.MatchString(f[0]) {
			return ""
		}
		return f[0]
	}
	return ""
}

// zoneBE is a boot environment of a zone.
type zoneBE struct {
	name   string
	parent string // UUID of the host's that it belongs to, or - for none
	active bool
}

// besOf returns those of the zone whose zonepath the dataset is mounted on, in
// the order of the list.
func besOf(all []dataset, zonepath string) (list []zoneBE) {
	for _, d := range all {
		container, name := path.Split(d.name)
		if container == zonepath+"/ROOT/" || container == zonepath+"/rpool/ROOT/" {
			list = append(list, zoneBE{name, d.parent, d.active == "on"})
		}
	}
	return list
}

// decide says what a zone with these boot environments starts from while the
// host's boot environment of that UUID runs, which is an error of kind
// be.Unbootable if it starts from none. A zone that has none at all is another
// brand's, and no error.
func decide(list []zoneBE, host string) (guest.Kept, error) {
	var k guest.Kept
	var active []string
	for _, b := range list {
		switch {
		case !strings.EqualFold(b.parent, host):
			k.Others = append(k.Others, b.name)
		case b.active:
			active = append(active, b.name)
		default:
			k.Idle = append(k.Idle, b.name)
		}
	}
	switch {
	case len(active) == 1:
		k.Starts = active[0]
	case len(active) > 1:
		return k, be.E(be.Unbootable, "several boot environments are active for the host's running one: %s", strings.Join(active, ", "))
	case len(list) > 0:
		return k, be.E(be.Unbootable, "none of its boot environments is active for the host's running one")
	}
	return k, nil
}
