package btrfs

import (
	"strings"

	"beadm/be"
)

// elsewhere are directories whose subvolumes are data of their own, made by
// programs that count on finding every one of them again.
var elsewhere = []string{
	"home",
	"var/lib/containerd",
	"var/lib/containers",
	"var/lib/docker",
	"var/lib/lxc",
	"var/lib/lxd",
	"var/lib/incus",
	"var/lib/machines",
	"var/lib/portables",
}

// belongs reports whether the nested subvolume at path (no slash at the ends)
// is part of the boot environment. Not so are those that fstab mounts, those
// of container managers and snapper, /home, and other stores of ours.
func belongs(path string, fstab []string) bool {
	for _, list := range [][]string{elsewhere, fstab} {
		for _, dir := range list {
			if path == dir || strings.HasPrefix(path, dir+"/") {
				return false
			}
		}
	}
	for _, part := range strings.Split(path, "/") {
		if part == ".snapshots" || part == shareVolume || part == stateVolume ||
			strings.HasPrefix(part, bePrefix) || strings.HasPrefix(part, "@beadm-") {
			return false
		}
	}
	return true
}

// shownName is the name of a boot environment that the installer made.
func shownName(subvol string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:+-", r)) {
			return r
		}
		return '-'
	}, strings.TrimLeft(subvol, "@"))
	name = strings.TrimLeft(name, "._:+-")
	if len(name) > be.MaxName {
		name = name[:be.MaxName]
	}
	if name == "" {
		return "default"
	}
	return name
}
