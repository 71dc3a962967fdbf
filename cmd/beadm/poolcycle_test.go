//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/boot"
	"beadm/activate/boot/bootenv/simpool"
	"beadm/activate/boot/fbsd"
	"beadm/be"
	"beadm/be/state"
)

// FreeBSD cannot run here. These tests have the state machine work with its
// loader: the boot environments are real, on btrfs, with files like FreeBSD's in
// them; of a pool there are only the names that the loader uses, and simpool
// plays its tools and its boot.

// namedStore gives the boot environments of a store the names that a pool would.
type namedStore struct{ be.Store }

func (s namedStore) RootRef(ctx context.Context, name string) (be.RootRef, error) {
	_, err := s.Store.RootRef(ctx, name)
	return be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + name + "@"}, err
}

// quiet leaves the steps out.
type quiet struct{ talk }

func (quiet) Step(string) {}

type pool struct {
	*machine
	sim *simpool.Machine
}

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{newBareMachine(t), simpool.New("freebsd:bootonce")}
	p.sim.Props = map[string]map[string]string{"tank/ROOT": {}}
	p.sim.Bootfs = "tank/ROOT/debian"
	p.sim.Env["init_script"] = fbsd.InitScript
	p.sim.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Out: "NO\n"}
	for path, text := range map[string]string{
		"etc/fstab":                 "",
		"boot/defaults/loader.conf": "kernel=\"kernel\"\n",
		"boot/kernel/kernel":        "\x7fELF kernel",
		"boot/kernel/zfs.ko":        "\x7fELF zfs",
	} {
		write(t, filepath.Join(p.root, path), text)
	}
	return p
}

// target is opened anew for each command, as a process would.
func (p *pool) target() (*activate.Target, *outcome) {
	p.t.Helper()
	store, done, err := openStore(p.t.Context(), "", p.root)
	check(p.t, err)
	p.t.Cleanup(done)
	run := func(ctx context.Context, argv ...string) (string, error) {
		if argv[0] == "zfs" && argv[1] == "get" {
			all, err := store.List(ctx)
			if err != nil {
				return "", err
			}
			there := map[string]map[string]string{"tank/ROOT": p.sim.Props["tank/ROOT"]}
			for _, b := range all {
				ds := "tank/ROOT/" + b.Name
				if there[ds] = p.sim.Props[ds]; there[ds] == nil {
					there[ds] = map[string]string{}
				}
				there[ds]["org.beadm:uuid"] = string(b.UUID)
			}
			p.sim.Props = there
		}
		return p.sim.Run(ctx, argv...)
	}
	said := &outcome{}
	return &activate.Target{
		Store: namedStore{store}, Root: p.root, Runtime: filepath.Join("/run/beadm", store.GUID()),
		Report: quiet{talk{err: os.Stderr, json: true, outcome: said}}, Conf: activate.DefaultConf(),
		OpenLoader: func(context.Context, state.LoaderConfig, string) (boot.Loader, error) {
			return fbsd.New(fbsd.Config{BERoot: "tank/ROOT", Run: run}), nil
		},
	}, said
}

// reboot has the boot loader choose, and beadm boot run.
func (p *pool) reboot() activate.BootResult {
	p.t.Helper()
	p.start()
	t, _ := p.target()
	res, err := t.Boot(p.t.Context())
	check(p.t, err)
	return res
}

// start mounts what the boot loader chooses.
func (p *pool) start() {
	p.t.Helper()
	root, _ := p.sim.PowerOn()
	name := strings.TrimPrefix(root, "tank/ROOT/")
	subvol := "@be-" + name
	if name == "debian" {
		subvol = "@debian"
	}
	check(p.t, unix.Unmount(p.root, 0))
	p.mountRoot(subvol)
}

func (p *pool) status() activate.Status {
	p.t.Helper()
	t, _ := p.target()
	st, err := t.Status(p.t.Context())
	check(p.t, err)
	return st
}

func (p *pool) setup() {
	p.t.Helper()
	binary := filepath.Join(p.t.TempDir(), "beadm")
	write(p.t, binary, "beadm")
	t, said := p.target()
	check(p.t, t.Setup(p.t.Context(), activate.SetupOptions{Loader: state.LoaderConfig{Kind: fbsd.Name, Args: []string{}}, Binary: binary}))
	if warned := strings.Join(said.Warnings, "\n"); !strings.Contains(warned, "mountroot>") {
		p.t.Errorf("setup does not say what nothing covers: %q", warned)
	}
	t, _ = p.target()
	_, err := t.Create(p.t.Context(), "new", activate.CreateOptions{})
	check(p.t, err)
}

