package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"beadm/be"
)

// checkFstab says why the fstab of the boot environment mounted at dir would
// have another root mounted than that which the loader is told of. None is no
// error, nor is one without /.
func checkFstab(dir string, told func() (be.RootRef, error)) error {
	text, err := readInRoot(dir, "/etc/fstab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("its fstab cannot be read: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); !isRootLine(f) && !isZFSLine(f) {
			continue
		}
		// It is not asked for in vain: that costs a run of zfs(8).
		ref, err := told()
		if err != nil {
			return err
		}
		if err := sameRoot(line, ref); err != nil {
			return fmt.Errorf("its fstab names another root: %w; correct that line, or take it out", err)
		}
		if err := ownDataset(line, ref); err != nil {
			return fmt.Errorf("its fstab mounts what is another's: %w; correct that line, or take it out", err)
		}
	}
	return nil
}

// isZFSLine says of a line of an fstab that it is one of ZFS, not of the root.
func isZFSLine(f []string) bool {
	return len(f) >= 3 && !strings.HasPrefix(f[0], "#") && f[2] == "zfs" && !isRootLine(f)
}

// ownDataset says why a line of an fstab would mount a part of another boot
// environment than ref, as the line of a part with mountpoint=legacy does in a
// clone of its boot environment.
func ownDataset(line string, ref be.RootRef) error {
	f := strings.Fields(line)
	if ref.FS != "zfs" || !isZFSLine(f) {
		return nil
	}
	source, own := fstabUnescape.Replace(f[0]), ref.Label+strings.TrimSuffix(ref.Prefix, "@")
	if strings.HasPrefix(source, path.Dir(own)+"/") && source != own && !strings.HasPrefix(source, own+"/") {
		return fmt.Errorf("%s is on %s, and this is %s", source, fstabUnescape.Replace(f[1]), own)
	}
	return nil
}

func isRootLine(f []string) bool {
	return len(f) >= 3 && !strings.HasPrefix(f[0], "#") && strings.HasPrefix(f[1], "/") && path.Clean(fstabUnescape.Replace(f[1])) == "/"
}

var fstabUnescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// sameRoot says why a line of an fstab (fstab(5)) is that of a root that is not
// ref. What a name means that only the running system could resolve, like
// LABEL= or a device's, is believed; so is subvolid=, since subvol= has to
// agree with it. A line for a root that has no device, as images of containers
// have it, names none. Of a store whose roots are volumes of LVM only another
// volume's path is another root.
func sameRoot(line string, ref be.RootRef) error {
	f := strings.Fields(line)
	if !isRootLine(f) {
		return nil
	}
	source := strings.ReplaceAll(fstabUnescape.Replace(f[0]), `"`, "")
	if ref.FS != "zfs" && ref.FS != "btrfs" {
		return sameVolume(source, ref)
	}
	kinds := strings.Split(f[2], ",")
	nameless := source == "none" || source == "rootfs"
	isKind := slices.Contains(kinds, ref.FS)
	if !isKind && !slices.Contains(kinds, "auto") && !(nameless && (f[2] == "none" || f[2] == "rootfs")) {
		return fmt.Errorf("%s on / is %s, and this is %s", source, f[2], ref.FS)
	}
	if ref.FS == "zfs" {
		want := ref.Label + strings.TrimSuffix(ref.Prefix, "@")
		// A disk of the pool stands for the pool as a whole (OpenZFS,
		// cmd/mount_zfs.c, parse_dataset), and its label is the pool's name; which
		// pool that is only the disk says.
		resolved := isKind && (strings.Contains(source, "=") || strings.HasPrefix(source, "/dev/"))
		if source != want && !nameless && !resolved && !strings.HasPrefix(source, "LABEL=") {
			return fmt.Errorf("%s is on /, and this is %s", source, want)
		}
		return nil
	}
	if uuid, ok := strings.CutPrefix(source, "UUID="); ok && !strings.EqualFold(uuid, ref.FSUUID) {
		return fmt.Errorf("the file system %s is on /, and this is %s", uuid, ref.FSUUID)
	}
	if len(f) < 4 {
		return nil
	}
	for _, o := range strings.Split(f[3], ",") {
		subvol, ok := strings.CutPrefix(o, "subvol=")
		if subvol = path.Clean("/" + fstabUnescape.Replace(subvol)); ok && subvol != ref.Prefix {
			return fmt.Errorf("the subvolume %s is on /, and this is %s", subvol, ref.Prefix)
		}
	}
	return nil
}

// sameVolume says why a path in /dev is that of another logical volume than
// ref's. Paths that are no volume's group and name (lvm(8)) are believed.
func sameVolume(source string, ref be.RootRef) error {
	want := ""
	for _, arg := range ref.Args {
		if path, ok := strings.CutPrefix(arg, "root=/dev/"); ok {
			want = path
		}
	}
	got, ok := strings.CutPrefix(source, "/dev/")
	group, _, isVolume := strings.Cut(want, "/")
	if !ok || !isVolume {
		return nil
	}
	double := strings.NewReplacer("-", "--", "/", "-")
	if name, mapped := strings.CutPrefix(got, "mapper/"); mapped {
		if strings.HasPrefix(name, strings.ReplaceAll(group, "-", "--")+"-") && name != double.Replace(want) {
			return fmt.Errorf("%s is on /, and this is /dev/%s", source, want)
		}
		return nil
	}
	if strings.HasPrefix(got, group+"/") && got != want {
		return fmt.Errorf("%s is on /, and this is /dev/%s", source, want)
	}
	return nil
}
