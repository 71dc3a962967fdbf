package share

import (
	"bytes"
	"fmt"

	"beadm/be/rooted"
)

// AppArmor goes by the path that a file has once links are followed, and has
// alias rules for directories that are elsewhere (apparmor.d(5)). Every profile
// of a distribution includes tunables/global, that tunables/home, and that all
// files of home.d: the one place for further rules there that is in no
// package's file.
const (
	appArmorDir  = "/etc/apparmor.d/tunables/home.d"
	appArmorFile = appArmorDir + "/beadm"
)

func followAppArmor(r *rooted.Root, names []string) (bool, error) {
	if !isDir(r, appArmorDir) {
		return false, nil
	}
	var rules bytes.Buffer
	for _, name := range names {
		if !plainName(name) {
			continue // a pattern to AppArmor; no profile of a package names one
		}
		if rules.Len() == 0 {
			rules.WriteString("# Where beadm(8) has the directories that all boot environments share.\n")
		}
		fmt.Fprintf(&rules, "alias %s/ -> %s/%s/,\n", pathOf(name), MountPoint, name)
	}
	return keep(r, appArmorFile, rules.Bytes())
}

// plainName says that a name has no character that any of these languages
// reads as anything else.
func plainName(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '+':
		default:
			return false
		}
	}
	return name != ""
}
