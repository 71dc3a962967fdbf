package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func dryRun() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what would be done, change nothing"}
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "clone a boot environment", ArgsUsage: "BE[@SNAP]",
		Description: "With all its subordinate datasets and their local properties. The running\none goes on running meanwhile. BE@SNAP makes a snapshot, as beadm snapshot.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "e", Usage: "clone `SOURCE`, a BE or a BE@SNAP, in place of the running one; with -g also GUEST/BE, a template"},
			&cli.StringFlag{Name: "d", Usage: "describe it as `TEXT`"},
			&cli.StringSliceFlag{Name: "o", Usage: "set the property `P=V` on its root"},
			&cli.BoolFlag{Name: "empty", Usage: "make an empty one"},
			&cli.BoolFlag{Name: "activate", Aliases: []string{"a"}, Usage: "activate it afterwards"},
			&cli.BoolFlag{Name: "t", Usage: "start it once, as activate -t"},
			withGuestsFlag("also in each guest, or in those that match `[=GLOB,...]`, of what it runs: all or none; they are activated, confirmed and come back with it"),
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if name, snap, is := be.SplitSnapshot(a[0]); is {
				return createSnapshot(c, name, snap)
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			if c.Bool("t") && c.Bool("activate") {
				return be.E(be.Usage, "-a and -t exclude each other")
			}
			if c.Bool("empty") && c.IsSet("e") {
				return be.E(be.Usage, "-e and --empty exclude each other")
			}
			template := templateOf(c.Context)
			if of, _, snap := strings.Cut(c.String("e"), "@"); template == nil && strings.Contains(of, "/") && !snap {
				return be.E(be.Usage, "%q is no name of a boot environment: one of a guest, GUEST/BE, is a template for other guests; give -g GLOB for which", c.String("e"))
			}
			if c.IsSet("e") && template == nil { // an empty name is not the running one
				from, _, _ := be.SplitSnapshot(c.String("e"))
				if err := be.CheckName(from); err != nil {
					return err
				}
			}
			with := withGuests(c)
			if err := checkWithGuests(c); err != nil {
				return err
			}
			if with.given && (c.Bool("empty") || c.IsSet("e")) {
				return be.E(be.Usage, "--with-guests is for a clone of what runs: give neither -e nor --empty")
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				guests, err := guestsWith(c)
				if err != nil {
					return err
				}
				trial := activate.ActivateOptions{Once: c.Bool("t")}
				starts := c.Bool("activate") || c.Bool("t")
				if starts {
					if _, err := trial.Within(t.Conf); err != nil {
						return err
					}
				}
				opts := activate.CreateOptions{
					Template: template, Empty: c.Bool("empty"), Description: c.String("d"), Properties: c.StringSlice("o"), DryRun: c.Bool("dry-run"), Guests: guests, Joint: jointOf(c.Context),
				}
				if template == nil {
					opts.From = c.String("e")
				}
				_, err = t.Create(c.Context, a[0], opts)
				switch {
				case err != nil || !starts:
					return err
				case c.Bool("dry-run"):
					once := map[bool]string{true: "once "}[c.Bool("t")]
					t.Report.Would("activate " + once + a[0])
					return nil
				}
				return t.Activate(c.Context, a[0], trial)
			})
		},
	}
}

