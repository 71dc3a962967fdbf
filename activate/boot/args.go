package boot

import "strconv"

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
