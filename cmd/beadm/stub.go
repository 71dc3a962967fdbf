package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"beadm/activate/boot/stub"
	"beadm/be"
)

// stubConsumeCommand plays the loader for whoever starts a root without one:
// the demonstration, and scripts that start guests.
func stubConsumeCommand() *cli.Command {
	return &cli.Command{
		Name: "stub-consume", Hidden: true, ArgsUsage: "DIR",
		Usage: "take the token of a trial and print which root to start: its place in the store, its title, and trial or default",
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			id, trial, err := stub.Consume(a[0])
			if err != nil {
				return err
			}
			e, err := stub.ReadEntry(a[0], id)
			if err != nil {
				return err
			}
			// A title is any bytes, and this is read by a shell.
			if err := be.CheckName(e.Title); err != nil {
				return err
			}
			word := "default"
			if trial {
				word = "trial"
			}
			fmt.Fprintln(c.App.Writer, e.Root.Prefix, e.Title, word)
			return nil
		},
	}
}
