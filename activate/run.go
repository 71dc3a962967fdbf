package activate

import (
	"context"
	"fmt"
	"os"

	"beadm/be"
)

// RunOptions are those of beadm run.
type RunOptions struct {
	Command []string // empty: a shell
	DryRun  bool
	Stdin   *os.File
	Stdout  *os.File
	Stderr  *os.File
}

// ExitStatus is the error of a command in a boot environment that ran and did
// not end with 0: its status, or 128 and the number of the signal that ended
// it.
type ExitStatus int

func (e ExitStatus) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// Run runs a command, or a shell, in a boot environment that does not run,
// where it reaches as little as that of Upgrade. If the command ran and failed
// the error is an ExitStatus, unwrapped.
func (t *Target) Run(ctx context.Context, name string, opts RunOptions) error {
	if err := canRunOffline(); err != nil {
		return err
	}
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := s.mayEnter(b, "run"); err != nil {
		return err
	}
	what := "a shell"
	if len(opts.Command) > 0 {
		what = opts.Command[0]
	}
	if opts.DryRun {
		s.Report.Would("run " + what + " in " + name)
		return nil
	}
	runErr, err := s.enter(ctx, name, func(dir string) error {
		command := opts.Command
		if len(command) == 0 {
			command = []string{shellOf(dir)}
		}
		return s.runIn(ctx, dir, OfflineCommand{
			Argv: command, Terminal: isTerminal(opts.Stdin) && isTerminal(opts.Stdout),
			Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr,
		})
	})
	if err == nil {
		err = s.Store.Flush(context.WithoutCancel(ctx))
	}
	if err != nil {
		return after(runErr, err)
	}
	// Not with its arguments: they may hold a password.
	s.record("run", name, what)
	s.followEntry(context.WithoutCancel(ctx), b.UUID)
	return runErr
}

// mayEnter says why nothing can be run in b.
func (s *Session) mayEnter(b be.BE, command string) error {
	if err := Allow(s.State, command, b.UUID); err != nil {
		return err
	}
	switch {
	case b.Running && command == "upgrade":
		return be.E(be.InUse, "cannot upgrade %s: it is running; upgrade a clone of it", b.Name)
	case b.Running:
		return be.E(be.InUse, "cannot run anything in %s: it is the one that runs; call it as it is", b.Name)
	case command == "upgrade" && b.UUID != "" && b.UUID == s.State.Default:
		return be.E(be.InUse, "cannot upgrade %s: it is what boots next; upgrade a clone of it", b.Name)
	case b.Incomplete:
		return be.E(be.InUse, "cannot %s %s: it is incomplete; destroy it first", command, b.Name)
	case b.Mountpoint != "":
		return be.E(be.InUse, "cannot %s %s: it is mounted at %s; unmount it first", command, b.Name, b.Mountpoint)
	}
	return nil
}

// runIn runs a command in the root at dir: a guest's as its runtime confines it.
func (t *Target) runIn(ctx context.Context, dir string, c OfflineCommand) error {
	if t.InGuest != nil {
		return t.InGuest(ctx, dir, c)
	}
	return runOffline(ctx, dir, c)
}

// enter mounts a boot environment with the staging directory, calls do with
// its root, and unmounts it whatever happens. The first error is do's.
func (s *Session) enter(ctx context.Context, name string, do func(dir string) error) (doErr, err error) {
	dir := s.path("upgrade")
	if err := s.private(dir); err != nil {
		return nil, err
	}
	s.Report.Step("mount " + name)
	if err := s.mountStaged(ctx, name, dir, false); err != nil {
		return nil, err
	}
	s.Report.Step("run the command in " + name)
	doErr = do(dir)
	s.remember(true) // it may have run for hours
	return doErr, s.unmountStaged(context.WithoutCancel(ctx), name, dir, false)
}

// OfflineCommand is what upgrade and run have run in a boot environment.
type OfflineCommand struct {
	Argv     []string
	Env      []string // besides what every such command gets
	Terminal bool     // it gets one of its own, relayed to Stdin and Stdout
	Stdin    *os.File
	Stdout   *os.File
	Stderr   *os.File
}

// after is the error err, which came after what may be one.
func after(earlier, err error) error {
	if earlier == nil {
		return err
	}
	return fmt.Errorf("%w; before that: %v", err, earlier)
}

func shellOf(dir string) string {
	if existsInRoot(dir, "/bin/bash") {
		return "/bin/bash"
	}
	return "/bin/sh"
}
