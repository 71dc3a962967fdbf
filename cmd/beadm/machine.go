package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/cmd/beadm/render"
)

// trialFlags are those of activate and of upgrade -a.
func trialFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "leave-behind", Usage: "also when data of the running one would be left behind"},
		&cli.BoolFlag{Name: "strict", Usage: "refuse when a file of the synclist is in conflict"},
		&cli.BoolFlag{Name: "no-auto-confirm", Usage: "wait for beadm confirm by hand"},
		&cli.DurationFlag{Name: "confirm-within", Usage: "return to the old one when it is not confirmed within `T`"},
		&cli.BoolFlag{Name: "reboot", Usage: "reboot at once"},
	}
}

func trialOptions(c *cli.Context) (activate.ActivateOptions, error) {
	o := activate.ActivateOptions{
		Strict: c.Bool("strict"), LeaveBehind: c.Bool("leave-behind"), NoAutoConfirm: c.Bool("no-auto-confirm"),
		ConfirmWithin: c.Duration("confirm-within"), DryRun: c.Bool("dry-run"),
	}
	if c.IsSet("confirm-within") && o.ConfirmWithin < time.Second {
		return o, be.E(be.Usage, "--confirm-within takes a time of at least a second, like 10m")
	}
	return o, checkReboot(c)
}

func activateCommand() *cli.Command {
	return &cli.Command{
		Name: "activate", Usage: "give a boot environment one trial boot", ArgsUsage: "BE",
		Description: "The default does not change. The next boot is BE's; if it is not confirmed,\nthe boot after that is the old one's again. Refused when data that was written\nmeanwhile, and is neither shared nor on the synclist, would be left behind.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "t", Usage: "boot it once and never make it the default"},
			&cli.BoolFlag{Name: "T", Usage: "take an armed trial back"},
			&cli.BoolFlag{Name: "permanent", Usage: "make it the default at once, without a trial"},
			&cli.BoolFlag{Name: "fast", Usage: "refused: a restart by kexec may never come back"},
			dryRun(),
		}, trialFlags()...),
		Action: func(c *cli.Context) error {
			if c.Bool("t") && c.Bool("T") || c.Bool("t") && c.Bool("permanent") || c.Bool("T") && c.Bool("permanent") {
				return be.E(be.Usage, "-t, -T and --permanent exclude each other")
			}
			if c.Bool("fast") {
				return be.E(be.Usage, "--fast is refused: a kernel that hangs after kexec is reset by nothing, and the old boot environment would not come back; give --reboot, which goes through the firmware")
			}
			if c.Bool("T") {
				a, err := args(c, 0, 1)
				if err != nil {
					return err
				}
				name := strings.Join(a, "")
				if len(a) == 1 {
					if err := be.CheckName(name); err != nil {
						return err
					}
				}
				return change(c, name, func(t *activate.Target, _ *outcome) error {
					return t.Deactivate(c.Context, name, c.Bool("dry-run"))
				})
			}
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			opts, err := trialOptions(c)
			if err != nil {
				return err
			}
			opts.Once, opts.Permanent = c.Bool("t"), c.Bool("permanent")
			err = change(c, a[0], func(t *activate.Target, _ *outcome) error { return t.Activate(c.Context, a[0], opts) })
			if err != nil {
				return err
			}
			return maybeReboot(c)
		},
	}
}

// checkReboot refuses, before anything is done, what maybeReboot cannot do.
func checkReboot(c *cli.Context) error {
	if c.Bool("reboot") && filepath.Clean(c.String("root")) != "/" {
		return be.E(be.Usage, "--reboot is for the host: restart the guest with its own tool")
	}
	return nil
}

