package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/gobwas/glob"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/activate/guest/datasets"
	"beadm/activate/guest/nspawn"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/cmd/beadm/render"
)

func guestCommand() *cli.Command {
	return &cli.Command{
		Name: "guest", Usage: "containers and machines of this host that have boot environments of their own",
		Description: "With -g GLOB the other commands are for them: beadm -g 'web*' create new.",
		Subcommands: []*cli.Command{guestListCommand(), guestInitCommand(), guestStatusCommand(), guestReleaseCommand(), guestBootCommand()},
		Action:      needSubcommand,
	}
}

func guestListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the guests of this host, managed or not",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			list, err := standings(c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return render.JSON(c.App.Writer, list)
			}
			for _, g := range list {
				// guest status, which would say why, is for the others.
				if g.Error != "" && !g.Managed {
					logrus.Warn(rooted.Printable(g.Error))
				}
			}
			return render.GuestList(c.App.Writer, list)
		},
	}
}

func guestStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say of each managed guest what it runs, what it starts next, and what went wrong",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			list, err := standings(c)
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(g activate.GuestStanding) bool { return !g.Managed })
			if c.Bool("json") {
				return render.JSON(c.App.Writer, list)
			}
			return render.GuestStatus(c.App.Writer, list)
		},
	}
}

// standings looks at every guest. What cannot be read of one is said with it.
func standings(c *cli.Context) ([]activate.GuestStanding, error) {
	if err := mustBeRoot(c); err != nil {
		return nil, err
	}
	all, err := allGuests(c)
	if err != nil {
		return nil, err
	}
	list := []activate.GuestStanding{}
	for _, g := range all {
		m, err := guestMachine(c, g)
		if err != nil {
			return nil, err
		}
		list = append(list, m.Standing(c.Context))
	}
	return list, nil
}

func guestInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "give guests boot environments: what each runs is its first", ArgsUsage: "GUEST...",
		Description: "Its root is not copied, and a guest that runs goes on. In its place is a link\nfrom then on. A root that is no subvolume is copied into one, while the guest is\nstopped, and kept. GUEST may be a pattern.",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "name", Value: "default", Usage: "call it `BE`"}, dryRun()},
		Action: func(c *cli.Context) error {
			return namedGuests(c, func(m *activate.Machine, say activate.Reporter) error {
				if err := m.Init(c.Context, c.String("name"), c.Bool("dry-run"), say); err != nil {
					return err
				}
				if c.Bool("dry-run") {
					return nil
				}
				conf, err := hostConf(c)
				if err != nil {
					return err
				}
				return putGuestUnit(conf)
			})
		},
	}
}

func guestReleaseCommand() *cli.Command {
	return &cli.Command{
		Name: "release", Usage: "give guests back as they were before init, with what they run", ArgsUsage: "GUEST...",
		Description: "A guest that runs goes on. Refused while its directories are shared.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "destroy", Usage: "destroy its other boot environments, too"}, dryRun()},
		Action: func(c *cli.Context) error {
			return namedGuests(c, func(m *activate.Machine, say activate.Reporter) error {
				return m.GiveBack(c.Context, c.Bool("destroy"), c.Bool("dry-run"), say)
			})
		},
	}
}

// namedGuests calls do for the guests that the arguments name.
func namedGuests(c *cli.Context, do func(m *activate.Machine, say activate.Reporter) error) error {
	a, err := args(c, 1, -1)
	if err != nil {
		return err
	}
	if err := mustBeRoot(c); err != nil {
		return err
	}
	conf, err := hostConf(c)
	if err != nil {
		return err
	}
	want, err := globs("guest", a)
	if err != nil {
		return err
	}
	asked := func(name string) bool {
		return slices.ContainsFunc(want, func(p *glob.Pattern) bool { return matches(p, guest.Guest{Name: name, Runtime: "nspawn"}) })
	}
	if !c.Bool("dry-run") {
		if err := datasets.Mend(cmp.Or(conf.GuestDir, nspawn.DefaultDir), asked); err != nil {
			return err
		}
	}
	all, err := allGuests(c)
	if err != nil {
		return err
	}
	list, err := namedBy("guest", a, all)
	if err != nil {
		return err
	}
	return eachGuest(c, list, func(c *cli.Context) error {
		g := *guestOf(c.Context)
		m, err := guestMachine(c, g)
		if err != nil {
			return err
		}
		say := talk{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json"), outcome: &outcome{Command: commandName(c), DryRun: c.Bool("dry-run")}, who: g.Name + ": "}
		if err := do(m, say); err != nil {
			return err
		}
		if c.Bool("json") {
			return render.JSON(c.App.Writer, say.outcome)
		}
		return nil
	})
}

func guestBootCommand() *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "make the guests ready, as the host boots and before they are started",
		Description: "A trial that was not confirmed ends, each guest starts its default, and what it\nshares is mounted. One that runs is left alone.",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			if err := mustBeRoot(c); err != nil {
				return err
			}
			if err := markGuestsReady(); err != nil {
				return err
			}
			all, err := allGuests(c)
			if err != nil {
				return err
			}
			managed := slices.DeleteFunc(all, func(g guest.Guest) bool {
				_, adopted, err := guest.Place{Root: g.Root}.Current()
				return err == nil && !adopted
			})
			if len(managed) == 0 {
				return nil
			}
			return eachGuest(c, managed, func(c *cli.Context) error {
				m, err := guestMachine(c, *guestOf(c.Context))
				if err != nil {
					return err
				}
				did, err := m.BootHost(context.WithoutCancel(c.Context))
				if c.Bool("json") {
					return orError(err, render.JSON(c.App.Writer, outcome{Command: commandName(c), Done: did}))
				}
				for _, what := range did {
					fmt.Fprintln(c.App.Writer, what)
				}
				return err
			})
		},
	}
}

func mustBeRoot(c *cli.Context) error {
	if os.Geteuid() != 0 {
		return be.E(be.Denied, "%s must be run as root", c.Command.HelpName)
	}
	return nil
}
