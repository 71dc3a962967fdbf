package activate

import (
	"slices"
	"strings"

	"beadm/activate/boot"
)

// kernelArgs are the arguments of the running kernel that every entry keeps:
// all but those that choose a root, an init or a trial, and those that were
// meant for the present boot, which are dropped.
func kernelArgs(cmdline []byte) (keep, dropped []string) {
	var args []string
	inTrial := false
	quoted := false
	for _, arg := range strings.Fields(string(cmdline)) {
		inWord := quoted
		quoted = quoted != (strings.Count(arg, `"`)%2 == 1)
		if arg == boot.ArgKeepLoader {
			continue
		}
		name, _, _ := strings.Cut(arg, "=")
		if inWord {
			name = "" // part of another argument's value
		}
		// What a loader adds for a trial it adds behind that. The same before
		// it are the administrator's.
		inTrial = inTrial || name == boot.ArgTrial
		if name == "rootflags" {
			if arg = ownRootflags(arg); arg == "" {
				continue
			}
		}
		switch name {
		case "BOOT_IMAGE", "root", "rootfstype", "init", "initrd", "ro", "resume", "noresume", boot.ArgBE, boot.ArgTrial, boot.ArgPassed, boot.ArgLoader:
			continue
		}
		trial := false
		for _, t := range boot.TrialArgs(0) {
			n, _, _ := strings.Cut(t, "=")
			trial = trial || n == name
		}
		if !trial || !inTrial {
			args = append(args, arg)
		}
	}
	return lasting(args)
}

// ownRootflags is a rootflags= without the options that choose a subvolume, and
// those by which btrfs(5) is mounted to repair it; empty if none is left.
func ownRootflags(arg string) string {
	var keep []string
	for _, o := range strings.Split(strings.TrimPrefix(arg, "rootflags="), ",") {
		name, _, _ := strings.Cut(o, "=")
		switch name {
		case "", "subvol", "subvolid", "ro", "rescue", "recovery", "usebackuproot", "nologreplay", "norecovery", "clear_cache", "skip_balance":
			continue
		}
		keep = append(keep, o)
	}
	if len(keep) == 0 {
		return ""
	}
	return "rootflags=" + strings.Join(keep, ",")
}

// withRootflags makes one argument of the rootflags= of a root and those of args:
// of several only the last counts. A "rw" among args does not have a root mounted
// read-write that says "ro".
func withRootflags(root, args []string) (newRoot, rest []string) {
	var flags []string
	without := func(list []string) (others []string) {
		for _, arg := range list {
			if f, is := strings.CutPrefix(arg, "rootflags="); is {
				for _, o := range strings.Split(f, ",") {
					if !slices.Contains(flags, o) {
						flags = append(flags, o)
					}
				}
			} else {
				others = append(others, arg)
			}
		}
		return others
	}
	newRoot, rest = without(root), without(args)
	if slices.Contains(newRoot, "ro") {
		rest = slices.DeleteFunc(rest, func(arg string) bool { return arg == "rw" })
	}
	if len(flags) > 0 {
		newRoot = append(newRoot, "rootflags="+strings.Join(flags, ","))
	}
	return newRoot, rest
}

// lasting parts kernel arguments into those that are of every boot and those
// that somebody gave for one, to repair something: kept in an entry they would
// have each boot, and each trial, end at a prompt or in single-user mode. The
// words are those of systemd(1), systemd-debug-generator(8),
// systemd-run-generator(8), systemd-fsck@.service(8), initramfs-tools(7) and
// dracut.cmdline(7). Behind "--" all is init's.
func lasting(args []string) (keep, dropped []string) {
	quoted := false
	for i, arg := range args {
		inWord := quoted
		quoted = quoted != (strings.Count(arg, `"`)%2 == 1)
		if !inWord && arg == "--" {
			return keep, append(dropped, args[i:]...)
		}
		if !inWord && forOneBoot(arg) {
			dropped = append(dropped, arg)
			continue
		}
		keep = append(keep, arg)
	}
	return keep, dropped
}

func forOneBoot(arg string) bool {
	switch arg {
	case "single", "s", "S", "-s", "1", "2", "3", "4", "5", "-b", "rescue", "emergency",
		"rd.rescue", "rd.emergency", "forcefsck", "fsck.mode=force":
		return true
	}
	name, _, _ := strings.Cut(arg, "=")
	switch strings.ReplaceAll(name, "-", "_") {
	case "break", "rd.break", "rdinit", "systemd.unit", "rd.systemd.unit",
		"systemd.debug_shell", "rd.systemd.debug_shell", "systemd.confirm_spawn",
		"systemd.run", "systemd.run_success_action", "systemd.run_failure_action":
		return true
	}
	return false
}
