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
		Description: "COMMAND reaches as little as that of upgrade. The exit status is COMMAND's;\na line on standard error that begins with \"beadm: \" says that it is beadm's:\nCOMMAND was not run, or what it left could not be put away.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			name, command, err := beAndCommand(c, "run")
			if err != nil {
				return err
			}
			return change(c, name, func(t *activate.Target, _ *outcome) error {
				return t.Run(c.Context, name, activate.RunOptions{
					Command: command, DryRun: c.Bool("dry-run"), Stdin: os.Stdin, Stdout: commandsOutput(c), Stderr: os.Stderr,
				})
			})
		},
	}
}

// beAndCommand are the arguments of upgrade and run: BE [--] [COMMAND...].
func beAndCommand(c *cli.Context, verb string) (name string, command []string, err error) {
	a := c.Args().Slice()
	if len(a) == 0 {
		return "", nil, be.E(be.Usage, "give the boot environment to %s: see beadm %s --help", verb, verb)
	}
	if err := be.CheckName(a[0]); err != nil {
		return "", nil, err
	}
	if len(a) > 1 && a[1] == "--" {
		a = append(a[:1], a[2:]...)
	}
	return a[0], a[1:], nil
}

// commandsOutput is where a command in a boot environment writes. Its words
// must not stand between the JSON.
func commandsOutput(c *cli.Context) *os.File {
	if c.Bool("json") {
		return os.Stderr
	}
	return os.Stdout
}