func (p *pool) activate(opts activate.ActivateOptions) error {
	p.t.Helper()
	t, _ := p.target()
	return t.Activate(p.t.Context(), "new", opts)
}

func TestACycleWithFreeBSDsLoader(t *testing.T) {
	p := newPool(t)
	p.setup()
	const old, new = "tank/ROOT/debian", "tank/ROOT/new"

	check(t, p.activate(activate.ActivateOptions{}))
	if p.sim.Label[p.sim.Key] != "zfs:"+new+":" || p.sim.Bootfs != old {
		t.Fatalf("armed: the token is %q, the default %s", p.sim.Label[p.sim.Key], p.sim.Bootfs)
	}
	if res := p.reboot(); !res.Trial || res.BE != "new" {
		t.Fatalf("the trial: %+v", res)
	}
	tg, _ := p.target()
	check(t, tg.Confirm(t.Context(), activate.ConfirmOptions{}))
	if p.sim.Bootfs != new {
		t.Errorf("confirmed, and the default is %s", p.sim.Bootfs)
	}
	tg, _ = p.target()
	if to, err := tg.Rollback(t.Context(), activate.RollbackOptions{}); err != nil || to != "debian" || p.sim.Bootfs != old {
		t.Errorf("rolled back to %s %v, the default is %s", to, err, p.sim.Bootfs)
	}
	if res := p.reboot(); res.BE != "debian" || res.Trial {
		t.Errorf("after that: %+v", res)
	}

	// A trial that does not reach userland.
	check(t, p.activate(activate.ActivateOptions{LeaveBehind: true}))
	p.start()
	if p.boots != "@be-new" {
		t.Fatalf("the loader chose %s", p.boots)
	}
	res := p.reboot()
	if res.BE != "debian" || res.Failed == nil || res.Failed.Reason != state.ReasonNoUserland {
		t.Fatalf("back: %+v", res)
	}
	if st := p.status(); st.State != "failed" || st.Default != "debian" || st.Next != "debian" {
		t.Errorf("status: %+v", st)
	}
	if res := p.reboot(); res.BE != "debian" || res.Failed != nil {
		t.Errorf("tried again by itself: %+v", res)
	}

	// Armed and taken back.
	check(t, p.activate(activate.ActivateOptions{LeaveBehind: true}))
	tg, _ = p.target()
	check(t, tg.Deactivate(t.Context(), "new", false))
	if res := p.reboot(); res.BE != "debian" || res.Failed != nil {
		t.Errorf("taken back: %+v", res)
	}

	tg, _ = p.target()
	if _, err := tg.Destroy(t.Context(), "new", false, false); err != nil {
		t.Fatal(err)
	}
	if _, there := p.sim.Props[new]["org.beadm:entry"]; there {
		t.Errorf("its entry is still there")
	}
}

// TestWhatFreeBSDsLoaderCouldNotStart is refused before anything is changed.
func TestWhatFreeBSDsLoaderCouldNotStart(t *testing.T) {
	p := newPool(t)
	p.setup()
	for name, c := range map[string]struct {
		do   func()
		says string
	}{
		"no kernel":        {func() { check(t, os.Remove(filepath.Join(p.top, "@be-new/boot/kernel/kernel"))) }, "/boot/kernel/kernel is missing"},
		"it would confirm": {func() { write(t, filepath.Join(p.top, "@be-new/etc/rc.conf"), "zfs_bootonce_activate=YES\n") }, "confirm its trial by itself"},
		"no hook":          {func() { check(t, os.Remove(filepath.Join(p.top, "@be-new/boot/loader.conf.d/beadm.conf"))) }, "beadm boot would not be run in it"},
		"nor here":         {func() { p.sim.Env["init_script"] = "" }, "restart the host once"},
		"no way back":      {func() { check(t, os.Remove(filepath.Join(p.top, "@debian/boot/kernel/kernel"))) }, "a failed trial would come back to debian"},
	} {
		keep := filepath.Join(p.top, "@be-new")
		c.do()
		if err := p.activate(activate.ActivateOptions{LeaveBehind: true}); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if p.sim.Label[p.sim.Key] != "" || p.sim.Bootfs != "tank/ROOT/debian" {
			t.Errorf("%s: refused, and armed", name)
		}
		for _, sub := range []string{"@be-new/boot/kernel", "@debian/boot/kernel"} {
			write(t, filepath.Join(p.top, sub, "kernel"), "\x7fELF kernel")
		}
		os.Remove(filepath.Join(keep, "etc/rc.conf"))
		sh(t, "cp", "-a", filepath.Join(p.top, "@debian/boot/loader.conf.d"), filepath.Join(keep, "boot/."))
		p.sim.Env["init_script"] = fbsd.InitScript
	}
}
