package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/cmd/beadm/render"
	"beadm/share"
)

func shareCommand() *cli.Command {
	return &cli.Command{
		Name: "share", Usage: "keep mail, spools, logs and temporary files in one place for all boot environments",
		Subcommands: []*cli.Command{
			shareInitCommand(), shareAddCommand(), shareRemoveCommand(), shareStatusCommand(),
			shareUndoCommand(), shareCommitCommand(),
			shareSnapshotCommand(), shareListCommand(), shareRestoreCommand(),
		},
		Action: needSubcommand,
	}
}

func shareStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say of each path of the profile, and of those added, what it is",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return readOnly(c, func(t *activate.Target) ([]share.Path, error) { return t.ShareStatus(c.Context) }, render.ShareStatus)
		},
	}
}

func shareCommitCommand() *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "delete the directories as they were before they were shared",
		Description: "Every boot environment keeps them in /var/.beadm-old and /.beadm-old until then.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				had, err := t.CommitShare(c.Context, c.Bool("dry-run"))
				if err != nil {
					return err
				}
				out.Result = map[string][]string{"deleted_in": had}
				return nil
			})
		},
	}
}

func stopFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "stop", Usage: "`UNIT` may be stopped"},
		&cli.BoolFlag{Name: "stop-all", Usage: "every unit that holds files there may be stopped"},
		dryRun(),
	}
}

func initFlags() []cli.Flag {
	return append(stopFlags(), &cli.BoolFlag{Name: "outside-var", Usage: "directories outside /var are shared too"})
}

func shareInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "move the directories into /var/share while the system runs", ArgsUsage: "[PATH...]",
		Description: "Without PATH: the profile, which share status lists. Who holds files open in\nthem is named, and nothing is moved, unless --stop or --stop-all lets it be\nstopped; it is started again afterwards.",
		Flags:       initFlags(),
		Action:      shareInit,
	}
}

func shareAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "move further directories into /var/share, as init does", ArgsUsage: "PATH...",
		Description: "Boot environments that do not run share them too from their next activation or\nboot on.",
		Flags:       initFlags(),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return be.E(be.Usage, "give what to share besides, such as /var/www")
			}
			return shareInit(c)
		},
	}
}

func shareInit(c *cli.Context) error {
	return change(c, "", func(t *activate.Target, out *outcome) error {
		plan, res, err := t.ShareInit(c.Context, activate.ShareInitOptions{
			Paths: c.Args().Slice(), Outside: c.Bool("outside-var"), Stop: c.StringSlice("stop"), StopAll: c.Bool("stop-all"), DryRun: c.Bool("dry-run"),
		})
		if err != nil {
			return err
		}
		out.Result = res
		for _, p := range plan.Paths {
			if p.State != share.Real && p.State != share.Absent && (p.State != share.Linked || c.Args().Present()) {
				t.Report.Note("%s stays: %s", rooted.Printable(p.Path), render.ShareWhy(p))
			}
		}
		if c.Bool("dry-run") {
			out.Result = plan
			for _, p := range plan.Moves() {
				t.Report.Would(fmt.Sprintf("move %s (%s, %d files)", p.Path, render.Size(p.Bytes), p.Files))
			}
		}
		if !c.Bool("json") {
			moved(c, res)
		}
		return nil
	})
}

func moved(c *cli.Context, res share.Result) {
	for _, path := range res.Moved {
		fmt.Fprintf(c.App.Writer, "moved %s\n", path)
	}
	for _, unit := range res.Stopped {
		fmt.Fprintf(c.App.Writer, "stopped and started %s\n", unit)
	}
}

func shareRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "put shared directories back into every boot environment", ArgsUsage: "PATH...",
		Description: "Each gets a copy of what is in them now. What was shared is kept, hidden, until\nshare commit.",
		Flags:       stopFlags(),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return be.E(be.Usage, "give what not to share any more, such as /var/log; share undo puts all back")
			}
			return shareRemove(c, c.Args().Slice())
		},
	}
}

func shareUndoCommand() *cli.Command {
	return &cli.Command{
		Name: "undo", Usage: "put all shared directories back into every boot environment",
		Description: "Each gets a copy of what is in them now. What was shared is kept, hidden, until\nshare commit.",
		Flags:       stopFlags(),
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return shareRemove(c, nil)
		},
	}
}

func shareRemove(c *cli.Context, paths []string) error {
	return change(c, "", func(t *activate.Target, out *outcome) error {
		res, err := t.ShareRemove(c.Context, activate.ShareRemoveOptions{
			Paths: paths, Stop: c.StringSlice("stop"), StopAll: c.Bool("stop-all"), DryRun: c.Bool("dry-run"),
		})
		if err != nil {
			return err
		}
		out.Result = res
		if !c.Bool("json") {
			moved(c, res)
		}
		return nil
	})
}
