package activate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Reboot restarts the host through its firmware: a kernel loaded by kexec
// would jump past the loader, which holds the trial's token.
func Reboot(ctx context.Context) error {
	if loaded, _ := os.ReadFile("/sys/kernel/kexec_loaded"); strings.TrimSpace(string(loaded)) == "1" {
		if out, err := exec.CommandContext(ctx, "kexec", "-u").CombinedOutput(); err != nil {
			return be.E(be.Decision, "cannot reboot through the firmware: a kernel is loaded for kexec and cannot be unloaded: %s", out)
		}
	}
	cmd := exec.CommandContext(ctx, "systemctl", "reboot")
	cmd.Env = append(os.Environ(), "SYSTEMCTL_SKIP_AUTO_KEXEC=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot reboot: %w: %s", err, out)
	}
	return nil
}

// ForceReset restarts at once, asking no service. What is written is synced,
// but for no longer than the kernel needs: a hung disk must not keep a failed
// trial alive.
func ForceReset() {
	done := make(chan struct{})
	go func() { unix.Sync(); close(done) }()
	waitOr(done)
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
