package bootenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"beadm/be"
)

// Run runs a program and returns what it wrote to standard output. It fails
// with a *ToolError if the program ended with another status than 0, and with
// exec.ErrNotFound in its chain if there is none of that name.
type Run func(ctx context.Context, argv ...string) (string, error)

// ToolError is a program that failed, with its own words.
type ToolError struct {
	Argv   []string
	Status int    // its exit status, -1 if a signal ended it
	Words  string // what it wrote to standard error, or else to standard output
	err    error
}

func (e *ToolError) Error() string {
	words := strings.Join(strings.Fields(e.Words), " ")
	if words == "" {
		words = e.err.Error()
	}
	return fmt.Sprintf("%s: %s", strings.Join(e.Argv, " "), words)
}

func (e *ToolError) Unwrap() error { return e.err }

// toolPath is where the tools are where the environment is that of the first
// moment of a boot.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec is the Run of the machine itself, in the C locale.
func Exec(ctx context.Context, argv ...string) (string, error) {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		os.Setenv("PATH", strings.Trim(os.Getenv("PATH")+":"+toolPath, ":"))
		if program, err = exec.LookPath(argv[0]); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if words.Len() == 0 {
			words = out
		}
		return "", &ToolError{argv, cmd.ProcessState.ExitCode(), words.String(), err}
	}
	return out.String(), nil
}

// problem is the error of a kind that a user can act on.
func problem(kind be.Kind, err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	var tool *ToolError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return be.E(be.NoStore, "%s: %w; is this the system that it was set up for?", what, err)
	case errors.As(err, &tool) && (strings.Contains(tool.Words, "ermission denied") || strings.Contains(tool.Words, "not permitted")):
		return be.E(be.Denied, "%s: not permitted; run it as root (%w)", what, err)
	}
	return be.E(kind, "%s: %w", what, err)
}
