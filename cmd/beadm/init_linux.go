package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"beadm/activate/boot"
	"beadm/be"
)

// earlyInit is PID 1 between the initramfs and the system's init: it mounts
// what is not mounted yet, runs boot, and becomes init. It accepts whatever
// the initramfs has done already. However boot ends, a boot that is no trial
// goes on to init.
func earlyInit(args []string) int {
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	early := func(source, dir, fs string, flags uintptr, data string) {
		if err := unix.Mount(source, dir, fs, flags, data); err != nil && !errors.Is(err, unix.EBUSY) {
			fmt.Fprintf(os.Stderr, "beadm: cannot mount %s: %v\n", dir, err)
		}
	}
	mounted := func(dir string) bool {
		var a, b unix.Stat_t
		return unix.Lstat(dir, &a) == nil && unix.Lstat(filepath.Dir(dir), &b) == nil && a.Dev != b.Dev
	}
	if !mounted("/proc") {
		early("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if !mounted("/sys") {
		early("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if !mounted("/dev") {
		early("devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755")
	}
	if !mounted("/run") {
		early("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
	}
	// boot opens a read-only one.
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT, ""); err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
		fmt.Fprintf(os.Stderr, "beadm: cannot remount / read-write: %v\n", err)
	}
	cmdline, _ := os.ReadFile("/proc/cmdline")
	_, trial := boot.Cmdline(cmdline)

	bootFirst(func() error { return earlyBoot(cmdline) }, func() bool { return trial })
	args[0] = "/sbin/init"
	err := syscall.Exec("/sbin/init", args, os.Environ())
	fmt.Fprintf(os.Stderr, "beadm: cannot start /sbin/init: %v\n", err)
	return 1 // PID 1 ends: the kernel panics, and panic= resets
}

// earlyMain is for systems whose own init runs it.
func earlyMain() error {
	return be.E(be.Usage, "early-boot is run by the init of FreeBSD and illumos; here beadm's own does it")
}
