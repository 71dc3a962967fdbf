package activate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Reboot restarts the host through its firmware: a kernel loaded by kexec, or a
// root that soft-reboot enters, is past the loader, which holds the trial's
// token.
func Reboot(ctx context.Context) error {
	if loaded, _ := os.ReadFile("/sys/kernel/kexec_loaded"); strings.TrimSpace(string(loaded)) == "1" {
		if out, err := exec.CommandContext(ctx, "kexec", "-u").CombinedOutput(); err != nil {
			return be.E(be.Decision, "cannot reboot through the firmware: a kernel is loaded for kexec and cannot be unloaded: %s", out)
		}
	}
	cmd := exec.CommandContext(ctx, "systemctl", "reboot")
	cmd.Env = append(os.Environ(), "SYSTEMCTL_SKIP_AUTO_KEXEC=1", "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot reboot: %w: %s", err, out)
	}
	return nil
}

// resetTime is what the kernel gets to stop its devices.
const resetTime = 10 * time.Second

// ForceReset restarts at once, asking no service. What is written is synced,
// but for no longer than the kernel needs: a hung disk must not keep a failed
// trial alive.
func ForceReset() {
	done := make(chan struct{})
	go func() { unix.Sync(); close(done) }()
	waitOr(done)
	go func() {
		// A driver that does not let go of its device holds reboot(2), this
		// one and whichever came before it; this does not ask them.
		time.Sleep(resetTime)
		if ownsKernel() {
			os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
		}
	}()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	time.Sleep(2 * resetTime)
}

// ownsKernel says that this is no container, whose restart would be the host's
// (the first pid namespace: PROC_PID_INIT_INO of Linux's proc_ns.h).
func ownsKernel() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns == "pid:[4026531836]"
}

// stayInMemory keeps the program from being read again from a disk that no
// longer answers. It is best effort: memory may be limited.
func stayInMemory() { unix.Mlockall(unix.MCL_CURRENT) }
