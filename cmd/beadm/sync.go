package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	reconcile "beadm/sync"
)

func needSubcommand(c *cli.Context) error {
	if c.Args().Present() {
		return be.E(be.Usage, "there is no command %q in %s: see %s --help", c.Args().First(), c.Command.HelpName, c.Command.HelpName)
	}
	cli.ShowSubcommandHelp(c)
	return be.E(be.Usage, "give a command of %s", c.Command.HelpName)
}

func syncCommand() *cli.Command {
	between := []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "carry what `BE` changed; without it, the running one"},
		&cli.StringFlag{Name: "to", Usage: "carry it to `BE`; without it, the running one"},
	}
	do := func(c *cli.Context, dry bool) error {
		if _, err := args(c, 0, 0); err != nil {
			return err
		}
		if !c.IsSet("from") && !c.IsSet("to") {
			return be.E(be.Usage, "give --from, --to or both: the one left out is the running boot environment")
		}
		for _, flag := range []string{"from", "to"} {
			if c.IsSet(flag) { // an empty name is not the running one
				if err := be.CheckName(c.String(flag)); err != nil {
					return err
				}
			}
		}
		return change(c, c.String("to"), func(t *activate.Target, out *outcome) error {
			out.DryRun = dry
			report, err := t.Sync(c.Context, c.String("to"), activate.SyncOptions{
				From: c.String("from"), DryRun: dry, Strict: c.Bool("strict"), Aside: c.IsSet("from"),
			})
			if err != nil {
				return err
			}
			out.Result = report
			if c.Bool("json") {
				return nil
			}
			return printReport(c.App.Writer, report)
		})
	}
	return &cli.Command{
		Name: "sync", Usage: "carry the synclist's files between boot environments",
		Description: "activate and boot do this by themselves.",
		Subcommands: []*cli.Command{
			{
				Name: "run", Usage: "carry them now",
				Flags:  append([]cli.Flag{&cli.BoolFlag{Name: "strict", Usage: "do nothing when a file is in conflict (exit 5)"}, dryRun()}, between...),
				Action: func(c *cli.Context) error { return do(c, c.Bool("dry-run")) },
			},
			{
				Name: "status", Usage: "say what would be carried",
				Flags:  between,
				Action: func(c *cli.Context) error { return do(c, true) },
			},
		},
		Action: needSubcommand,
	}
}

func printReport(w io.Writer, r reconcile.Report) error {
	if len(r.Items) == 0 {
		fmt.Fprintln(w, "nothing to carry")
	}
	for _, item := range r.Items {
		fmt.Fprintf(w, "%-9s %s", item.Action, item.Path)
		if item.Reason != "" {
			fmt.Fprintf(w, ": %s", item.Reason)
		}
		fmt.Fprintln(w)
		for _, e := range item.Records {
			fmt.Fprintf(w, "          %v\n", e)
		}
	}
	return nil
}
