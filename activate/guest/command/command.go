//go:build unix

// Package command runs guests by commands of the administrator's: whatever else
// runs guests on this host.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

// Guest is how one guest is run. Each command is one for /bin/sh -c, which
// finds BEADM_GUEST_NAME, the guest's name, and BEADM_GUEST_ROOT, its root.
type Guest struct {
	Name string
	Root string // the directory that Start starts it from
	// Start ends once the guest runs, or cannot. What runs on does not keep its
	// output: nobody reads that, and it could fill the host's memory.
	Start string
	// Stop has it shut down, and may end before it has. BEADM_SECONDS is how
	// long that may take.
	Stop string
	// Kill ends all of it at once; empty: a guest that does not stop is an error.
	Kill string
	// Running ends with 0 if the guest runs, with 1 if not; its first word, if
	// it prints any, is the guest's process 1 as the host numbers it.
	Running string
	// Ready ends with 0 if the guest has started all that it starts, and prints
	// what of that has failed, a line each; with 1 if it has not yet, and prints why.
	Ready string
	// Run runs the command "$@" confined as the guest is, in BEADM_GUEST_ROOT, which
	// is then another root of it. It ends as that does. Empty: there is no way.
	Run string
}

// Config is all of them.
type Config struct{ Guests []Guest }

// Runtime is the guests of a Config.
type Runtime struct{ cfg Config }

var _ guest.Runtime = (*Runtime)(nil)

// New touches nothing.
func New(cfg Config) *Runtime { return &Runtime{cfg} }

// Name is "command".
func (r *Runtime) Name() string { return "command" }

const (
	startTime = 90 * time.Second
	stopTime  = 90 * time.Second // what systemd gives a service
	killTime  = 20 * time.Second
	lookTime  = 10 * time.Second
	pollTime  = 50 * time.Millisecond
	manyText  = 1 << 20
)

var guestName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func (r *Runtime) find(g guest.Guest) (Guest, error) {
	for _, c := range r.cfg.Guests {
		if c.Name == g.Name && guestName.MatchString(c.Name) {
			return c, nil
		}
	}
	return Guest{}, be.E(be.NotFound, "no commands are configured for a guest %q", g.Name)
}

// Check says, as an error, what of a guest's commands is missing.
func (c Guest) Check() error {
	if !guestName.MatchString(c.Name) {
		return be.E(be.Usage, "%q is no name of a guest", c.Name)
	}
	if !filepath.IsAbs(c.Root) || filepath.Clean(c.Root) != c.Root {
		return be.E(be.Usage, "the root of guest %s is %q, not an absolute path", c.Name, c.Root)
	}
	for _, need := range []struct{ key, command string }{{"start", c.Start}, {"stop", c.Stop}, {"running", c.Running}, {"ready", c.Ready}} {
		if strings.TrimSpace(need.command) == "" {
			return be.E(be.Usage, "guest %s has no command %s", c.Name, need.key)
		}
	}
	return nil
}

// List are the guests of Config.
func (r *Runtime) List(ctx context.Context) ([]guest.Guest, error) {
	var list []guest.Guest
	var errs []error
	for _, c := range r.cfg.Guests {
		err := c.Check()
		running, leader := false, 0
		if err == nil {
			running, leader, err = c.running(ctx)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, guest.Guest{Name: c.Name, Runtime: r.Name(), Root: c.Root, Running: running, Leader: leader})
	}
	slices.SortFunc(list, func(a, b guest.Guest) int { return strings.Compare(a.Name, b.Name) })
	return list, errors.Join(errs...)
}

// Start starts the guest.
func (r *Runtime) Start(ctx context.Context, g guest.Guest) error {
	c, err := r.find(g)
	if err != nil {
		return err
	}
	running, _, err := c.running(ctx)
	if err != nil {
		return err
	}
	if running {
		return be.E(be.InUse, "%s runs already", c.Name)
	}
	if err := guest.CheckRoot(c.Root); err != nil {
		return fmt.Errorf("cannot start %s: %w", c.Name, err)
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	out, err := c.shell(starting, c.Start)
	for err == nil {
		if running, _, err = c.running(starting); running || err != nil {
			break
		}
		select {
		case <-starting.Done():
			err = fmt.Errorf("it does not run (%w)", starting.Err())
		case <-time.After(pollTime):
		}
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// What has begun is not left half way.
		err = errors.Join(err, r.Stop(context.WithoutCancel(ctx), g))
	}
	return c.failed("start", out, err)
}

// Stop has the guest shut down.
func (r *Runtime) Stop(ctx context.Context, g guest.Guest) error {
	c, err := r.find(g)
	if err != nil {
		return err
	}
	running, _, err := c.running(context.WithoutCancel(ctx))
	if err != nil || !running {
		return err
	}
	stopping, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	out, err := c.shell(stopping, c.Stop)
	if err == nil && c.ended(stopping) {
		return nil
	}
	if c.Kill == "" {
		if err == nil {
			err = errors.New("it does not end, and no command kill is configured")
		}
		return c.failed("stop", out, err)
	}
	killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
	defer cancel()
	if out, err = c.shell(killing, c.Kill); c.ended(killing) {
		return nil
	}
	if err == nil {
		err = errors.New("it still runs")
	}
	return c.failed("kill", out, err)
}

// ended waits until it does not run.
func (c Guest) ended(ctx context.Context) bool {
	for ctx.Err() == nil {
		if running, _, err := c.running(ctx); err == nil && !running {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollTime):
		}
	}
	return false
}

