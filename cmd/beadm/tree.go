package main

import (
	"cmp"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/be"
	"beadm/cmd/beadm/render"
)

func treeCommand() *cli.Command {
	return &cli.Command{
		Name: "tree", Usage: "show which boot environment was made from which",
		Description: "Active is as in list; From is the snapshot of the one above that it was cloned\nfrom. What was made from one that is gone stands at the edge. Destroying one that\nothers were cloned from makes one of those stand in its place, on ZFS.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "svg", Usage: "as a picture for a browser, in SVG"},
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			if c.Bool("svg") && c.Bool("json") {
				return be.E(be.Usage, "--svg and --json are two forms: give one")
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			list, err := t.List(c.Context)
			if err != nil {
				return err
			}
			tree := render.Lineage(list)
			switch {
			case c.Bool("json"):
				return render.JSON(c.App.Writer, tree)
			case c.Bool("svg"):
				return render.TreeSVG(c.App.Writer, tree)
			}
			return render.TreeText(c.App.Writer, tree, inUTF8())
		},
	}
}

// inUTF8 says whether the user's terminal is to get UTF-8 (locale(7)).
func inUTF8() bool {
	name := strings.ToLower(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")))
	return strings.Contains(name, "utf-8") || strings.Contains(name, "utf8")
}