func destroyCommand() *cli.Command {
	return &cli.Command{
		Name: "destroy", Usage: "destroy a boot environment, or a snapshot of one", ArgsUsage: "BE[@SNAP]",
		Description: "Asks unless -F. Never the one that runs, the default, or one of an armed trial.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "F", Usage: "do not ask"},
			&cli.BoolFlag{Name: "f", Usage: "unmount it first"},
			&cli.BoolFlag{Name: "o", Usage: "also the snapshot that it was cloned from, if nothing else was"},
			&cli.BoolFlag{Name: "s", Usage: "with its snapshots, as is done without it"},
			&cli.BoolFlag{Name: "with-guests", Usage: "also what belongs to it in guests"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if name, snap, is := be.SplitSnapshot(a[0]); is {
				return destroySnapshot(c, name, snap)
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			if err := checkWithGuests(c); err != nil {
				return err
			}
			return change(c, a[0], func(t *activate.Target, out *outcome) error {
				destroy := t.Destroy
				if c.Bool("with-guests") {
					destroy = t.DestroyWithGuests
				}
				// Also before it asks: nobody is asked about what is refused.
				report, err := destroy(c.Context, a[0], c.Bool("f"), true)
				if err != nil {
					return err
				}
				origin := ""
				if c.Bool("o") {
					if origin, err = originOf(c.Context, t, a[0]); err != nil {
						return err
					}
				}
				frees := be.Frees{Bytes: report.Frees, AtLeast: report.AtLeast}
				out.frees(frees)
				out.Removes, out.Promotes = report.Removes, report.Promotes
				if c.Bool("dry-run") {
					for _, gone := range report.Removes {
						t.Report.Would("remove " + gone)
					}
					for _, p := range report.Promotes {
						t.Report.Would("promote " + p)
					}
					t.Report.Would("free " + render.Frees(frees))
					if origin != "" && !slices.ContainsFunc(report.Removes, func(gone string) bool { return strings.HasSuffix(gone, origin) }) {
						t.Report.Would("destroy " + origin + ", if nothing else was cloned from it")
					}
					return nil
				}
				sayFrees(c, frees)
				if err := sure(c, a[0]); err != nil {
					return err
				}
				if _, err = destroy(c.Context, a[0], c.Bool("f"), false); err != nil {
					return err
				}
				t.Report.Note("%s is destroyed: %s", a[0], render.Freed(frees))
				return destroyOrigin(c.Context, t, origin)
			})
		},
	}
}

// originOf is the snapshot that a boot environment was cloned from, BE@SNAP, or
// empty.
func originOf(ctx context.Context, t *activate.Target, name string) (string, error) {
	all, err := t.List(ctx)
	for _, b := range all {
		if b.Name == name {
			return b.Origin, err
		}
	}
	return "", err
}

// destroyOrigin destroys it after its clone. An automatic one went with that; one
// that others came of stays.
func destroyOrigin(ctx context.Context, t *activate.Target, origin string) error {
	name, snap, is := be.SplitSnapshot(origin)
	if !is {
		return nil
	}
	switch err := t.DestroySnapshot(ctx, name, snap, false); be.KindOf(err) {
	case be.NotFound:
		return nil
	case be.InUse:
		t.Report.Note("%s stays: %v", origin, err)
		return nil
	default:
		if err == nil {
			t.Report.Note("%s is destroyed", origin)
		}
		return err
	}
}

// sayFrees says, unless -F, what the answer to the question is about.
func sayFrees(c *cli.Context, frees be.Frees) {
	if !c.Bool("F") {
		fmt.Fprintf(c.App.ErrWriter, "This frees %s.\n", render.Frees(frees))
	}
}

// sure asks, unless -F, whether what is to be destroyed.
func sure(c *cli.Context, what string) error {
	if c.Bool("F") {
		return nil
	}
	fmt.Fprintf(c.App.ErrWriter, "Are you sure you want to destroy %s?\nThis action cannot be undone (y/[n]): ", what)
	answer, err := readAnswer(c.Context, c.App.Reader)
	if err != nil {
		fmt.Fprintln(c.App.ErrWriter)
		return fmt.Errorf("%s has not been destroyed: %w", what, err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return be.E(be.Decision, "%s has not been destroyed", what)
	}
	return nil
}

// readAnswer reads a line, and waits for it no longer than ctx: whoever is
// asked may as well interrupt.
func readAnswer(ctx context.Context, in io.Reader) (string, error) {
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func mountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "mount a boot environment and print where", ArgsUsage: "BE [DIR]",
		Description: "Read-write, what is written to the shared directories goes to a staging\ndirectory, never to the live data.",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "s", Usage: "`MODE` ro or rw", Value: "rw"}, dryRun()},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 2)
			if err != nil {
				return err
			}
			if m := c.String("s"); m != "ro" && m != "rw" {
				return be.E(be.Usage, "-s takes ro or rw, not %q", m)
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			dir := ""
			if len(a) == 2 {
				dir = a[1]
			}
			return change(c, a[0], func(t *activate.Target, out *outcome) (err error) {
				out.Mountpoint, err = t.Mount(c.Context, a[0], dir, c.String("s") == "ro", c.Bool("dry-run"))
				if err == nil && !c.Bool("json") && !c.Bool("dry-run") {
					fmt.Fprintln(c.App.Writer, out.Mountpoint)
				}
				return err
			})
		},
	}
}

func unmountCommand() *cli.Command {
	return &cli.Command{
		Name: "unmount", Aliases: []string{"umount"}, Usage: "unmount a boot environment", ArgsUsage: "BE",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "f", Usage: "also when files in it are open"}, dryRun()},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				return t.Unmount(c.Context, a[0], c.Bool("f"), c.Bool("dry-run"))
			})
		},
	}
}

func renameCommand() *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "rename a boot environment that does not run", ArgsUsage: "BE NEW",
		Description: "Neither the default nor one that is mounted. Its menu entry goes with it.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			a, err := args(c, 2, 2)
			if err != nil {
				return err
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				return t.Rename(c.Context, a[0], a[1], c.Bool("dry-run"))
			})
		},
	}
}

func describeCommand() *cli.Command {
	return &cli.Command{
		Name: "describe", Usage: "describe a boot environment", ArgsUsage: "BE TEXT",
		Flags: []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			a, err := args(c, 2, 2)
			if err != nil {
				return err
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				return t.Describe(c.Context, a[0], a[1], c.Bool("dry-run"))
			})
		},
	}
}