// Health asks the command ready.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	var h guest.Health
	c, err := r.find(g)
	if err != nil {
		return h, err
	}
	running, _, err := c.running(ctx)
	if err != nil {
		return h, err
	}
	if !running {
		return h, be.E(be.NotFound, "%s does not run", c.Name)
	}
	look, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out, err := c.shell(look, c.Ready)
	switch code := exitCode(err); {
	case err == nil:
		h.Up = true
		for _, line := range strings.Split(string(out.out), "\n") {
			if line = strings.TrimSpace(line); line != "" {
				h.Failed = append(h.Failed, line)
			}
		}
		slices.Sort(h.Failed)
	case code == 1:
		h.Why = lastLine(out.out)
	default:
		return h, c.failed("look at", out, err)
	}
	return h, nil
}

// Run runs the command run.
func (r *Runtime) Run(ctx context.Context, g guest.Guest, command guest.Command) error {
	c, err := r.find(g)
	if err != nil {
		return err
	}
	if c.Run == "" {
		return be.E(be.NoStore, "guest %s has no command run: nothing can be run in another root of it", c.Name)
	}
	if len(command.Argv) == 0 {
		return be.E(be.Usage, "cannot run nothing in a root of %s", c.Name)
	}
	// The root it is given is no link that the guest put there.
	if info, err := os.Lstat(command.Root); err != nil || !info.IsDir() {
		return be.E(be.Usage, "cannot run anything in %s: it is no directory", command.Root)
	}
	if err := guest.CheckRoot(command.Root); err != nil {
		return err
	}
	c.Root = command.Root
	argv := command.Argv
	if len(command.Env) > 0 {
		// The administrator's command need not hand down what it finds.
		argv = append(append([]string{"/usr/bin/env"}, command.Env...), argv...)
	}
	cmd := c.command(ctx, c.Run, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = command.Stdin, command.Stdout, command.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killTime
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a root of %s: %w", c.Name, err)
	}
	return nil
}

// running asks the command running.
func (c Guest) running(ctx context.Context) (running bool, leader int, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out, err := c.shell(ctx, c.Running)
	switch {
	case exitCode(err) == 1:
		return false, 0, nil
	case err != nil:
		return false, 0, c.failed("look whether it runs:", out, err)
	}
	if words := strings.Fields(string(out.out)); len(words) > 0 {
		leader, err = strconv.Atoi(words[0])
		if err != nil || leader < 2 {
			return false, 0, fmt.Errorf("the command running of guest %s printed %q, no process", c.Name, words[0])
		}
	}
	return true, leader, nil
}

func (c Guest) command(ctx context.Context, text string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", text, "beadm"}, args...)...)
	cmd.Env = append(os.Environ(), "BEADM_GUEST_NAME="+c.Name, "BEADM_GUEST_ROOT="+c.Root)
	cmd.Dir = "/"
	return cmd
}

type said struct{ out, errs []byte }

// shell runs a command that is not given the terminal. It does not wait for
// what that leaves running.
func (c Guest) shell(ctx context.Context, text string) (said, error) {
	// Files, as a guest that it starts keeps them open: on a pipe its first word
	// after this would end it.
	out, err := scratch()
	if err != nil {
		return said{}, err
	}
	defer out.Close()
	errs, err := scratch()
	if err != nil {
		return said{}, err
	}
	defer errs.Close()
	cmd := c.command(ctx, text)
	if end, ok := ctx.Deadline(); ok {
		cmd.Env = append(cmd.Env, "BEADM_SECONDS="+strconv.Itoa(max(1, int(time.Until(end).Seconds()))))
	}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return said{read(out), read(errs)}, err
}

func scratch() (*os.File, error) {
	f, err := os.CreateTemp("", "beadm-guest-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

func read(f *os.File) []byte {
	data := make([]byte, manyText)
	n, _ := f.ReadAt(data, 0)
	return data[:n]
}

func (c Guest) failed(verb string, out said, err error) error {
	if line := lastLine(out.errs); line != "" {
		return fmt.Errorf("cannot %s %s: %w: %s", verb, c.Name, err, line)
	}
	return fmt.Errorf("cannot %s %s: %w", verb, c.Name, err)
}

func exitCode(err error) int {
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	return 0
}

func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	line := strings.ToValidUTF8(string(lines[len(lines)-1]), "?")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, line[:min(len(line), 200)])
}
