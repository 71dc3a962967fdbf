package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
)

type jointKey struct{}

// jointOf has the snapshots that clones in several guests are made of, if they
// were made as one.
func jointOf(ctx context.Context) *activate.Joint {
	j, _ := ctx.Value(jointKey{}).(*activate.Joint)
	return j
}

// clonedAtATime is how many guests are cloned beside each other: they wait for
// the same transactions of one file system.
const clonedAtATime = 4

// fromOneInstant is overGuests for a command that clones from, or what runs, as
// name in each guest: in one pool all snapshots are made before the first clone,
// in one transaction.
func fromOneInstant(c *cli.Context, list []guest.Guest, name, from string, atATime int, action cli.ActionFunc) (why map[guest.Guest]error, err error) {
	if len(list) < 2 || c.Bool("dry-run") || c.Bool("empty") || be.CheckName(name) != nil || from != "" && be.CheckName(from) != nil {
		return overGuests(c, list, atATime, action)
	}
	ctx := c.Context
	defer func() { c.Context = ctx }()
	quiet := *c
	app := *c.App
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	quiet.App = &app
	var sources []*activate.JointSource
	for _, g := range list {
		// What is wrong with one the command says itself, when its turn comes.
		src, done, err := jointSource(&quiet, g, name, from)
		if err != nil {
			continue
		}
		defer done()
		sources = append(sources, src)
	}
	report := talk{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json"), outcome: &outcome{}}
	joint, err := activate.SnapshotJointly(ctx, activate.JointName(), sources, report)
	if err != nil {
		return nil, err
	}
	c.Context = context.WithValue(ctx, jointKey{}, joint)
	why, err = overGuests(c, list, atATime, action)
	if err != nil {
		joint.Leave(context.WithoutCancel(ctx))
	}
	return why, err
}

// jointSource is that of one guest; its store is open until done is called.
func jointSource(c *cli.Context, g guest.Guest, name, from string) (src *activate.JointSource, done func(), err error) {
	m, err := guestMachine(c, g)
	if err != nil {
		return nil, nil, err
	}
	release, err := m.Hold()
	if err != nil {
		return nil, nil, err
	}
	defer release()
	t, done, err := guestTarget(c, g)
	if err != nil {
		return nil, nil, err
	}
	return t.JointSource(c.Context, name, from), done, nil
}
