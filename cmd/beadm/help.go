package main

import (
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"beadm/be"
)

// helpCommand is ours: the library's lists no subcommands, and says nothing of
// a command that there is none of.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Aliases:   []string{"h"},
		Usage:     "say what there is, or how a command is used",
		ArgsUsage: "[COMMAND [SUBCOMMAND]]",
		Action: func(c *cli.Context) error {
			cmds, names := c.App.Commands, c.Args().Slice()
			if len(names) == 0 {
				return cli.ShowAppHelp(c)
			}
			for i, name := range names {
				at := slices.IndexFunc(cmds, func(cmd *cli.Command) bool { return cmd.HasName(name) })
				switch {
				case at < 0 && i == 0:
					return be.E(be.Usage, "there is no command %q: beadm help lists those there are", name)
				case at < 0:
					return be.E(be.Usage, "there is no command %q in beadm %s: see beadm help %s", name, names[0], names[0])
				}
				cmds = cmds[at].Subcommands
			}
			return newApp(streams{os.Stdin, c.App.Writer, c.App.ErrWriter}).RunContext(c.Context, append(append([]string{"beadm"}, names...), "--help"))
		},
	}
}
