package boot

import (
	"slices"
	"strconv"
	"strings"
)

// TrialArgs are the Linux kernel arguments of a trial: with them every fault
// that the kernel or the initramfs can notice ends in a reset, which is what
// brings the default back, instead of in a prompt that nobody answers.
//
//	panic=N                     a panic resets after N seconds: Debian builds with "wait for ever";
//	                            initramfs-tools also reboots instead of opening a shell
//	oops=panic                  a kernel bug is a panic
//	softlockup_panic=1          so is a CPU that no longer schedules
//	nmi_watchdog=panic          or no longer takes interrupts (where there is an NMI)
//	rd.shell=0                  dracut: no shell when the root is not found,
//	rd.emergency=reboot         but a reboot
//	systemd.crash_reboot=1      PID 1 crashes: reboot instead of freeze
//	systemd.watchdog_sec=60     PID 1 feeds the hardware watchdog, if there is one
//	watchdog.open_timeout=300   a watchdog the firmware started, which nobody opens within
//	                            this time, fires
//	noresume                    the image of a hibernated system is not resumed: it would be
//	                            the other system's memory over this one's disks
//
// hung_task_panic is left out: a slow disk is no fault. Nothing here covers a
// kernel that hangs before it starts a watchdog.
func TrialArgs(panicSeconds int) []string {
	return []string{
		"panic=" + strconv.Itoa(panicSeconds),
		"oops=panic",
		"softlockup_panic=1",
		"nmi_watchdog=panic",
		"rd.shell=0",
		"rd.emergency=reboot",
		"systemd.crash_reboot=1",
		"systemd.watchdog_sec=60",
		"watchdog.open_timeout=300",
		"noresume",
	}
}

// KeptInTrial are those of a boot environment's own kernel arguments that go
// into its trial, too: all but those that TrialArgs, which follow them, could
// not outweigh.
//
//	nowatchdog, nosoftlockup  the kernel has no argument that takes these back
//	nmi_watchdog=0            nor this: panic is said of the watchdog that is there
//	sysctl.kernel.panic= and the like
//	                          set by the kernel after all of its arguments
//	systemd.crash_shell       process 1 crashes: a prompt before the reboot
func KeptInTrial(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), outweighs)
}

// LeftOutOfTrial are those that KeptInTrial leaves out.
func LeftOutOfTrial(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !outweighs(arg) })
}

func outweighs(arg string) bool {
	name, value, _ := strings.Cut(arg, "=")
	// Both kernel and systemd take a dash for an underscore, and the kernel a
	// slash for the dot of a setting.
	name = strings.NewReplacer("-", "_", "/", ".").Replace(name)
	switch name {
	case "nowatchdog", "nosoftlockup", "systemd.crash_shell":
		return true
	case "nmi_watchdog":
		return slices.Contains(strings.Split(value, ","), "0")
	}
	switch strings.TrimPrefix(name, "sysctl.kernel.") {
	case "panic", "panic_on_oops", "softlockup_panic", "hardlockup_panic", "watchdog", "nmi_watchdog", "soft_watchdog", "watchdog_thresh":
		return strings.HasPrefix(name, "sysctl.")
	}
	return false
}
