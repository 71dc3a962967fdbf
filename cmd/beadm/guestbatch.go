package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func machines(c *cli.Context, list []guest.Guest) ([]*activate.Machine, error) {
	var ms []*activate.Machine
	for _, g := range list {
		m, err := guestMachine(c, g)
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func batchOptions(c *cli.Context, list []guest.Guest) (activate.BatchOptions, error) {
	opts := activate.BatchOptions{Parallel: c.Int("parallel"), MaxFailures: c.Int("max-failures"), Canary: map[string]bool{}}
	canaries, err := namedBy("canary", c.StringSlice("canary"), list)
	if be.KindOf(err) == be.NotFound {
		return opts, be.E(be.NotFound, "--canary names none of the guests that -g does: %w", err)
	}
	if err != nil {
		return opts, err
	}
	for _, g := range canaries {
		opts.Canary[g.Name] = true
	}
	return opts, nil
}

// batch switches the guests and says how each came out of it.
func batch(c *cli.Context, list []guest.Guest, prepare, begin func(context.Context, *activate.Machine) error) error {
	opts, err := batchOptions(c, list)
	if err != nil {
		return err
	}
	opts.Prepare, opts.Begin = prepare, begin
	ms, err := machines(c, list)
	if err != nil {
		return err
	}
	width := 0
	for _, g := range list {
		width = max(width, len(g.Name))
	}
	var progress func(activate.Switched)
	if !c.Bool("json") {
		progress = func(s activate.Switched) {
			if len(list) > 1 || s.Outcome != activate.Refused { // else the error says it
				render.Switched(c.App.Writer, s, width)
			}
		}
	}
	results := activate.Batch(c.Context, ms, opts, progress)
	err = activate.BatchError(c.Context, results)
	if c.Bool("json") {
		return orError(err, render.JSON(c.App.Writer, map[string]any{"command": commandName(c), "guests": results}))
	}
	return err
}

func orError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func activateGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	switch {
	case c.Bool("T"):
		return eachGuest(c, list, action)
	case c.Bool("t"):
		return be.E(be.Usage, "-t is for the host: a guest's trial is watched by its host, and ends with a switch back")
	case c.Bool("reboot"):
		return be.E(be.Usage, "--reboot is for the host: a guest is restarted by activate itself")
	case c.Bool("fast"):
		return action(c)
	}
	a, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	if err := be.CheckName(a[0]); err != nil {
		return err
	}
	opts, err := trialOptions(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return eachGuest(c, list, func(c *cli.Context) error {
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				if err := t.Activate(c.Context, a[0], opts); err != nil {
					return err
				}
				wouldRestart(t, guestOf(c.Context))
				return nil
			})
		})
	}
	opts.Permanent = c.Bool("permanent")
	return batch(c, list, func(ctx context.Context, m *activate.Machine) error { return m.Prepare(ctx, a[0], opts) }, nil)
}

func wouldRestart(t *activate.Target, g *guest.Guest) {
	if !g.Running {
		t.Report.Would("exchange the root of " + g.Name + ", which does not run")
		return
	}
	t.Report.Would("stop " + g.Name + ", exchange its root, start it and watch it")
}

func rollbackGuests(c *cli.Context, list []guest.Guest, _ cli.ActionFunc) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	back := c.Generic("share").(*anyOf)
	if err := back.check("share"); err != nil {
		return err
	}
	if c.Bool("reboot") {
		return be.E(be.Usage, "--reboot is for the host: a guest is restarted by rollback itself")
	}
	opts := activate.RollbackOptions{DryRun: c.Bool("dry-run"), Share: back.given, SharePaths: back.list}
	if opts.DryRun {
		return eachGuest(c, list, func(c *cli.Context) error {
			return change(c, "", func(t *activate.Target, out *outcome) (err error) {
				if out.BE, err = t.Rollback(c.Context, opts); err == nil {
					wouldRestart(t, guestOf(c.Context))
				}
				return err
			})
		})
	}
	return batch(c, list, nil, func(ctx context.Context, m *activate.Machine) error {
		t, done, err := m.Open(ctx)
		if err != nil {
			return err
		}
		defer done()
		_, err = t.Rollback(ctx, opts)
		return err
	})
}

// thenActivate switches those for which a command with -a has succeeded, which
// has armed their trials.
func thenActivate(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	good, err := forEachGuest(c, list, action)
	return switchArmed(c, good, err)
}

// switchArmed switches those for which a command has succeeded, if it was given
// -a; err is what became of the others.
func switchArmed(c *cli.Context, good []guest.Guest, err error) error {
	if !c.Bool("activate") || c.Bool("dry-run") || len(good) == 0 {
		return err
	}
	if berr := batch(c, good, nil, nil); berr != nil {
		return berr
	}
	return err
}

func upgradeGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Bool("reboot") {
		return be.E(be.Usage, "--reboot is for the host: a guest is restarted by -a itself")
	}
	return thenActivate(c, list, action)
}

func recoverGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Bool("dry-run") || c.IsSet("give-up") {
		return eachGuest(c, list, action)
	}
	return eachGuest(c, list, func(c *cli.Context) error {
		if _, err := args(c, 0, 0); err != nil {
			return err
		}
		m, err := guestMachine(c, *guestOf(c.Context))
		if err != nil {
			return err
		}
		did, err := m.Recover(c.Context)
		if c.Bool("json") {
			return orError(err, render.JSON(c.App.Writer, outcome{Command: commandName(c), Done: did}))
		}
		for _, what := range did {
			fmt.Fprintln(c.App.Writer, what)
		}
		return err
	})
}

// shareGuests stops a guest whose directories are to move: who holds files
// there is inside it.
func shareGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	switch c.Command.Name {
	case "init", "add", "remove", "undo":
	default:
		return eachGuest(c, list, action)
	}
	if len(c.StringSlice("stop")) > 0 {
		return be.E(be.Usage, "--stop is for the host: give --stop-all, and each guest is stopped while its directories move")
	}
	return eachGuest(c, list, func(c *cli.Context) error {
		g := *guestOf(c.Context)
		m, err := guestMachine(c, g)
		if err != nil {
			return err
		}
		if s, ok := m.Runtime.(guest.Sharer); ok && (c.Command.Name == "init" || c.Command.Name == "add") {
			if err := s.MayShare(c.Context, g); err != nil {
				return err
			}
		}
		if !g.Running || c.Bool("dry-run") {
			return action(c)
		}
		if !c.Bool("stop-all") {
			return be.E(be.InUse, "it runs, and its directories are in use: give --stop-all to have it stopped and started again; nothing was changed")
		}
		return m.Stopped(c.Context, func() error { return action(c) })
	})
}
