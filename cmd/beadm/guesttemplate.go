package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
)

type templateKey struct{}

// templateOf is what a create for a guest clones, if that is another guest's.
func templateOf(ctx context.Context) *activate.Template {
	tm, _ := ctx.Value(templateKey{}).(*activate.Template)
	return tm
}

// createGuests clones in each guest what it runs, or one and the same boot
// environment of another guest: create -e GUEST/BE.
func createGuests(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	if c.Bool("t") {
		return be.E(be.Usage, "-t is for the host: a guest's trial is watched by its host, and ends with a switch back; give -a")
	}
	name, source, is := strings.Cut(c.String("e"), "/")
	if !is {
		return andActivate(c, list, func() (map[guest.Guest]error, error) {
			return fromOneInstant(c, list, c.Args().First(), c.String("e"), clonedAtATime, action)
		})
	}
	if c.Bool("empty") {
		return be.E(be.Usage, "-e and --empty exclude each other")
	}
	from, _, _ := be.SplitSnapshot(source)
	if err := be.CheckName(from); err != nil {
		return err
	}
	template, err := guestCalled(c, name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(g guest.Guest) bool { return g.Name == template.Name && g.Runtime == template.Runtime }) {
		return be.E(be.Usage, "%s is the template itself: give --exclude %s", name, name)
	}
	t, done, err := guestTarget(c, template)
	if err != nil {
		return err
	}
	defer done()
	return andActivate(c, list, func() (why map[guest.Guest]error, err error) {
		err = t.WithTemplate(c.Context, template.Name, source, template.Running, c.Bool("dry-run"), func(tm *activate.Template) (err error) {
			ctx := c.Context
			defer func() { c.Context = ctx }()
			c.Context = context.WithValue(ctx, templateKey{}, tm)
			why, err = forEachGuest(c, list, action)
			return err
		})
		return why, err
	})
}

// guestCalled is the one of that name, or RUNTIME:NAME.
func guestCalled(c *cli.Context, name string) (guest.Guest, error) {
	all, err := allGuests(c)
	if err != nil {
		return guest.Guest{}, err
	}
	all = slices.DeleteFunc(all, func(g guest.Guest) bool { return g.Name != name && g.Runtime+":"+g.Name != name })
	switch len(all) {
	case 0:
		return guest.Guest{}, be.E(be.NotFound, "there is no guest %s: beadm guest list shows those there are", name)
	case 1:
		return all[0], nil
	}
	return guest.Guest{}, be.E(be.Usage, "there are several guests %s: give RUNTIME:%s", name, name)
}
