package main

import (
	"github.com/urfave/cli/v2"

	"beadm/activate/diff"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "say how a boot environment differs from another one", ArgsUsage: "[OLD] NEW",
		Description: "OLD and NEW may be snapshots, as BE@SNAP; without OLD it is what runs. Packages (dpkg,\napk, pacman), each file of /etc, and the rest by numbers. + is in NEW alone, - in OLD\nalone, ! has other content, ~ another mode, owner or attributes. When a file was\nwritten is no difference; of those over 64 MiB it is.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "p", Aliases: []string{"packages"}, Usage: "packages only"},
			&cli.BoolFlag{Name: "f", Aliases: []string{"files"}, Usage: "files only, each of them, wherever it is"},
			&cli.BoolFlag{Name: "u", Aliases: []string{"unified"}, Usage: "with what changed in the files of /etc that anybody may read, as diff -u"},
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 2)
			if err != nil {
				return err
			}
			what := diff.What{Packages: c.Bool("p"), Files: c.Bool("f"), Text: c.Bool("u")}
			switch {
			case what.Packages && what.Files:
				return be.E(be.Usage, "-p is packages only, and -f is files only: give one, or neither for both")
			case what.Packages && what.Text:
				return be.E(be.Usage, "-p is packages only, and -u shows what is in files: give one")
			}
			old, new := "", a[0]
			if len(a) == 2 {
				old, new = a[0], a[1]
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			r, err := t.Diff(c.Context, old, new, what)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return render.JSON(c.App.Writer, r)
			}
			return render.Compared(c.App.Writer, r, what.Files)
		},
	}
}
