package activate

import (
	"context"
	"errors"
	"os"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// packageManager is what upgrade calls when it is given no command.
const packageManager = "/usr/bin/apt-get"

// UpgradeOptions are those of beadm upgrade.
type UpgradeOptions struct {
	Command  []string // empty: the package manager's own full upgrade
	Activate bool
	Trial    ActivateOptions
	DryRun   bool
	Joint    *Joint // as in CreateOptions
	Stdin    *os.File
	Stdout   *os.File
	Stderr   *os.File
}

// Upgrade runs a package manager in a boot environment that does not run,
// where it reaches neither the loader nor the running system. The boot
// environment is created if it is not there. When the command fails the boot
// environment stays for another try or to be destroyed.
func (t *Target) Upgrade(ctx context.Context, name string, opts UpgradeOptions) error {
	if err := canRunOffline(); err != nil {
		return err
	}
	if opts.Activate {
		if _, err := opts.Trial.Within(t.Conf); err != nil {
			return err
		}
	}
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
			if err := s.roomFor(ctx, "create "+name); err != nil {
				return err
			}
			s.Report.Would("create " + name + " from the running one")
			opts.would(s, name)
			return nil
		}
		if b, err = s.create(ctx, name, CreateOptions{Joint: opts.Joint}); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := s.mayEnter(b, "upgrade"); err != nil {
		return err
	}
	if len(opts.Command) == 0 {
		err := s.lookInto(ctx, b, func(dir string) error {
			if !existsInRoot(dir, packageManager) {
				return noCommand(name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if opts.DryRun {
		opts.would(s, name)
		return nil
	}
	if b, err = s.Store.Adopt(ctx, name); err != nil {
		return err
	}
	k := s.State.Know(b.UUID)
	k.Name, k.Upgrade = name, &state.Upgrade{Began: time.Now().UTC()}
	if err := s.saveOnly("upgrade " + name); err != nil {
		return err
	}
	runErr, err := s.enter(ctx, name, func(dir string) error { return s.runUpgrade(ctx, dir, name, opts) })
	if err == nil && runErr == nil {
		err = s.Store.Flush(ctx)
	}
	if werr := errors.Join(runErr, err); werr != nil {
		k.Upgrade.Why = werr.Error()
	} else {
		k.Upgrade = nil
	}
	if serr := s.save(); err == nil {
		err = serr
	}
	if err != nil {
		return after(runErr, err)
	}
	if runErr != nil {
		s.record("upgrade failed", name, runErr.Error())
		return runErr
	}
	s.record("upgrade", name, "")
	s.followEntry(ctx, b.UUID)
	if err := s.checkBootable(ctx, b); err != nil {
		return err
	}
	if opts.Activate {
		return s.activate(ctx, name, opts.Trial)
	}
	return nil
}

func (o UpgradeOptions) would(s *Session, name string) {
	s.Report.Would("run the command in " + name)
	if o.Activate {
		s.Report.Would("activate " + name)
	}
}

// fullUpgrade is the package manager's own.
const fullUpgrade = "apt-get update && apt-get -y -o Dpkg::Options::=--force-confold dist-upgrade"

func (s *Session) runUpgrade(ctx context.Context, dir, name string, opts UpgradeOptions) error {
	argv := opts.Command
	if len(argv) == 0 {
		argv = []string{"/bin/sh", "-ec", fullUpgrade}
	}
	err := s.runIn(ctx, dir, OfflineCommand{
		Argv: argv, Env: []string{"DEBIAN_FRONTEND=noninteractive"}, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr,
	})
	var status ExitStatus
	if errors.As(err, &status) {
		return be.E(be.Other, "%w; %s is as it left it: try again, or destroy it", err, name)
	}
	return err
}

func noCommand(name string) error {
	return be.E(be.Usage, "cannot upgrade %s: no package manager was found in it; give the command after --", name)
}

// upgradedWell refuses a boot environment that an upgrade left half done.
func (s *Session) upgradedWell(b be.BE, verb string) error {
	k := s.State.BEs[b.UUID]
	if k == nil || k.Upgrade == nil {
		return nil
	}
	why := k.Upgrade.Why
	if why == "" {
		why = "it was cut off"
	}
	return be.E(be.Decision, "cannot %s %s: its upgrade of %s did not end well (%s): mend it and run beadm upgrade %s again, or destroy it", verb, b.Name, k.Upgrade.Began.Local().Format("2006-01-02 15:04"), why, b.Name)
}

// upgradeIn is what the source of a create says of an upgrade: what that left
// half done is half done in the clone, but not in one of a snapshot from
// before.
func (s *Session) upgradeIn(ctx context.Context, args createArgs) (*state.Upgrade, error) {
	if args.Source == "" {
		return nil, nil
	}
	src, err := s.find(ctx, args.Source)
	if err != nil {
		return nil, err
	}
	k := s.State.BEs[src.UUID]
	if k == nil {
		return nil, nil
	}
	if k.Upgrade == nil || args.Auto {
		return k.Upgrade, nil
	}
	snaps, err := s.Store.Snapshots(ctx, src.Name)
	if err != nil {
		return nil, err
	}
	for _, sn := range snaps {
		if sn.Name == args.Snapshot && sn.Created.Before(k.Upgrade.Began.Truncate(time.Second)) {
			return nil, nil
		}
	}
	return k.Upgrade, nil
}
