package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func shareListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the snapshots of the shared data, and what each was made for",
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			return readOnly(c, func(t *activate.Target) ([]activate.ShareSnapshot, error) {
				return t.ShareSnapshots(c.Context)
			}, render.ShareSnapshots)
		},
	}
}

func shareSnapshotCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Usage: "make a snapshot of the shared data, or destroy one", ArgsUsage: "[NAME]",
		Description: "It is kept until it is destroyed; those of switches come and go by themselves.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "destroy", Aliases: []string{"d"}, Usage: "destroy the snapshot NAME"}, dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 0, 1)
			if err != nil {
				return err
			}
			name := c.Args().First()
			if len(a) == 1 && name == "" || c.Bool("destroy") && name == "" {
				return be.E(be.Usage, "give the name of the snapshot: beadm share list shows those there are")
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				if c.Bool("destroy") {
					return t.DestroyShareSnapshot(c.Context, name, c.Bool("dry-run"))
				}
				made, err := t.SnapshotShare(c.Context, name, c.Bool("dry-run"))
				if err != nil {
					return err
				}
				out.Result = map[string]string{"snapshot": made}
				if !c.Bool("json") && !c.Bool("dry-run") {
					fmt.Fprintln(c.App.Writer, made)
				}
				return nil
			})
		},
	}
}

func shareRestoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "bring back what a snapshot of the shared data holds", ArgsUsage: "SNAPSHOT PATH...",
		Description: "Nothing is deleted. A mailbox gets the messages that it lacks, under its locks;\nso do Maildir and MH folders. A file that has only grown stays; any other that\ndiffers is set aside. A snapshot of what is there now is made first.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			a := c.Args().Slice()
			if len(a) < 2 {
				return be.E(be.Usage, "give a snapshot, which beadm share list shows, and what to restore from it, such as /var/mail")
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				res, err := t.RestoreShare(c.Context, a[0], a[1:], c.Bool("dry-run"))
				if res.Snapshot == "" {
					return err
				}
				out.Result = res
				if c.Bool("json") {
					if err != nil {
						render.JSON(c.App.Writer, out)
					}
					return err
				}
				if perr := render.Restored(c.App.Writer, res, c.Bool("dry-run")); err == nil {
					err = perr
				}
				return err
			})
		},
	}
}
