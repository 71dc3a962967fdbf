package main

import (
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/left"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

// outcome is the published JSON of every command that changes something.
type outcome struct {
	Command  string   `json:"command"`
	BE       string   `json:"be,omitempty"`
	DryRun   bool     `json:"dry_run"`
	Would    []string `json:"would,omitempty"` // of a dry run, in order
	Done     []string `json:"done,omitempty"`  // the steps taken, in order
	Notes    []string `json:"notes,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	LeftBehind []left.Place `json:"left_behind,omitempty"` // by the switch that this prepares

	Mountpoint string   `json:"mountpoint,omitempty"`           // mount
	Next       string   `json:"next,omitempty"`                 // rollback: what boots next
	Frees      *int64   `json:"frees_bytes,omitempty"`          // destroy: exactly, or
	AtLeast    int64    `json:"frees_at_least_bytes,omitempty"` // so much of it is known
	Removes    []string `json:"removes,omitempty"`              // destroy
	Promotes   []string `json:"promotes,omitempty"`
	Result     any      `json:"result,omitempty"` // share init, sync run: their reports
}

func (o *outcome) frees(f be.Frees) {
	if f.AtLeast {
		o.AtLeast = f.Bytes
		return
	}
	o.Frees = &f.Bytes
}

// talk is the reporter of every command. A person reads what would be done on
// standard output, notes and warnings on standard error and, with -v, steps. A
// program reads the outcome.
type talk struct {
	out, err io.Writer
	json     bool
	outcome  *outcome
	who      string // "web1: " where it is about a guest
}

func (t talk) Step(what string) {
	logrus.Info(t.who + what)
	t.outcome.Done = append(t.outcome.Done, what)
}

func (t talk) Would(what string) {
	t.outcome.Would = append(t.outcome.Would, what)
	if !t.json {
		fmt.Fprintln(t.out, "would "+what)
	}
}

func (t talk) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.outcome.Notes = append(t.outcome.Notes, text)
	if !t.json {
		fmt.Fprintln(t.err, t.who+text)
	}
}

func (t talk) Warn(format string, args ...any) {
	logrus.Warn(t.who + fmt.Sprintf(format, args...))
	t.outcome.Warnings = append(t.outcome.Warnings, fmt.Sprintf(format, args...))
}

func (t talk) Left(out, in string, places []left.Place) {
	t.outcome.LeftBehind = places
	if !t.json {
		render.Left(t.err, out, in, places)
	}
}

// change opens the target for a command that changes the boot environment
// name, runs it and, where that is asked for, prints its outcome as JSON.
func change(c *cli.Context, name string, do func(t *activate.Target, out *outcome) error) error {
	t, done, err := target(c)
	if err != nil {
		return err
	}
	defer done()
	release, err := holdGuest(c)
	if err != nil {
		return err
	}
	defer release()
	out := t.Report.(talk).outcome
	out.Command, out.BE, out.DryRun = commandName(c), name, c.Bool("dry-run")
	if err := do(t, out); err != nil {
		if c.Bool("json") && be.KindOf(err) == be.Decision && len(out.LeftBehind) > 0 {
			// The decision is about these.
			render.JSON(c.App.Writer, out)
		}
		return err
	}
	if c.Bool("json") {
		return render.JSON(c.App.Writer, out)
	}
	return nil
}

// commandName is "share init" of "beadm share init".
func commandName(c *cli.Context) string {
	name := c.Command.HelpName
	if cut := len(c.App.Name) + 1; len(name) > cut {
		name = name[cut:]
	}
	return name
}
