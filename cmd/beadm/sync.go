package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/cmd/beadm/render"
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
	return &cli.Command{
		Name: "sync", Usage: "carry the synclist's files between boot environments",
		Description: "activate and boot do this by themselves.",
		Subcommands: []*cli.Command{
			syncListCommand(), syncStatusCommand(), syncRunCommand(), syncConflictsCommand(), syncDiffCommand(), syncResolveCommand(),
		},
		Action: needSubcommand,
	}
}

func syncFrom() cli.Flag {
	return &cli.StringFlag{Name: "from", Usage: "carry what `BE` changed; without it, the running one"}
}

func syncTo() cli.Flag {
	return &cli.StringFlag{Name: "to", Usage: "carry it to `BE`; without it, the running one"}
}

// inTo is the flag of those that look at what was carried.
func inTo() cli.Flag {
	return &cli.StringFlag{Name: "to", Usage: "of what was carried to `BE`; without it, the running one"}
}

// named is a flag's boot environment; an empty name is not the running one.
func named(c *cli.Context, flag string) (string, error) {
	if !c.IsSet(flag) {
		return "", nil
	}
	return c.String(flag), be.CheckName(c.String(flag))
}

func syncRunCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "carry them now",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "strict", Usage: "do nothing when a file is in conflict (exit 5)"}, dryRun(), syncFrom(), syncTo(),
		},
		Action: func(c *cli.Context) error { return syncRun(c, c.Bool("dry-run")) },
	}
}

func syncStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say what would be carried",
		Flags:  []cli.Flag{syncFrom(), syncTo()},
		Action: func(c *cli.Context) error { return syncRun(c, true) },
	}
}

func syncRun(c *cli.Context, dry bool) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	if !c.IsSet("from") && !c.IsSet("to") {
		return be.E(be.Usage, "give --from, --to or both: the one left out is the running boot environment")
	}
	from, err := named(c, "from")
	if err != nil {
		return err
	}
	to, err := named(c, "to")
	if err != nil {
		return err
	}
	return change(c, to, func(t *activate.Target, out *outcome) error {
		out.DryRun = dry
		report, err := t.Sync(c.Context, to, activate.SyncOptions{
			From: from, DryRun: dry, Strict: c.Bool("strict"), Aside: from != "",
		})
		if err != nil {
			return err
		}
		out.Result = report
		if c.Bool("json") {
			return nil
		}
		return render.SyncReport(c.App.Writer, report)
	})
}

// readOnly opens the target for a command that prints what it reads: value as
// JSON, or as text.
func readOnly[T any](c *cli.Context, read func(t *activate.Target) (T, error), text func(w io.Writer, value T) error) error {
	t, done, err := target(c)
	if err != nil {
		return err
	}
	defer done()
	value, err := read(t)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return render.JSON(c.App.Writer, value)
	}
	return text(c.App.Writer, value)
}

func syncListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "print the list in force, and where each line comes from",
		Flags: []cli.Flag{&cli.StringFlag{Name: "from", Usage: "the list of `BE`; without it, of the running one"}},
		Action: func(c *cli.Context) error {
			name, err := named(c, "from")
			if err != nil {
				return err
			}
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return readOnly(c, func(t *activate.Target) (render.List, error) {
				list, err := t.Synclist(c.Context, name)
				return render.List(list), err
			}, render.Synclist)
		},
	}
}

func syncConflictsCommand() *cli.Command {
	return &cli.Command{
		Name: "conflicts", Usage: "list the files that were changed on both sides",
		Flags: []cli.Flag{inTo()},
		Action: func(c *cli.Context) error {
			name, err := named(c, "to")
			if err != nil {
				return err
			}
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return readOnly(c, func(t *activate.Target) ([]activate.OpenConflict, error) {
				return t.Conflicts(c.Context, name)
			}, render.Conflicts)
		},
	}
}

func syncDiffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "show what each side changed in a file that is in conflict", ArgsUsage: "PATH",
		Flags: []cli.Flag{inTo()},
		Action: func(c *cli.Context) error {
			name, err := named(c, "to")
			if err != nil {
				return err
			}
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			return readOnly(c, func(t *activate.Target) (render.Diff, error) {
				conflict, sides, err := t.ConflictSides(c.Context, name, a[0])
				return render.Differences(conflict, sides), err
			}, render.DiffText)
		},
	}
}

func syncResolveCommand() *cli.Command {
	return &cli.Command{
		Name: "resolve", Usage: "decide about a file that is in conflict", ArgsUsage: "PATH",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "take", Usage: "`SIDE`: outgoing, incoming, or the path of a file with what is to be in it"}, inTo(), dryRun(),
		},
		Action: func(c *cli.Context) error {
			name, err := named(c, "to")
			if err != nil {
				return err
			}
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			opts := activate.ResolveOptions{BE: name, Path: a[0], DryRun: c.Bool("dry-run")}
			switch take := c.String("take"); {
			case take == "outgoing" || take == "incoming":
				opts.Take = reconcile.Take(take)
			case strings.Contains(take, "/"):
				opts.Take, opts.File = reconcile.TakeFile, take
			default:
				return be.E(be.Usage, "give --take outgoing, --take incoming, or --take and a file's path with a / in it")
			}
			return change(c, name, func(t *activate.Target, out *outcome) error {
				kept, err := t.Resolve(c.Context, opts)
				if err == nil && kept != "" {
					t.Report.Note("what stood there is kept as %s", rooted.Printable(kept))
				}
				return err
			})
		},
	}
}
