package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
)

func withGuestsFlag(usage string) cli.Flag {
	return &cli.GenericFlag{Name: "with-guests", Value: &anyOf{}, Usage: usage}
}

// withGuests is what --with-guests of a command was given.
func withGuests(c *cli.Context) *anyOf {
	if a, ok := c.Generic("with-guests").(*anyOf); ok {
		return a
	}
	return &anyOf{}
}

// checkWithGuests refuses it where it means nothing.
func checkWithGuests(c *cli.Context) error {
	if c.IsSet("with-guests") && filepath.Clean(c.String("root")) != "/" {
		return be.E(be.Usage, "--with-guests is for the host that this runs on: give no --root")
	}
	return withGuests(c).check("with-guests", "GLOB")
}

// guestsWith are the guests that --with-guests names, none without it.
func guestsWith(c *cli.Context) ([]*activate.Machine, error) {
	asked := withGuests(c)
	if !asked.given {
		return nil, nil
	}
	all, unread := managedMachines(c, c.Context)
	if unread != nil && len(asked.list) == 0 {
		return nil, unread
	}
	if len(all) == 0 && unread == nil {
		return nil, be.E(be.NotFound, "no guest has boot environments of its own: beadm guest init gives it some")
	}
	if len(asked.list) == 0 {
		return all, nil
	}
	var list []guest.Guest
	of := map[guest.Guest]*activate.Machine{}
	for _, m := range all {
		list, of[m.Guest] = append(list, m.Guest), m
	}
	named, err := namedBy("with-guests", asked.list, list)
	switch {
	case err != nil && unread != nil:
		return nil, unread // it may be the one
	case err != nil:
		return nil, err
	case unread != nil:
		logrus.Warnf("%v", unread)
	}
	var some []*activate.Machine
	for _, g := range named {
		some = append(some, of[g])
	}
	return some, nil
}

// managedMachines are the guests that have boot environments. What cannot be read
// of any is an error, beside the others.
func managedMachines(c *cli.Context, ctx context.Context) (list []*activate.Machine, err error) {
	conf, err := hostConf(c)
	if err != nil {
		return nil, err
	}
	for _, r := range runtimes(conf) {
		all, lerr := r.List(ctx)
		err = errors.Join(err, lerr)
		for _, g := range all {
			_, adopted, cerr := guest.Place{Root: g.Root}.Current()
			if err = errors.Join(err, cerr); !adopted {
				continue
			}
			m, merr := guestMachine(c, g)
			if err = errors.Join(err, merr); merr == nil {
				list = append(list, m)
			}
		}
	}
	return list, err
}

// standingOfHost is for a trial of a guest that follows the host's.
func standingOfHost(c *cli.Context, ctx context.Context) (h activate.HostStanding, err error) {
	err = withHost(c, ctx, func(t *activate.Target) error {
		h, err = t.StandsAsHost(ctx)
		return err
	})
	return h, err
}

// withHost calls look with the host of a guest, if that has boot environments.
func withHost(c *cli.Context, ctx context.Context, look func(*activate.Target) error) error {
	store, done, err := openStore(ctx, c.String("beroot"), "/")
	if be.KindOf(err) == be.NoStore {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	t := &activate.Target{Store: store, Root: "/", Runtime: filepath.Join(runtimeDir, store.GUID()), OpenLoader: openLoader(store), AnyHost: true,
		Report: talk{out: c.App.Writer, err: logrus.StandardLogger().Out, outcome: &outcome{}}}
	return look(t)
}
