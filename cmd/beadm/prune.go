package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "destroy boot environments that nobody needs any more",
		Description: "Those that all of the criteria given name, the oldest first. Never one that runs\nor boots next, the default, the previous one, one of a trial, one whose failure\nnobody has acknowledged, one that is pinned or mounted, and never the last that\nwas ever confirmed. Asks unless -F.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "keep", Usage: "all but the newest `N`"},
			&cli.StringFlag{Name: "older", Usage: "those made longer ago than `AGE`: 90d, 12h, 3w"},
			&cli.StringFlag{Name: "until-free", Usage: "as many as it takes until `SIZE` can be written: 500M, 20G"},
			&cli.StringFlag{Name: "pin", Usage: "leave `BE` alone from now on"},
			&cli.StringFlag{Name: "unpin", Usage: "and no longer"},
			&cli.BoolFlag{Name: "F", Usage: "do not ask"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0); err != nil {
				return err
			}
			if c.IsSet("pin") || c.IsSet("unpin") {
				return pin(c)
			}
			opts, err := pruneOptions(c)
			if err != nil {
				return err
			}
			return change(c, "", func(t *activate.Target, out *outcome) error {
				p, err := t.Prune(c.Context, opts)
				out.Result = p
				switch {
				case err != nil && len(p.Destroyed) == 0:
				case !c.Bool("json"):
					render.Pruned(c.App.Writer, p, c.Bool("dry-run"), c.Bool("verbose"))
				case err != nil:
					render.JSON(c.App.Writer, out)
				}
				return err
			})
		},
	}
}

func pin(c *cli.Context) error {
	for _, flag := range []string{"keep", "older", "until-free", "F"} {
		if c.IsSet(flag) {
			return be.E(be.Usage, "--pin and --unpin destroy nothing: give no --%s", flag)
		}
	}
	if c.IsSet("pin") && c.IsSet("unpin") {
		return be.E(be.Usage, "--pin and --unpin exclude each other")
	}
	name := c.String("pin")
	if c.IsSet("unpin") {
		name = c.String("unpin")
	}
	if err := be.CheckName(name); err != nil {
		return err
	}
	return change(c, name, func(t *activate.Target, _ *outcome) error {
		return t.Pin(c.Context, name, c.IsSet("pin"), c.Bool("dry-run"))
	})
}

func pruneOptions(c *cli.Context) (opts activate.PruneOptions, err error) {
	if !c.IsSet("keep") && !c.IsSet("older") && !c.IsSet("until-free") {
		return opts, be.E(be.Usage, "say which may go: --keep N, --older AGE, --until-free SIZE, or several of them")
	}
	if c.IsSet("keep") {
		n, err := strconv.Atoi(c.String("keep"))
		if err != nil || n < 0 {
			return opts, be.E(be.Usage, "--keep takes a number, like 3, not %q", c.String("keep"))
		}
		opts.Keep = &n
	}
	if c.IsSet("older") {
		if opts.Older, err = age(c.String("older")); err != nil {
			return opts, err
		}
	}
	if c.IsSet("until-free") {
		if opts.UntilFree, err = bytesOf(c.String("until-free")); err != nil {
			return opts, err
		}
	}
	opts.DryRun = c.Bool("dry-run")
	if !c.Bool("F") {
		opts.Ask = func(names []string, frees be.Frees) error {
			if frees != (be.Frees{AtLeast: true}) {
				sayFrees(c, frees)
			}
			return sure(c, strings.Join(names, ", "))
		}
	}
	return opts, nil
}

// age reads 90d, 3w or what Go's durations are, like 12h.
func age(text string) (time.Duration, error) {
	days := map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	for unit, is := range days {
		if n, ok := strings.CutSuffix(text, unit); ok {
			if n, err := strconv.ParseUint(n, 10, 16); err == nil && n > 0 {
				return time.Duration(n) * is, nil
			}
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, be.E(be.Usage, "--older takes an age, like 90d, 3w or 12h, not %q", text)
}

// bytesOf reads 500M, 20G: powers of 1024.
func bytesOf(text string) (int64, error) {
	digits, shift := text, 0
	if i := strings.IndexAny(text, "KMGTP"); i >= 0 && i == len(text)-1 {
		digits, shift = text[:i], 10*(1+strings.IndexByte("KMGTP", text[i]))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)>>shift {
		return 0, be.E(be.Usage, "--until-free takes a size, like 500M or 20G, not %q", text)
	}
	return n << shift, nil
}
