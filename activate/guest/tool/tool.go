// Package tool runs the host's own programs for a guest.Runtime that is made of
// them. What they print may be a guest's: it is bounded, and in an error made
// fit to be shown.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"beadm/be"
)

// Programs is how programs of the host are run. They are named by their full
// path: what is looked up in PATH may be anybody's. None gets the terminal. An
// error is of kind be.NoStore if the program is not there, and has an
// exec.ExitError in its chain if it ran and failed.
type Programs interface {
	// Ask returns what a program prints.
	Ask(ctx context.Context, argv []string) (string, error)
	// Order has a program do something that may leave daemons behind.
	Order(ctx context.Context, argv []string) error
	// Attach runs a program on given files, nil for none, with env alone as its
	// environment.
	Attach(ctx context.Context, argv, env []string, in, out, err *os.File) error
}

// toolError is a program that failed, with its own words.
type toolError struct {
	argv  []string
	words string
	err   error
}

func (e *toolError) Error() string {
	words := strings.Join(strings.Fields(printable(e.words)), " ")
	if words == "" {
		words = e.err.Error()
	}
	return fmt.Sprintf("%s: %s", strings.Join(e.argv, " "), words)
}

func (e *toolError) Unwrap() error { return e.err }

// printable leaves out what could play with a terminal: a guest's words are in
// it.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == 0xfffd {
			return '?'
		}
		return c
	}, s)
}

// Failed is the error of a program that said words and ended with err.
func Failed(argv []string, words string, err error) error {
	tool := &toolError{argv, words, err}
	if errors.Is(err, os.ErrNotExist) {
		return be.E(be.NoStore, "%w", tool)
	}
	return tool
}

// Host runs them on this host. Env is all the environment of those that are
// asked and ordered.
type Host struct{ Env []string }

// endTime is what a program has to end in once it was told to.
const endTime = 5 * time.Second

func command(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{}, env...) // none is the whole of this one's
	// No program of a guest gets the terminal, to type on it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	return cmd
}

// maxAnswer is the most that is read of an answer: a guest may make it.
const maxAnswer = 4 << 20

// limited is written to until it is full. It has no method of a bytes.Buffer's
// but this: io.Copy would go round it by ReadFrom.
type limited struct{ text bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > maxAnswer {
		return 0, errors.New("it says too much")
	}
	return l.text.Write(p)
}

func (h Host) Ask(ctx context.Context, argv []string) (string, error) {
	cmd := command(ctx, argv, h.Env)
	var out, words limited
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return out.text.String(), Failed(argv, words.text.String(), err)
	}
	return out.text.String(), nil
}

// Order has the program write to a file without a name, not
// to a pipe: daemons keep it, and would end when they write to it later.
func (h Host) Order(ctx context.Context, argv []string) error {
	words, err := os.CreateTemp("", "beadm-tool-")
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	defer words.Close()
	if err := os.Remove(words.Name()); err != nil {
		return fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	cmd := command(ctx, argv, h.Env)
	cmd.Stdout, cmd.Stderr = words, words
	if err := cmd.Run(); err != nil {
		text := make([]byte, 4096)
		n, rerr := words.ReadAt(text, 0)
		if rerr != nil && rerr != io.EOF {
			n = 0
		}
		return Failed(argv, string(text[:n]), err)
	}
	return nil
}

func (Host) Attach(ctx context.Context, argv, env []string, in, out, errs *os.File) error {
	cmd := command(ctx, argv, env)
	// A nil *os.File in them would be no nil interface.
	if in != nil {
		cmd.Stdin = in
	}
	if out != nil {
		cmd.Stdout = out
	}
	if errs != nil {
		cmd.Stderr = errs
	}
	err := cmd.Run()
	if errors.Is(err, os.ErrNotExist) {
		return be.E(be.NoStore, "cannot run %s: %w", argv[0], err)
	}
	return err
}
