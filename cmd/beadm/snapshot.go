package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

func snapshotCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshot", Usage: "make a snapshot of a boot environment", ArgsUsage: "BE[@SNAP]",
		Description: "Without @SNAP it is named by the time. It is kept until beadm destroy BE@SNAP.\nbeadm create -e BE@SNAP makes a boot environment of it.",
		Flags:       []cli.Flag{dryRun()},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			name, snap, isSnap := be.SplitSnapshot(a[0])
			if isSnap && snap == "" {
				return be.E(be.Usage, "%q names no snapshot: give BE@SNAP, or BE for one named by the time", a[0])
			}
			made, err := snapshot(c, name, snap)
			if err == nil && !c.Bool("json") && !c.Bool("dry-run") {
				fmt.Fprintln(c.App.Writer, made)
			}
			return err
		},
	}
}

// snapshot makes one and returns its name as BE@SNAP.
func snapshot(c *cli.Context, name, snap string) (made string, err error) {
	if err := be.CheckName(name); err != nil {
		return "", err
	}
	err = change(c, name, func(t *activate.Target, out *outcome) error {
		is, err := t.Snapshot(c.Context, name, snap, c.Bool("dry-run"))
		if err != nil {
			return err
		}
		made = name + "@" + is
		out.Result = map[string]string{"snapshot": made}
		return nil
	})
	return made, err
}

// createSnapshot is create BE@SNAP, as bectl and illumos have it.
func createSnapshot(c *cli.Context, name, snap string) error {
	for _, flag := range []string{"e", "d", "o", "empty", "activate", "with-guests"} {
		if c.IsSet(flag) {
			return be.E(be.Usage, "%s@%s is a snapshot: --%s is for boot environments", name, snap, flag)
		}
	}
	if err := be.CheckSnapshotName(snap); err != nil {
		return err
	}
	_, err := snapshot(c, name, snap)
	return err
}

// destroySnapshot is destroy BE@SNAP.
func destroySnapshot(c *cli.Context, name, snap string) error {
	if err := be.CheckName(name); err != nil {
		return err
	}
	if c.Bool("f") {
		return be.E(be.Usage, "-f unmounts a boot environment: a snapshot is never mounted")
	}
	if c.Bool("o") || c.Bool("s") {
		return be.E(be.Usage, "-o and -s are for boot environments: %s@%s is a snapshot", name, snap)
	}
	if c.Bool("with-guests") {
		return be.E(be.Usage, "%s@%s is a snapshot: --with-guests is for boot environments", name, snap)
	}
	return change(c, name, func(t *activate.Target, out *outcome) error {
		if err := t.DestroySnapshot(c.Context, name, snap, true); err != nil {
			return err
		}
		out.Removes = []string{name + "@" + snap}
		frees, err := t.Frees(c.Context, name+"@"+snap)
		if err != nil {
			return err
		}
		out.frees(frees)
		if c.Bool("dry-run") {
			t.Report.Would("destroy " + name + "@" + snap)
			t.Report.Would("free " + render.Frees(frees))
			return nil
		}
		sayFrees(c, frees)
		if err := sure(c, name+"@"+snap); err != nil {
			return err
		}
		if err := t.DestroySnapshot(c.Context, name, snap, false); err != nil {
			return err
		}
		t.Report.Note("%s@%s is destroyed: %s", name, snap, render.Freed(frees))
		return nil
	})
}

// rollbackBE is rollback BE@SNAP, or BE SNAP as illumos has it.
func rollbackBE(c *cli.Context, a []string) error {
	if c.IsSet("share") && strings.HasPrefix(a[0], "/") {
		return be.E(be.Usage, "give the paths as --share=%s", strings.Join(a, ","))
	}
	name, snap, is := be.SplitSnapshot(a[0])
	if len(a) == 2 {
		if is {
			return be.E(be.Usage, "give BE@SNAP, or BE SNAP, not %s %s", a[0], a[1])
		}
		snap, is = a[1], true
	}
	if !is {
		return be.E(be.Usage, "%s names no snapshot: give BE@SNAP, or no argument for the previous boot environment", name)
	}
	if err := be.CheckName(name); err != nil {
		return err
	}
	if c.IsSet("share") || c.Bool("reboot") {
		return be.E(be.Usage, "--share and --reboot are for the switch to the previous boot environment: give no BE@SNAP")
	}
	return change(c, name, func(t *activate.Target, out *outcome) error {
		kept, err := t.RollbackBE(c.Context, name, snap, c.Bool("dry-run"))
		if err != nil {
			return err
		}
		out.Result = map[string]string{"kept": kept}
		if !c.Bool("json") && !c.Bool("dry-run") {
			fmt.Fprintln(c.App.Writer, kept)
		}
		return nil
	})
}