func maybeReboot(c *cli.Context) error {
	if !c.Bool("reboot") || c.Bool("dry-run") {
		return nil
	}
	return activate.Reboot(c.Context)
}

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "make the previous boot environment the default again", ArgsUsage: "[BE@SNAP]",
		Description: "With BE@SNAP, give BE, which does not run, the contents of its snapshot again;\nwhat it held until now stays as another one, whose name is printed. Else: during a trial it ends the trial. All that was written to the shared data\nmeanwhile stays, or with --share what the switch found comes back beside it;\nthe files of the synclist come along.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "reboot", Usage: "reboot at once"},
			&cli.GenericFlag{Name: "share", Value: &anyOf{}, Usage: "bring back the shared data, all or `[=PATH,...]`, as the switch found it, when the previous one boots"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 0, 2)
			if err != nil {
				return err
			}
			if len(a) > 0 {
				return rollbackBE(c, a)
			}
			back := c.Generic("share").(*anyOf)
			if err := back.check("share", "/var/mail,/var/spool"); err != nil {
				return err
			}
			if err := checkReboot(c); err != nil {
				return err
			}
			err = change(c, "", func(t *activate.Target, out *outcome) error {
				t.AnyHost = true
				to, err := t.Rollback(c.Context, activate.RollbackOptions{
					DryRun: c.Bool("dry-run"), Share: back.given, SharePaths: back.list,
				})
				if err != nil {
					return err
				}
				out.BE, out.Next = to, to
				if !c.Bool("json") && !c.Bool("dry-run") {
					fmt.Fprintf(c.App.ErrWriter, "%s boots next\n", to)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return maybeReboot(c)
		},
	}
}

func upgradeCommand() *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "patch a boot environment that does not run", ArgsUsage: "BE [-- COMMAND...]",
		Description: "BE is created from the running one if it is not there. COMMAND, or the\npackage manager's full upgrade, runs in it and reaches neither the boot\nloader nor the running system.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "activate", Aliases: []string{"a"}, Usage: "activate it when the command succeeded"},
			dryRun(),
		}, trialFlags()...),
		Action: func(c *cli.Context) error {
			name, command, err := beAndCommand(c, "upgrade")
			if err != nil {
				return err
			}
			opts, err := trialOptions(c)
			if err != nil {
				return err
			}
			if c.Bool("reboot") && !c.Bool("activate") {
				return be.E(be.Usage, "--reboot needs -a")
			}
			err = change(c, name, func(t *activate.Target, _ *outcome) error {
				return t.Upgrade(c.Context, name, activate.UpgradeOptions{
					Command: command, Activate: c.Bool("activate"), Trial: opts, DryRun: c.Bool("dry-run"), Joint: jointOf(c.Context),
					Stdin: os.Stdin, Stdout: commandsOutput(c), Stderr: os.Stderr,
				})
			})
			if err != nil {
				return err
			}
			return maybeReboot(c)
		},
	}
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say what runs, what boots next, and what went wrong",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "acknowledge", Usage: "mark the failures as read"}, dryRun()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			if c.Bool("acknowledge") {
				return change(c, "", func(t *activate.Target, _ *outcome) error { return t.Acknowledge(c.Context, c.Bool("dry-run")) })
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			st, err := t.Status(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return render.JSON(c.App.Writer, st)
			}
			return render.StatusText(c.App.Writer, st)
		},
	}
}

func confirmCommand() *cli.Command {
	return &cli.Command{
		Name: "confirm", Usage: "make the boot environment on trial the default",
		Description: "By hand nothing is checked: you have looked. A trial does it by itself, with\n--auto, when its checks have held, unless it was activated with\n--no-auto-confirm.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "auto", Usage: "when the checks have held; end the trial if they fail"}, dryRun()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				t.AnyHost = true
				if c.Bool("auto") && !c.Bool("dry-run") {
					return t.WatchTrial(c.Context, 2*time.Second, forceReset)
				}
				return t.Confirm(c.Context, activate.ConfirmOptions{DryRun: c.Bool("dry-run")})
			})
		},
	}
}

