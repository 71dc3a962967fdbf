package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a command, or a shell, in a boot environment that does not run", ArgsUsage: "BE [-- COMMAND...]",
		Description: "As upgrade does it: no block device, no service manager, none of the shared\ndata. The exit code is the command's.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			a := c.Args().Slice()
			if len(a) == 0 {
				return be.E(be.Usage, "give the boot environment to run a command in: see beadm run --help")
			}
			if len(a) > 1 && a[1] == "--" {
				a = append(a[:1], a[2:]...)
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			command := a[1:]
			if len(command) == 0 {
				command = []string{"/bin/sh"}
			}
			stdout := os.Stdout
			if c.Bool("json") {
				stdout = os.Stderr
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				return t.Run(c.Context, a[0], activate.UpgradeOptions{
					Command: command, DryRun: c.Bool("dry-run"), Stdin: os.Stdin, Stdout: stdout, Stderr: os.Stderr,
				})
			})
		},
	}
}
