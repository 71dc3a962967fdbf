package lvm

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

var fstabUnescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// rewriteFstab makes the line of the root directory name the volume, if it names
// a device at all, and leaves every other byte as it is. A UUID or a label goes
// too: all copies of a file system have the same.
func rewriteFstab(text, vg, volume string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || !strings.HasPrefix(f[1], "/") || path.Clean(fstabUnescape.Replace(f[1])) != "/" {
			continue
		}
		if !strings.HasPrefix(f[0], "/dev/") && !strings.Contains(f[0], "=") {
			continue // none, rootfs
		}
		if f[0] == "/dev/mapper/"+deviceName(vg, volume) {
			continue
		}
		at := strings.Index(line, f[0])
		lines[i] = line[:at] + "/dev/" + vg + "/" + volume + line[at+len(f[0]):]
	}
	return strings.Join(lines, "")
}

// withRootOption makes "ro" an option of the line of the root directory, or takes
// it out, and leaves every other byte as it is. With it systemd does not try to
// remount a root read-write whose device refuses that.
func withRootOption(text string, readOnly bool) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		at := fieldsAt(line)
		if len(at) < 3 || strings.HasPrefix(line[at[0][0]:], "#") {
			continue
		}
		dir := line[at[1][0]:at[1][1]]
		if !strings.HasPrefix(dir, "/") || path.Clean(fstabUnescape.Replace(dir)) != "/" {
			continue
		}
		from, to := at[2][1], at[2][1]
		var options []string
		lead := " "
		if len(at) > 3 {
			from, to, lead = at[3][0], at[3][1], ""
			options = strings.Split(line[from:to], ",")
		}
		if slices.Contains(options, "ro") == readOnly {
			continue
		}
		options = slices.DeleteFunc(options, func(o string) bool { return o == "ro" || o == "rw" })
		if readOnly {
			options = append(options, "ro")
		}
		if len(options) == 0 {
			options = []string{"defaults"}
		}
		lines[i] = line[:from] + lead + strings.Join(options, ",") + line[to:]
	}
	return strings.Join(lines, "")
}

// fieldsAt are where the words of a line begin and end.
func fieldsAt(line string) [][]int { return word.FindAllStringIndex(line, -1) }

var word = regexp.MustCompile(`\S+`)

// parts are directories of which a system consists: where packages put what they
// bring, and where it is written down which.
var parts = []string{"/bin", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman"}

// apart are the directories of a system that its fstab mounts from elsewhere: in
// a copy of the root they would be the same ones, and not a copy.
func apart(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || !strings.HasPrefix(f[1], "/") {
			continue
		}
		at := path.Clean(fstabUnescape.Replace(f[1]))
		options := ""
		if len(f) > 3 {
			options = f[3]
		}
		device := strings.HasPrefix(f[0], "/dev/") || strings.Contains(f[0], "=")
		if device && slices.Contains(parts, at) && !slices.Contains(strings.Split(options, ","), "bind") {
			list = append(list, at)
		}
	}
	return list
}
