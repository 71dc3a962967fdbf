package fbsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// InitScript is what init(8) runs before /etc/rc. It lies on the root file
// system itself, where nothing has to be mounted to find it: one that is not
// there ends the boot in single-user mode.
const InitScript = "/etc/beadm/init_script"

// initScript always succeeds, for the same reason (init.c, run_script).
const initScript = `#!/bin/sh
# beadm: run by init(8) before /etc/rc (loader variable init_script).
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
/sbin/mount -u -o rw /
[ -x /usr/lib/beadm/init ] && /usr/lib/beadm/init early-boot
exit 0
`

const loaderConf = "/boot/loader.conf.d/beadm.conf"

const loaderText = "# beadm: its part of the boot comes before /etc/rc.\ninit_script=\"" + InitScript + "\"\n"

// confFiles are the loader's, in the order in which it reads them
// (/boot/defaults/loader.conf: loader_conf_files, loader_conf_dirs,
// local_loader_conf_files).
func confFiles(root *rooted.Root) ([]string, error) {
	files := []string{"/boot/device.hints", "/boot/loader.conf"}
	list, err := root.ReadDir("/boot/loader.conf.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range list {
		if strings.HasSuffix(f.Name, ".conf") {
			files = append(files, "/boot/loader.conf.d/"+f.Name)
		}
	}
	return append(files, "/boot/loader.conf.local"), nil
}

// lastValue is what the last of the files that sets a variable sets it to, and
// which that is. Files are of the form that loader.conf(5) and rc.conf(5) have
// in common; what a shell would have to work out is not seen.
func lastValue(root *rooted.Root, name string, files []string) (value, file string, err error) {
	rule := regexp.MustCompile(`(?m)^[ \t]*` + regexp.QuoteMeta(name) + `[ \t]*=[ \t]*(?:"([^"\n]*)"|'([^'\n]*)'|([^\s#;"']*))`)
	for _, f := range files {
		data, err := root.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		for _, m := range rule.FindAllStringSubmatch(string(data), -1) {
			value, file = m[1]+m[2]+m[3], f
		}
	}
	return value, file, nil
}

const activateVar = "zfs_bootonce_activate"

// rcFiles are what rc.d/zfsbe reads (freebsd-src at 023fc80; rc.subr,
// load_rc_config).
var rcFiles = []string{"/etc/defaults/rc.conf", "/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/zfsbe", "/usr/local/etc/rc.conf.d/zfsbe"}

// isYes is rc.subr's checkyesno.
func isYes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true
	}
	return false
}

// PutHooks has init(8) run beadm boot in the root.
func PutHooks(root *rooted.Root) error {
	files, err := confFiles(root)
	if err != nil {
		return err
	}
	if have, file, err := lastValue(root, "init_script", files); err != nil {
		return err
	} else if have != "" && have != InitScript {
		return be.E(be.InUse, "init(8) runs %s by init_script of %s already: have that one run %s as well, and set init_script to it in no file but %s", have, file, InitScript, loaderConf)
	}
	for _, f := range []struct {
		path, text string
		mode       fs.FileMode
	}{{InitScript, initScript, 0o755}, {loaderConf, loaderText, 0o644}} {
		if old, err := root.ReadFile(f.path); err == nil && string(old) == f.text {
			continue
		}
		if err := root.MkdirAll(f.path[:strings.LastIndexByte(f.path, '/')], 0o755); err != nil {
			return err
		}
		// The script first: the loader must not name one that is not there.
		if err := root.WriteFileAtomic(f.path, []byte(f.text), rooted.Attr{Mode: f.mode}); err != nil {
			return fmt.Errorf("cannot write %s: %w", f.path, err)
		}
	}
	return nil
}

// CheckRoot returns the kernel of the root mounted at dir, or why a trial of
// it could not start or not come back. The error is of kind be.Unbootable.
func CheckRoot(ctx context.Context, dir string) (kernel string, err error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	files, err := confFiles(root)
	if err != nil {
		return "", err
	}
	// loader.efi takes nothing for a root without it (efi/loader/main.c,
	// sanity_check_currdev).
	if _, err := root.Stat("/boot/defaults/loader.conf"); err != nil {
		return "", be.E(be.Unbootable, "the loader would not take it for a system: %w", err)
	}
	name, _, err := lastValue(root, "kernel", files)
	if err != nil {
		return "", err
	}
	if name == "" {
		name = "kernel"
	}
	if !strings.HasPrefix(name, "/") {
		name = "/boot/" + name
	}
	if kernel, err = elf(root, name+"/kernel"); err != nil {
		return "", err
	}
	// A kernel that has ZFS built in, which no release's is, is refused, too.
	if _, err := elf(root, name+"/zfs.ko"); err != nil {
		return "", be.E(be.Unbootable, "its kernel could not mount its root: %w", err)
	}
	script, file, err := lastValue(root, "init_script", files)
	if err != nil {
		return "", err
	}
	if script != InitScript {
		return "", be.E(be.Unbootable, "beadm boot would not be run in it: init_script is %q there, by %q; mount it and run beadm setup DIR", script, file)
	}
	if info, err := root.Stat(InitScript); err != nil || !info.IsRegular() || info.Perm()&0o111 == 0 {
		return "", be.E(be.Unbootable, "%s is no program in it, and the boot would end in single-user mode; mount it and run beadm setup DIR", InitScript)
	}
	top, err := root.Stat("/")
	if err != nil {
		return "", err
	}
	for _, path := range []string{InitScript, "/usr/lib/beadm/init", "/boot"} {
		if info, err := root.Stat(path); err == nil && info.Dev != top.Dev {
			return "", be.E(be.Unbootable, "%s is on a dataset of its own in it, which nothing has mounted when init runs", path)
		}
	}
	value, file, err := lastValue(root, activateVar, rcFiles)
	if err != nil {
		return "", err
	}
	if isYes(value) {
		return "", be.E(be.Unbootable, "%s in it says %s=%s, so that it would confirm its trial by itself before anything was checked: set it to NO there", file, activateVar, value)
	}
	return kernel, nil
}

// elf is the path of a file that is one, without any link, or of it packed.
func elf(root *rooted.Root, path string) (string, error) {
	for _, p := range []string{path, path + ".gz"} {
		at, err := root.Resolve(p)
		if err != nil {
			continue
		}
		f, err := root.OpenNoFollow(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", be.E(be.Unbootable, "cannot read %s: %w", p, err)
		}
		head := make([]byte, 4)
		_, err = io.ReadFull(f, head)
		f.Close()
		if err == nil && (string(head) == "\x7fELF" || p != path && head[0] == 0x1f && head[1] == 0x8b) {
			return at, nil
		}
		return "", be.E(be.Unbootable, "%s is no kernel's", p)
	}
	return "", be.E(be.Unbootable, "%s is missing", path)
}
