package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// foreignMount is a line of an fstab whose device is not here.
type foreignMount struct{ source, dir string }

// ownFstab makes the line of the root in the fstab of what was imported name the
// root that it has here, and returns the lines that name devices which are not
// here. None, or one without a line for the root, stays so.
func ownFstab(f be.Filling) ([]foreignMount, error) {
	r, err := rooted.Open(f.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read what was imported: %w", err)
	}
	defer r.Close()
	where, err := r.Resolve("/etc/fstab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var text []byte
	var info rooted.Info
	if err == nil {
		info, err = r.Lstat(where)
	}
	if err == nil {
		text, err = r.ReadFileLimit(where, 1<<20)
	}
	if err != nil {
		return nil, fmt.Errorf("its fstab cannot be read: %w", err)
	}
	changed := withOwnRoot(string(text), f.Ref)
	if changed != string(text) {
		attrs, err := r.Xattrs(where)
		if err == nil {
			err = r.WriteFileAtomic(where, []byte(changed), rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID), Xattrs: attrs})
		}
		if err != nil {
			return nil, fmt.Errorf("cannot name its root in its fstab: %w", err)
		}
	}
	return foreignMounts(changed, deviceIsHere), nil
}

// withOwnRoot is an fstab with ref on /. On ZFS nothing has to be: the line is
// made a comment. What names no device, as images of containers have it, stays.
func withOwnRoot(text string, ref be.RootRef) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		if !isRootLine(f) || f[0] == "none" || f[0] == "rootfs" || f[0] == "overlay" || f[0] == "tmpfs" {
			continue
		}
		end := line[len(strings.TrimRight(line, "\n")):]
		body := strings.TrimSuffix(line, end)
		source := ""
		for _, a := range ref.Args {
			if root, is := strings.CutPrefix(a, "root="); is {
				source = root
			}
		}
		switch {
		case ref.FS == "zfs":
			if sameRoot(line, ref) == nil {
				continue
			}
			lines[i] = "# " + body + end
			continue
		case source == "": // nobody mounts the root of a guest
			continue
		}
		options := []string{"defaults"}
		if f[2] == ref.FS && len(f) > 3 {
			options = slices.DeleteFunc(strings.Split(f[3], ","), func(o string) bool {
				return strings.HasPrefix(o, "subvol=") || strings.HasPrefix(o, "subvolid=")
			})
		}
		if ref.FS == "btrfs" {
			options = append(options, "subvol="+fstabEscape.Replace(ref.Prefix))
		}
		rest := " 0 0"
		if len(f) > 4 {
			rest = " " + strings.Join(f[4:], " ")
		}
		if len(options) == 0 {
			options = []string{"defaults"}
		}
		lines[i] = source + " / " + ref.FS + " " + strings.Join(options, ",") + rest + end
	}
	return strings.Join(lines, "")
}

var fstabEscape = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

// foreignMounts are the lines that a boot would wait for in vain.
func foreignMounts(text string, here func(source string) bool) []foreignMount {
	var list []foreignMount
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || isRootLine(f) || !strings.HasPrefix(f[1], "/") && f[2] != "swap" {
			continue
		}
		if len(f) > 3 && slices.ContainsFunc(strings.Split(f[3], ","), func(o string) bool { return o == "nofail" || o == "noauto" || o == "bind" }) {
			continue
		}
		source := strings.ReplaceAll(fstabUnescape.Replace(f[0]), `"`, "")
		if !here(source) {
			list = append(list, foreignMount{rooted.Printable(source), rooted.Printable(f[1])})
		}
	}
	return list
}

// deviceIsHere believes what it cannot look up.
func deviceIsHere(source string) bool {
	kind, value, is := strings.Cut(source, "=")
	dir := map[string]string{"UUID": "by-uuid", "PARTUUID": "by-partuuid", "LABEL": "by-label", "PARTLABEL": "by-partlabel"}[kind]
	path := source
	switch {
	case is && dir != "" && !strings.Contains(value, "/") && value != "":
		path = filepath.Join("/dev/disk", dir, value)
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return true
		}
	case !strings.HasPrefix(source, "/dev/"):
		return true
	}
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