func bootCommand() *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "what runs before any service: carry over what the other one wrote",
		Description: "Started by beadm's init in every boot environment, and by a guest's host\nbefore it starts the guest. Refused on a host whose trial is armed. Exit 14:\nthis trial cannot go on; start the default instead.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				t.AnyHost = true
				if c.Bool("dry-run") {
					return t.BootPlan(c.Context)
				}
				if err := t.BootByHand(c.Context); err != nil {
					return err
				}
				res, err := t.Boot(c.Context)
				if err != nil {
					return bootError(err)
				}
				out.BE = res.BE
				if res.NotTried != "" {
					t.Report.Warn("the armed trial of %s was taken back: %s is started instead", res.NotTried, res.BE)
				}
				if res.Owed != nil {
					t.Report.Warn("not carried over yet, beadm recover tries again: %v", res.Owed)
				}
				if res.Trouble != nil {
					t.Report.Warn("went on without: %v", res.Trouble)
				}
				return nil
			})
		},
	}
}

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "finish or undo what was interrupted",
		Description: "Every command that changes something does this first by itself.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "give-up", Usage: "do without what `BE` wrote and cannot be brought over"}, dryRun(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			giveUp, err := named(c, "give-up")
			if err != nil {
				return err
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				t.AnyHost = true
				did, err := t.Recover(c.Context, giveUp, c.Bool("dry-run"))
				out.Done = did
				for _, what := range did {
					if !c.Bool("json") {
						fmt.Fprintln(c.App.Writer, what)
					}
				}
				return err
			})
		},
	}
}

func historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "say what happened", ArgsUsage: "[BE]",
		Flags: []cli.Flag{&cli.IntFlag{Name: "last", Usage: "only the last `N`"}},
		Action: func(c *cli.Context) error {
			a, err := args(c, 0, 1)
			if err != nil {
				return err
			}
			for _, name := range a {
				if err := be.CheckName(name); err != nil {
					return err
				}
			}
			if c.Int("last") < 0 || c.IsSet("last") && c.Int("last") == 0 {
				return be.E(be.Usage, "--last takes a number of at least 1")
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			s, err := t.Look(c.Context)
			if err != nil {
				return err
			}
			defer s.Close()
			events := []state.Event{}
			if s.Dir != nil {
				if events, err = s.Dir.History(); err != nil {
					return err
				}
			}
			if len(a) == 1 {
				events = slices.DeleteFunc(events, func(e state.Event) bool { return e.BE != a[0] })
			}
			if n := c.Int("last"); n > 0 {
				events = events[max(0, len(events)-n):]
			}
			if c.Bool("json") {
				return render.JSON(c.App.Writer, events)
			}
			for _, e := range events {
				fmt.Fprintf(c.App.Writer, "%s  %-18s %-16s %s\n", e.At.Local().Format("2006-01-02 15:04:05"), rooted.Printable(e.What), rooted.Printable(e.BE), rooted.Printable(e.Detail))
			}
			return nil
		},
	}
}

func setupCommand() *cli.Command {
	return &cli.Command{
		Name: "setup", Usage: "make this host ready for trials, or put beadm into a mounted boot environment",
		ArgsUsage:   "[DIR]",
		Description: "Creates the state file system, puts beadm into the running boot environment\nand installs the boot loader's configuration. With DIR: only puts beadm into\nthe boot environment mounted there.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "loader", Usage: "`KIND`: grub, systemd-boot, zfsbootmenu, freebsd, illumos, or stub for a guest; without it the system's own, or what started it"},
			&cli.StringFlag{Name: "loader-dir", Usage: "`DIR` on the FAT or ext file system that holds the loader's configuration; without it /boot/beadm for GRUB, the ESP for systemd-boot"},
			&cli.StringFlag{Name: "kernels", Usage: "where GRUB reads kernels: `auto`, root or loader; without it as set up before"},
			&cli.StringFlag{Name: "trial-token", Usage: "`WHAT` is taken away before a trial is started: env, by GRUB, bootnext, by the firmware, or auto, what works here"},
			&cli.StringSliceFlag{Name: "loader-mirror", Usage: "the same on another disk's `DIR`, repeatable: all of them, or none; without it those that were"},
			&cli.BoolFlag{Name: "move-boot", Usage: "have a /boot that is a file system of its own become GRUB's, at /boot/beadm, and copy what is there into the root"},
			&cli.StringFlag{Name: "binary", Usage: "install `FILE` in place of the running program"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 0, 1)
			if err != nil {
				return err
			}
			if len(a) == 1 {
				return change(c, "", func(t *activate.Target, _ *outcome) error {
					return t.SetupBE(c.Context, a[0], c.String("binary"), c.Bool("dry-run"))
				})
			}
			return change(c, "", func(t *activate.Target, _ *outcome) error {
				opts := loaderOptions{
					goos: runtime.GOOS, kind: c.String("loader"), dir: c.String("loader-dir"), kernels: c.String("kernels"), token: c.String("trial-token"),
				}
				if c.Bool("move-boot") {
					if err := opts.moveBoot(c.Context, t, c.Bool("dry-run"), c.IsSet("loader-mirror")); err != nil {
						return err
					}
				}
				conf, err := opts.config(t.Store)
				if err != nil {
					return err
				}
				mirrors, err := opts.mirrors(t.Store, conf, c.StringSlice("loader-mirror"))
				if err != nil {
					return err
				}
				return t.Setup(c.Context, activate.SetupOptions{Loader: conf, Mirrors: mirrors, Binary: c.String("binary"), MoveBoot: c.Bool("move-boot"), DryRun: c.Bool("dry-run")})
			})
		},
	}
}

