package btrfs

import (
	"path"
	"strings"
)

// fstabMounts are the mount points that an fstab names, cleaned, without "/".
func fstabMounts(text string) []string {
	var list []string
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || !strings.HasPrefix(f[1], "/") {
			continue
		}
		if p := path.Clean(unescapeFstab(f[1])); p != "/" {
			list = append(list, strings.TrimPrefix(p, "/"))
		}
	}
	return list
}

// rewriteFstab makes the line of the root directory name the subvolume at
// subvol, and leaves every other byte as it is. Where the line names none, that
// would be the default subvolume (openSUSE), which is another's.
func rewriteFstab(text, subvol string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[0], "#") || f[2] != "btrfs" || path.Clean(f[1]) != "/" {
			continue
		}
		old := f[3]
		options := subvolOptions(old, subvol)
		if options == old {
			continue
		}
		// The fourth field, wherever it stands: a device or a mount point may
		// hold the same text.
		at := 0
		for range 3 {
			at += len(line[at:]) - len(strings.TrimLeft(line[at:], " \t"))
			at += strings.IndexAny(line[at:], " \t")
		}
		at += len(line[at:]) - len(strings.TrimLeft(line[at:], " \t"))
		lines[i] = line[:at] + options + line[at+len(old):]
	}
	return strings.Join(lines, "")
}

// subvolOptions replaces subvol= in mount options, or adds it; subvolid= goes,
// because a number names the old subvolume for ever and both together must agree.
func subvolOptions(options, subvol string) string {
	var list []string
	named := false
	for _, o := range strings.Split(options, ",") {
		switch {
		case strings.HasPrefix(o, "subvol="):
			slash := ""
			if strings.HasPrefix(o, "subvol=/") {
				slash = "/"
			}
			if !named {
				list = append(list, "subvol="+slash+escapeFstab(subvol))
			}
			named = true
		case strings.HasPrefix(o, "subvolid="):
			if !strings.Contains(options, "subvol=") {
				list = append(list, "subvol="+escapeFstab(subvol))
				named = true
			}
		default:
			list = append(list, o)
		}
	}
	if !named {
		list = append(list, "subvol="+escapeFstab(subvol))
	}
	return strings.Join(list, ",")
}

var (
	fstabEscape   = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	fstabUnescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
)

func escapeFstab(s string) string   { return fstabEscape.Replace(s) }
func unescapeFstab(s string) string { return fstabUnescape.Replace(s) }
