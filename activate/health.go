package activate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// runCheck ends a command that hangs with all that it started: a trial makes
// its checks again and again.
func runCheck(ctx context.Context, command string, limit time.Duration) (words []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	words, err = cmd.CombinedOutput()
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("it did not end within %s", limit)
	}
	return words, err
}

func problem(err error, format string, args ...any) string {
	if err != nil {
		return strings.TrimSuffix(fmt.Sprintf("%v: "+format, append([]any{err}, args...)...), ": ")
	}
	return fmt.Sprintf(format, args...)
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".beadm-check-*")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
