package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"beadm/be"
)

// packageManager is what upgrade calls when it is given no command.
const packageManager = "/usr/bin/apt-get"

// UpgradeOptions are those of beadm upgrade.
type UpgradeOptions struct {
	Command  []string // empty: the package manager's own full upgrade
	Activate bool
	Trial    ActivateOptions
	DryRun   bool
	Stdin    *os.File
	Stdout   *os.File
	Stderr   *os.File
}

// Upgrade runs a package manager in a boot environment that does not run,
// where it reaches neither the loader nor the running system. The boot
// environment is created if it is not there. When the command fails the boot
// environment stays for another try or to be destroyed.
func (t *Target) Upgrade(ctx context.Context, name string, opts UpgradeOptions) error {
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := be.CheckName(name); err != nil {
		return err
	}
	b, err := s.find(ctx, name)
	switch {
	case be.KindOf(err) == be.NotFound:
		if err := Allow(s.State, "upgrade"); err != nil {
			return err
		}
		if len(opts.Command) == 0 && !existsInRoot(s.Root, packageManager) {
			return noCommand(name)
		}
		if opts.DryRun {
			s.Report.Would("create " + name + " from the running one")
			opts.would(s, name)
			return nil
		}
		if b, err = s.create(ctx, name, CreateOptions{}); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := s.mayEnter("upgrade", b); err != nil {
		return err
	}
	if opts.DryRun {
		opts.would(s, name)
		return nil
	}
	dir := s.path("upgrade")
	if err := s.private(dir); err != nil {
		return err
	}
	s.Report.Step("mount " + name)
	if err := s.mountStaged(ctx, name, dir, false); err != nil {
		return err
	}
	s.Report.Step("run the command in " + name)
	runErr := RunOffline(ctx, dir, opts)
	var status ExitStatus
	if errors.As(runErr, &status) {
		runErr = be.E(be.Other, "the command ended with status %d; %s is as it left it: try again, or destroy it", int(status), name)
	}
	nothingRun := errors.Is(runErr, errNoCommand)
	if nothingRun {
		runErr = noCommand(name)
	}
	if err := s.unmountStaged(context.WithoutCancel(ctx), name, dir, false); err != nil {
		return errors.Join(runErr, err)
	}
	if nothingRun {
		return runErr
	}
	if runErr != nil {
		s.record("upgrade failed", name, runErr.Error())
		return runErr
	}
	if err := s.Store.Flush(ctx); err != nil {
		return err
	}
	s.record("upgrade", name, "")
	if err := s.checkBootable(ctx, b); err != nil {
		return err
	}
	if opts.Activate {
		return s.activate(ctx, name, opts.Trial)
	}
	return nil
}

// ExitStatus is the error of a command in a boot environment that failed.
type ExitStatus int

func (e ExitStatus) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// Run runs a command, or a shell, in a boot environment that does not run, as
// Upgrade does. The command's failure is an ExitStatus.
func (t *Target) Run(ctx context.Context, name string, opts UpgradeOptions) error {
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := s.mayEnter("run a command in", b); err != nil {
		return err
	}
	if opts.DryRun {
		opts.would(s, name)
		return nil
	}
	dir := s.path("upgrade")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.mountStaged(ctx, name, dir, false); err != nil {
		return err
	}
	s.record("run", name, strings.Join(opts.Command, " "))
	err = RunOffline(ctx, dir, opts)
	return errors.Join(err, s.unmountStaged(context.WithoutCancel(ctx), name, dir, false))
}

// mayEnter says why nothing may be run in b at rest, or nil.
func (s *Session) mayEnter(what string, b be.BE) error {
	if err := Allow(s.State, "upgrade", b.UUID); err != nil {
		return err
	}
	switch {
	case b.Running:
		return be.E(be.InUse, "cannot %s %s: it is running; take a clone of it", what, b.Name)
	case b.Incomplete:
		return be.E(be.InUse, "cannot %s %s: it is incomplete; destroy it first", what, b.Name)
	case b.Mountpoint != "":
		return be.E(be.InUse, "cannot %s %s: it is mounted at %s; unmount it first", what, b.Name, b.Mountpoint)
	}
	return nil
}

func (o UpgradeOptions) would(s *Session, name string) {
	s.Report.Would("run the command in " + name)
	if o.Activate {
		s.Report.Would("activate " + name)
	}
}

func noCommand(name string) error {
	return be.E(be.Usage, "cannot upgrade %s: no package manager was found in it; give the command after --", name)
}
