package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// runCheck ends a command that hangs with all that it started: a trial makes
// its checks again and again. Of its words it returns the last. One that
// succeeds and leaves something running has succeeded.
func runCheck(ctx context.Context, command string, limit time.Duration) (words []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var said lastWords
	cmd.Stdout, cmd.Stderr = &said, &said
	switch err = cmd.Run(); {
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well; what it started holds its output
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("it did not end within %s", limit)
	}
	return said.bytes(), err
}

func problem(err error, format string, args ...any) string {
	if err != nil {
		return strings.TrimSuffix(fmt.Sprintf("%v: "+format, append([]any{err}, args...)...), ": ")
	}
	return fmt.Sprintf(format, args...)
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return inBrief(lines[len(lines)-1])
}

func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".beadm-check-*")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
