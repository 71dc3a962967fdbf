package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/be/btrfs"
	"beadm/be/dir"
	"beadm/be/lvm"
	"beadm/be/rooted"
	"beadm/be/zfs"
)

const confFile = "/etc/beadm/beadm.conf"

// mustGoOn are the commands that bring a machine up or back: a configuration
// that cannot be read does not stop them.
var mustGoOn = map[string]bool{
	"boot": true, "confirm": true, "rollback": true, "recover": true, "status": true, "trial-failed": true, "trial-deadman": true,
	"complete-mounts": true,
}

// target opens what the global options name. done must be called.
func target(c *cli.Context) (t *activate.Target, done func(), err error) {
	if os.Geteuid() != 0 {
		return nil, nil, be.E(be.Denied, "%s must be run as root", c.Command.HelpName)
	}
	if g := guestOf(c.Context); g != nil {
		return guestTarget(c, *g)
	}
	if c.String("root") == "" {
		return nil, nil, be.E(be.Usage, "--root is empty: give a directory")
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return nil, nil, be.E(be.Usage, "cannot find --root: %w", err)
	}
	store, done, err := openStore(c.Context, c.String("beroot"), root)
	if err != nil {
		return nil, nil, err
	}
	conf, err := readConf(c.String("config"), root)
	if err != nil && mustGoOn[c.Command.Name] {
		logrus.Warnf("%v: the defaults hold", err)
		conf, err = activate.DefaultConf(), nil
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	t = &activate.Target{
		Store: store, Root: root, Runtime: filepath.Join(runtimeDir, store.GUID()),
		Report: talk{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json"), outcome: &outcome{}}, OpenLoader: openLoader(store), Conf: conf, AnyHost: c.Bool("foreign"),
	}
	if root == "/" {
		if t.Cmdline, err = cmdline(c.Context, store); err != nil {
			logrus.Warnf("cannot see how this system was started: %v", err)
		}
		t.Guests = func(ctx context.Context) ([]*activate.Machine, error) { return managedMachines(c, ctx) }
	}
	return t, done, nil
}

func openStore(ctx context.Context, beroot, root string) (be.Store, func(), error) {
	if path, is := strings.CutPrefix(beroot, "dir:"); is {
		s, err := dir.Open(ctx, dir.Config{BERoot: path, Root: root, Logger: logrus.StandardLogger(), Progress: showCopies(os.Stderr)})
		if err != nil {
			return nil, nil, err
		}
		return s, func() { s.Close() }, nil
	}
	if strings.HasPrefix(beroot, "/") || strings.HasPrefix(beroot, "btrfs:") {
		s, err := btrfs.Open(ctx, btrfs.Config{BERoot: beroot, Root: root, Logger: logrus.StandardLogger()})
		if err != nil {
			return nil, nil, err
		}
		return s, func() { s.Close() }, nil
	}
	z, zErr := zfs.Open(ctx, zfs.Config{BERoot: beroot, Root: root, Logger: logrus.StandardLogger()})
	if zErr == nil {
		return z, func() {}, nil
	}
	if beroot != "" {
		// POOL/ROOT and VG/POOL look alike: it is what is there.
		l, err := lvm.Open(ctx, lvm.Config{BERoot: beroot, Root: root, Logger: logrus.StandardLogger()})
		switch z, k := be.KindOf(zErr), be.KindOf(err); {
		case err == nil:
			return l, func() { l.Close() }, nil
		case z == be.NoStore && k == be.NoStore:
			return nil, nil, be.E(be.NoStore, "there are no boot environments in %s: %w; %w", beroot, zErr, err)
		case z == be.Usage && k != be.Usage: // no dataset can be called so
			return nil, nil, err
		}
	}
	if beroot != "" || be.KindOf(zErr) != be.NoStore {
		return nil, nil, zErr
	}
	s, err := btrfs.Open(ctx, btrfs.Config{Root: root, Logger: logrus.StandardLogger()})
	if err == nil {
		return s, func() { s.Close() }, nil
	}
	if be.KindOf(err) != be.NoStore {
		return nil, nil, err
	}
	l, err := lvm.Open(ctx, lvm.Config{Root: root, Logger: logrus.StandardLogger()})
	if err == nil {
		return l, func() { l.Close() }, nil
	}
	if be.KindOf(err) != be.NoStore || lvm.IsVolume(root) {
		return nil, nil, err
	}
	return nil, nil, be.E(be.NoStore, "there are no boot environments at %s: its root is neither a ZFS dataset nor a btrfs subvolume nor a thin volume of LVM; give --beroot", root)
}

// readConf reads beadm.conf(5). One that lies in another root than the host's
// may be a guest's, and no guest says what is run on the host.
func readConf(file, root string) (activate.Conf, error) {
	var data []byte
	var err error
	foreign := file == "" && root != "/"
	switch {
	case file != "":
		if data, err = os.ReadFile(file); errors.Is(err, fs.ErrNotExist) {
			return activate.Conf{}, be.E(be.Usage, "cannot read the configuration: %w", err)
		}
	case foreign:
		file = filepath.Join(root, confFile)
		var r *rooted.Root
		if r, err = rooted.Open(root); err == nil {
			data, err = r.ReadFile(confFile)
			r.Close()
		}
	default:
		file = confFile
		data, err = os.ReadFile(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return activate.DefaultConf(), nil
	}
	if err != nil {
		return activate.Conf{}, be.E(be.Usage, "cannot read the configuration: %w", err)
	}
	conf, err := activate.ParseConf(file, data)
	if foreign {
		conf.Checks, conf.Notify = nil, ""
	}
	return conf, err
}
