//go:build !linux

package activate

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reboot restarts the host through its firmware. On illumos -p does that: its
// fast reboot jumps past the loader (reboot(8)).
func Reboot(ctx context.Context) error {
	args := []string{"shutdown", "-r", "now"}
	if runtime.GOOS == "illumos" {
		args = []string{"reboot", "-p"}
	}
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot reboot: %w: %s", err, out)
	}
	return nil
}

// resetTime is what the kernel gets to stop its devices.
const resetTime = 10 * time.Second

// ForceReset restarts at once, asking no service, and through the firmware.
// What is written is synced, but for no longer than the kernel needs.
func ForceReset() {
	done := make(chan struct{})
	go func() { syscall.Sync(); close(done) }()
	waitOr(done)
	go resetNow()
	time.Sleep(2 * resetTime)
}

// stayInMemory keeps the program from being read again from a disk that no
// longer answers. It is best effort: memory may be limited.
func stayInMemory() { unix.Mlockall(unix.MCL_CURRENT) }
