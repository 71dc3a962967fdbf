package main

import (
	"cmp"
	"slices"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the boot environments", ArgsUsage: "[BE]",
		Description: "Active shows N for the one that runs now, R for the one that boots next\n(an armed trial too), T for one that boots once.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "a", Usage: "with what each consists of, and its snapshots: as -ds"},
			&cli.BoolFlag{Name: "d", Usage: "with the datasets or subvolumes that each consists of"},
			&cli.BoolFlag{Name: "s", Usage: "with the snapshots of each"},
			&cli.BoolFlag{Name: "H", Usage: "for scripts: no header, fixed fields"},
			&cli.StringFlag{Name: "k", Usage: "sort by `KEY`: name, date, space", Value: "date"},
			&cli.StringFlag{Name: "K", Usage: "sort by `KEY`, descending"},
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 0, 1)
			if err != nil {
				return err
			}
			dialect := listDialect(c)
			parts, snapshots := c.Bool("d") || c.Bool("a"), c.Bool("s") || c.Bool("a")
			if c.Bool("a") && (c.Bool("d") || c.Bool("s")) {
				return be.E(be.Usage, "-a is -ds: give one or the other")
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
			fields := c.Bool("H") && !c.Bool("json")
			if len(a) == 1 {
				if err := be.CheckName(a[0]); err != nil {
					return err
				}
				list = only(list, a[0])
				if len(list) == 0 {
					return be.E(be.NotFound, "there is no boot environment %s: beadm list shows those there are", a[0])
				}
			}
			if fields {
				// A script would take it for a whole one.
				list = slices.DeleteFunc(list, func(l activate.Listed) bool { return l.Incomplete })
				if len(a) == 1 && len(list) == 0 {
					return be.E(be.InUse, "boot environment %s is incomplete: run beadm recover, or beadm destroy %s", a[0], a[0])
				}
			}
			key, descending := c.String("k"), false
			if c.IsSet("K") {
				key, descending = c.String("K"), true
			}
			if err := t.Measure(c.Context, list); err != nil {
				return err
			}
			if err := render.Sort(list, key, descending); err != nil {
				return err
			}
			if parts || snapshots {
				// Its rows tell of origins too.
				bectl := fields && dialect == "bectl"
				if err := t.Detail(c.Context, list, parts || bectl, snapshots || bectl); err != nil {
					return err
				}
			}
			switch {
			case c.Bool("json"):
				return render.ListJSON(c.App.Writer, list)
			case (parts || snapshots) && c.Bool("H"):
				return render.ListDetailFields(c.App.Writer, list, dialect, parts, snapshots)
			case parts || snapshots:
				return render.ListDetailText(c.App.Writer, list, parts, snapshots)
			case c.Bool("H"):
				return render.ListFields(c.App.Writer, list, dialect)
			}
			return render.ListText(c.App.Writer, list)
		},
	}
}

// listDialect is whose fields -H prints.
func listDialect(c *cli.Context) string { return cmp.Or(c.String("dialect"), render.NativeDialect()) }

func only(list []activate.Listed, name string) []activate.Listed {
	for _, l := range list {
		if l.Name == name {
			return []activate.Listed{l}
		}
	}
	return nil
}
