package lvm

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"beadm/be"
)

// escape begins the two hex digits of a byte that a volume's name cannot hold,
// or not where it stands.
const escape = "+"

// reserved are what LVM keeps for volumes of its own (lvm(8), VALID NAMES).
var reserved = []string{
	"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare",
	"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
}

// encode is the name of the volume of a boot environment.
func encode(name string) string {
	text := bePrefix + strings.NewReplacer(escape, "+2b", ":", "+3a").Replace(name)
	for _, r := range reserved {
		text = strings.ReplaceAll(text, r, fmt.Sprintf("_%s%02x%s", escape, r[1], r[2:]))
	}
	return text
}

// decode is the name of the boot environment that is on a volume; empty if it
// cannot be one. One that the installer named is called as its volume is.
func decode(volume string) string {
	if text, ours := strings.CutPrefix(volume, bePrefix); ours {
		if name, ok := unescape(text, escape); ok && be.CheckName(name) == nil {
			return name
		}
	}
	if be.CheckName(volume) != nil {
		return ""
	}
	return volume
}

// unescape replaces what begins with mark and two hex digits by that byte.
func unescape(text, mark string) (string, bool) {
	var out strings.Builder
	for {
		plain, rest, more := strings.Cut(text, mark)
		out.WriteString(plain)
		if !more {
			return out.String(), true
		}
		if len(rest) < 2 {
			return "", false
		}
		b, err := strconv.ParseUint(rest[:2], 16, 8)
		if err != nil {
			return "", false
		}
		out.WriteByte(byte(b))
		text = rest[2:]
	}
}

// snapshotVolume is the name of the volume of a snapshot: the same for the same
// snapshot, so that LVM itself refuses a second one.
func snapshotVolume(owner, snap string) string {
	sum := sha256.Sum256([]byte(owner + "@" + snap))
	return fmt.Sprintf("%s%x", snapshotPrefix, sum[:8])
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}$`)

// splitPool takes VG/POOL apart.
func splitPool(location string) (vg, pool string, ok bool) {
	vg, pool, ok = strings.Cut(location, "/")
	return vg, pool, ok && nameRule.MatchString(vg) && nameRule.MatchString(pool)
}

// deviceName is what device mapper calls a volume: dashes doubled and one
// between the two names.
func deviceName(vg, volume string) string {
	double := strings.NewReplacer("-", "--")
	return double.Replace(vg) + "-" + double.Replace(volume)
}

// groupOf is the volume group in a name made by deviceName.
func groupOf(device string) string {
	for i := 0; i < len(device); i++ {
		if device[i] != '-' {
			continue
		}
		if i+1 < len(device) && device[i+1] == '-' {
			i++
			continue
		}
		return strings.ReplaceAll(device[:i], "--", "-")
	}
	return ""
}

// maxDeviceName is the longest name of a device (DM_NAME_LEN with its NUL).
const maxDeviceName = 127

// checkVolumeName refuses a name that is good for a boot environment but too
// long for a device.
func checkVolumeName(vg, volume string) error {
	if n := len(deviceName(vg, volume)); n > maxDeviceName {
		return be.E(be.Usage, "the name is too long for a volume of %s: its device's would have %d characters, and %d are allowed; a dash counts twice", vg, n, maxDeviceName)
	}
	return nil
}
