package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/activate/guest/datasets"
	"beadm/activate/guest/lxc"
	"beadm/activate/guest/nspawn"
)

// cutGuests are those of which guest init or guest release was cut, on ZFS: they
// may have no root, and no runtime lists such.
func cutGuests(ctx context.Context, conf activate.Conf) (list []guest.Guest) {
	known := map[string]bool{}
	add := func(g guest.Guest) {
		if known[g.Root] || !filepath.IsAbs(g.Root) {
			return
		}
		if known[g.Root] = true; datasets.Cut(guest.Place{Root: g.Root}) {
			list = append(list, g)
		}
	}
	for _, g := range conf.GuestCommands {
		add(guest.Guest{Name: g.Name, Runtime: "command", Root: g.Root})
	}
	dir := cmp.Or(conf.GuestDir, nspawn.DefaultDir)
	entries, _ := os.ReadDir(filepath.Dir(guest.Place{Root: filepath.Join(dir, "any")}.Dir()))
	for _, e := range entries {
		add(guest.Guest{Name: e.Name(), Runtime: "nspawn", Root: filepath.Join(dir, e.Name())})
	}
	// What cannot be read List says.
	containers, _ := lxc.New(lxc.Config{Path: conf.LXCPath}).Linkable(ctx)
	for _, g := range containers {
		add(g)
	}
	return list
}

// warnOfCut says which they are.
func warnOfCut(ctx context.Context, conf activate.Conf) {
	for _, g := range cutGuests(ctx, conf) {
		logrus.Warnf("guest init or guest release of %s was cut, and it cannot be started: repeat it", g.Name)
	}
}
