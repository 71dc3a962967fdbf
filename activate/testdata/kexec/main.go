// Command kexec does of kexec(8) what a test needs, without the libraries that
// Debian's has to have: -l loads /boot/vmlinuz with /boot/initrd.img and the
// arguments of the running kernel, -u unloads that, -e starts it.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// unload is KEXEC_FILE_UNLOAD of linux/kexec.h.
const unload = 1

func main() {
	var err error
	switch os.Args[1] {
	case "-l":
		err = load()
	case "-u":
		err = unix.KexecFileLoad(-1, -1, "", unload)
	case "-e":
		err = unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kexec:", err)
		os.Exit(1)
	}
}

func load() error {
	kernel, err := os.Open("/boot/vmlinuz")
	if err != nil {
		return err
	}
	initrd, err := os.Open("/boot/initrd.img")
	if err != nil {
		return err
	}
	args, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	return unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), string(args), 0)
}
