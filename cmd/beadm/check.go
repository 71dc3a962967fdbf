package main

import (
	"github.com/urfave/cli/v2"

	"beadm/be"
	"beadm/cmd/beadm/render"
)

// checked is what check prints with --json.
type checked struct {
	Findings []be.Finding `json:"findings"`
}

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "find what in this system's layout is wrong for boot environments", ArgsUsage: "[BE...]",
		Description: "Says what would not boot of what runs, boots next, is the default or the previous\none, or of BE; what every boot environment shares and should not; what is incomplete,\nor mounts itself; and what to do. Changes nothing. Exits with 5 if there is more than\nnotes.",
		Action: func(c *cli.Context) error {
			names := c.Args().Slice()
			for _, name := range names {
				if err := be.CheckName(name); err != nil {
					return err
				}
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			list, err := t.Check(c.Context, names)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = render.JSON(c.App.Writer, checked{append([]be.Finding{}, list...)})
			} else {
				err = render.Findings(c.App.Writer, list)
			}
			serious := 0
			for _, f := range list {
				if f.Severity != be.FindingNote {
					serious++
				}
			}
			if err == nil && serious > 0 {
				err = be.E(be.Decision, "%d of what check found needs you", serious)
			}
			return err
		},
	}
}
