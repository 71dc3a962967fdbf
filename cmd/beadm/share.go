package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/cmd/beadm/render"
)

func shareCommand() *cli.Command {
	return &cli.Command{
		Name: "share", Usage: "keep mail, spools, logs and temporary files in one place for all boot environments",
		Subcommands: []*cli.Command{
			shareListCommand(), shareSnapshotCommand(), shareRestoreCommand(), shareCommitCommand(),
			{
				Name: "init", Usage: "move the directories into /var/share while the system runs", ArgsUsage: "[PATH...]",
				Description: "Without PATH: the profile, which share status lists. Who holds files open in\nthem is named, and nothing is moved, unless --stop or --stop-all lets it be\nstopped; it is started again afterwards.",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "stop", Usage: "`UNIT` may be stopped"},
					&cli.BoolFlag{Name: "stop-all", Usage: "every unit that holds files there may be stopped"},
					dryRun(),
				},
				Action: func(c *cli.Context) error {
					return change(c, "", func(t *activate.Target, out *outcome) error {
						plan, res, err := t.ShareInit(c.Context, activate.ShareInitOptions{
							Paths: c.Args().Slice(), Stop: c.StringSlice("stop"), StopAll: c.Bool("stop-all"), DryRun: c.Bool("dry-run"),
						})
						if err != nil {
							return err
						}
						out.Result = res
						if c.Bool("dry-run") {
							out.Result = plan
							for _, p := range plan.Moves() {
								t.Report.Would(fmt.Sprintf("move %s (%s, %d files)", p.Path, render.Size(p.Bytes), p.Files))
							}
						}
						if c.Bool("json") {
							return nil
						}
						for _, path := range res.Moved {
							fmt.Fprintf(c.App.Writer, "moved %s\n", path)
						}
						for _, unit := range res.Stopped {
							fmt.Fprintf(c.App.Writer, "stopped and started %s\n", unit)
						}
						return nil
					})
				},
			},
			{
				Name: "status", Usage: "say of each path of the profile what it is",
				Action: func(c *cli.Context) error {
					if _, err := args(c, 0, 0); err != nil {
						return err
					}
					t, done, err := target(c)
					if err != nil {
						return err
					}
					defer done()
					paths, err := t.ShareStatus(c.Context)
					if err != nil {
						return err
					}
					if c.Bool("json") {
						return render.JSON(c.App.Writer, paths)
					}
					for _, p := range paths {
						fmt.Fprintf(c.App.Writer, "%-12s %s", p.Path, p.State)
						if p.Why != "" {
							fmt.Fprintf(c.App.Writer, ": %s", p.Why)
						}
						fmt.Fprintln(c.App.Writer)
					}
					return nil
				},
			},
		},
		Action: needSubcommand,
	}
}

func shareCommitCommand() *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "delete the directories as they were before they were shared",
		Description: "Every boot environment keeps them in /var/.beadm-old until then.",
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
