package main

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	opts := activate.BatchOptions{Parallel: c.Int("parallel"), MaxFailures: c.Int("max-failures"), Canary: map[guest.Guest]bool{}}
	canaries, err := namedBy("canary", c.StringSlice("canary"), list)
	if be.KindOf(err) == be.NotFound {
		return opts, be.E(be.NotFound, "--canary names none of the guests that -g does: %w", err)
	}
	if err != nil {
		return opts, err
	}
	for _, g := range canaries {
		if !g.Running {
			return opts, be.E(be.Decision, "the canary %s does not run, and would show nothing: start it, or name another", g.Name)
		}
		opts.Canary[g] = true
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
	if opts.Permanent = c.Bool("permanent"); opts.Permanent {
		// It takes no way back: only for a guest whose turn it is.
		return batch(c, list, nil, func(ctx context.Context, m *activate.Machine) error {
			t, done, err := m.Open(ctx)
			if err != nil {
				return err
			}
			defer done()
			return t.Activate(ctx, a[0], opts)
		})
	}
	return batch(c, list, func(ctx context.Context, m *activate.Machine) error { return m.Prepare(ctx, a[0], opts) }, nil)
}

func wouldRestart(t *activate.Target, g *guest.Guest) {
	if !g.Running {
		t.Report.Would("exchange the root of " + g.Name + ", which does not run")
		return
	}
	t.Report.Would("stop " + g.Name + ", exchange its root, start it and watch it")
}

func rollbackGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Args().Present() {
		return eachGuest(c, list, action) // BE@SNAP: it restarts nothing
	}
	back := c.Generic("share").(*anyOf)
	if err := back.check("share", "/var/mail,/var/spool"); err != nil {
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
	return andActivate(c, list, func() (map[guest.Guest]error, error) { return forEachGuest(c, list, action) })
}

// andActivate switches those guests for which do has succeeded, if the command
// was given -a; do returns why it failed for others.
func andActivate(c *cli.Context, list []guest.Guest, do func() (map[guest.Guest]error, error)) error {
	if !c.Bool("activate") || c.Bool("dry-run") {
		_, err := do()
		return err
	}
	if _, err := batchOptions(c, list); err != nil { // before anything is done
		return err
	}
	out := c.App.Writer
	if c.Bool("json") {
		c.App.Writer = io.Discard // what became of each is in the batch's own
	}
	why, err := do()
	c.App.Writer = out
	if why == nil {
		return err // nothing was begun
	}
	if len(why) == len(list) {
		if c.Bool("json") {
			return orError(err, batch(c, list, failed(why), nil))
		}
		return err
	}
	return orError(batch(c, list, failed(why), nil), err)
}

// failed refuses those guests for which a command before the batch has failed.
func failed(why map[guest.Guest]error) func(context.Context, *activate.Machine) error {
	return func(_ context.Context, m *activate.Machine) error { return why[m.Guest] }
}

func confirmGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Bool("auto") {
		return be.E(be.Usage, "--auto is for the host: a guest's trial is watched by the activate that began it, or by recover")
	}
	return eachGuest(c, list, action)
}

func upgradeGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Bool("reboot") {
		return be.E(be.Usage, "--reboot is for the host: a guest is restarted by -a itself")
	}
	return andActivate(c, list, func() (map[guest.Guest]error, error) {
		return fromOneInstant(c, list, c.Args().First(), "", 1, action)
	})
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
		if c.Bool("dry-run") {
			return action(c)
		}
		// It may have been started since the list was made.
		now, err := m.Running(c.Context)
		if err != nil {
			return err
		}
		if now && !c.Bool("stop-all") {
			return be.E(be.InUse, "it runs, and its directories are in use: give --stop-all to have it stopped and started again; nothing was changed")
		}
		if now {
			if err := wouldDo(c, action); err != nil {
				return err
			}
		}
		return m.Stopped(c.Context, func() error {
			c.Context = context.WithValue(c.Context, heldKey{}, true)
			return action(c)
		})
	})
}

// wouldDo says, as an error, why the command would be refused: a guest is not
// stopped for nothing.
func wouldDo(c *cli.Context, action cli.ActionFunc) error {
	out, errs := c.App.Writer, c.App.ErrWriter
	c.App.Writer, c.App.ErrWriter = io.Discard, io.Discard
	defer func() { c.App.Writer, c.App.ErrWriter = out, errs }()
	if err := c.Set("dry-run", "true"); err != nil {
		return err
	}
	err := action(c)
	return errors.Join(err, c.Set("dry-run", "false"))
}