func trialNotifyCommand() *cli.Command {
	return &cli.Command{
		Name: "trial-notify", Hidden: true, Usage: "run the notify command of beadm.conf for a failed trial",
		Action: func(c *cli.Context) error {
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			t.AnyHost = true
			return t.Notify(c.Context)
		},
	}
}

func kernelChangedCommand() *cli.Command {
	return &cli.Command{
		Name: "kernel-changed", Hidden: true, Usage: "run by the hooks of kernel packages: the menu entry follows",
		Action: func(c *cli.Context) error {
			t, done, err := target(c)
			if be.KindOf(err) == be.NoStore {
				return nil // no boot environments here
			}
			if err != nil {
				return err
			}
			defer done()
			return t.KernelChanged(c.Context, 10*time.Minute)
		},
	}
}

func trialFailedCommand() *cli.Command {
	return &cli.Command{
		Name: "trial-failed", Hidden: true, Usage: "end the trial that runs: record why, reset; without one, give the prompt",
		Action: func(c *cli.Context) error {
			if filepath.Clean(c.String("root")) != "/" {
				return be.E(be.Usage, "trial-failed is for the host, which it resets")
			}
			reason := state.ReasonCheck
			if c.Args().First() == "emergency" {
				reason = state.ReasonEmergency
			}
			claims, err := cmdline(c.Context, nil)
			if err != nil {
				logrus.Warnf("cannot see how this system was started: %v", err)
			}
			runs, err := activate.EndTrial(c.Context, reason, c.Args().Get(1), claims, runtimeDir, opener(c), forceReset)
			if !runs && reason == state.ReasonEmergency {
				if activate.StartsOnce(claims, runtimeDir, activate.UpTime()) {
					forceReset()
				}
				err = errors.Join(err, emergencyPrompt())
			}
			return err
		},
	}
}

// opener opens the target for who watches a trial.
func opener(c *cli.Context) func() (*activate.Target, error) {
	return func() (*activate.Target, error) {
		t, _, err := target(c)
		if err == nil {
			t.AnyHost = true
		}
		return t, err
	}
}

// emergencyPrompt becomes what emergency.service starts by itself, in whose
// place this was.
func emergencyPrompt() error {
	var err error
	for _, shell := range []string{"/usr/lib/systemd/systemd-sulogin-shell", "/lib/systemd/systemd-sulogin-shell"} {
		err = syscall.Exec(shell, []string{shell, "emergency"}, os.Environ())
	}
	return fmt.Errorf("cannot give the prompt of emergency mode: %w", err)
}

func trialDeadmanCommand() *cli.Command {
	return &cli.Command{
		Name: "trial-deadman", Hidden: true, Usage: "end the trial that runs when its time is up", ArgsUsage: "SECONDS-SINCE-BOOT ACTIVATION",
		Action: func(c *cli.Context) error {
			a, err := args(c, 2, 2)
			if err != nil {
				return err
			}
			deadline, err := strconv.ParseInt(a[0], 10, 64)
			if err != nil {
				return be.E(be.Usage, "%q is not a number of seconds", a[0])
			}
			return activate.Deadman(c.Context, time.Duration(deadline)*time.Second, a[1], runtimeDir, opener(c), forceReset)
		},
	}
}
