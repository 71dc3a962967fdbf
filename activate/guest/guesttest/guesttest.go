//go:build linux

// Package guesttest holds what runs guests to what guest.Runtime promises, with
// guests that are real.
package guesttest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
)

// Scene is a runtime and one guest of its that does not run.
type Scene struct {
	Runtime guest.Runtime
	Guest   string
	Root    string // the link that the guest is started from; it may be absent yet
	Disk    *Disk  // that Root is on
	// Own makes a root the guest's, where it has ids of its own; nil: nothing to do.
	Own func(t *testing.T, dir string)
	// Unconfined: Run is a command of the administrator's, and what it keeps from
	// the host is theirs to say.
	Unconfined bool
}

// patience is for what must happen: nothing here depends on how fast it does.
const patience = 3 * time.Minute

// suite is one run over a scene.
type suite struct {
	Scene
	ctx           context.Context
	first, second string // roots that boot; the first has a service that fails
}

// Run is the contract. The steps build on one another.
func Run(t *testing.T, scene Scene) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	s := &suite{Scene: scene, ctx: ctx}
	s.first, s.second = s.clone(t, "first"), s.clone(t, "second")
	write(t, filepath.Join(s.first, "etc/systemd/system/broken.service"), "[Service]\nType=oneshot\nExecStart=/bin/false\n", 0o644)
	check(t, os.Symlink("/etc/systemd/system/broken.service", filepath.Join(s.first, "etc/systemd/system/multi-user.target.wants/broken.service")))
	for _, root := range []string{s.first, s.second} {
		write(t, filepath.Join(root, "root-is"), filepath.Base(root), 0o644)
		check(t, os.Mkdir(filepath.Join(root, "var/share"), 0o755))
	}
	s.own(t, s.first)
	s.own(t, s.second)
	Point(t, s.Root, s.first)
	// Whatever fails: nothing runs on when the disk is taken away.
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Runtime.Stop(end, guest.Guest{Name: s.Guest, Runtime: s.Runtime.Name(), Root: s.Root}); err != nil {
			t.Error(err)
		}
	})
	for _, step := range []struct {
		name string
		f    func(t *testing.T)
	}{
		{"a guest that does not run", s.stopped},
		{"start, health, stop", s.life},
		{"another root behind the link", s.otherRoot},
		{"an init that does not shut down", s.stubborn},
		{"a root without an init", s.noInit},
		{"a command in another root", s.command},
		{"a command in a hostile root", s.hostile},
		{"a hostile command", s.intruder},
		{"names that are none", s.names},
	} {
		if !t.Run(step.name, step.f) {
			t.FailNow()
		}
	}
}

func (s *suite) clone(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(s.Root), ".beadm", filepath.Base(s.Root), "@be-"+name)
	s.Disk.Clone(t, dir)
	return dir
}

func (s *suite) own(t *testing.T, dir string) {
	t.Helper()
	if s.Own != nil {
		s.Own(t, dir)
	}
}

// find is the guest as List has it.
func (s *suite) find(t *testing.T) guest.Guest {
	t.Helper()
	list, err := s.Runtime.List(s.ctx)
	check(t, err)
	if !slices.IsSortedFunc(list, func(a, b guest.Guest) int { return compare(a.Name, b.Name) }) {
		t.Errorf("the list is not sorted by name: %v", list)
	}
	for _, g := range list {
		if g.Name == s.Guest {
			if g.Runtime != s.Runtime.Name() || g.Root != s.Root {
				t.Fatalf("List has it as %+v", g)
			}
			return g
		}
	}
	t.Fatalf("List does not have %s: %v", s.Guest, list)
	return guest.Guest{}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *suite) wantStopped(t *testing.T) guest.Guest {
	t.Helper()
	g := s.find(t)
	if g.Running || g.Leader != 0 {
		t.Fatalf("it does not run, List says: %+v", g)
	}
	return g
}

// start starts it and returns it as it then is.
func (s *suite) start(t *testing.T) guest.Guest {
	t.Helper()
	check(t, s.Runtime.Start(s.ctx, s.wantStopped(t)))
	g := s.find(t)
	if !g.Running || g.Leader <= 1 {
		t.Fatalf("it was started, List says: %+v", g)
	}
	if err := unix.Kill(g.Leader, 0); err != nil {
		t.Fatalf("its process 1, %d: %v", g.Leader, err)
	}
	return g
}

// stop stops it within time, and sees that all of it has ended.
func (s *suite) stop(t *testing.T, g guest.Guest, within time.Duration) {
	t.Helper()
	inside := processesOf(t, g.Leader)
	if len(inside.pids) == 0 {
		t.Fatalf("it has no process")
	}
	ctx, cancel := context.WithTimeout(s.ctx, within)
	defer cancel()
	check(t, s.Runtime.Stop(ctx, g))
	if left := inside.left(); len(left) > 0 {
		t.Fatalf("it was stopped, and there still is %v", left)
	}
	s.wantStopped(t)
}

func (s *suite) stopped(t *testing.T) {
	g := s.wantStopped(t)
	check(t, s.Runtime.Stop(s.ctx, g))
	if h, err := s.Runtime.Health(s.ctx, g); err == nil {
		t.Errorf("it does not run, and its health is %+v", h)
	}
	absent := guest.Guest{Name: "beadm-no-such-guest", Runtime: g.Runtime, Root: filepath.Join(filepath.Dir(g.Root), "beadm-no-such-guest")}
	if err := s.Runtime.Start(s.ctx, absent); be.KindOf(err) != be.NotFound {
		t.Errorf("start of a guest that is not there: %v", err)
	}
}

func (s *suite) life(t *testing.T) {
	share := filepath.Join(s.Root, "var/share")
	check(t, unix.Mount("none", share, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { unix.Unmount(share, unix.MNT_DETACH) })
	write(t, filepath.Join(share, "of the host"), "", 0o644)
	g := s.start(t)
	if _, err := os.Stat(seen(g, "var/share/of the host")); err != nil {
		t.Errorf("it does not see what is mounted below its root: %v", err)
	}
	if err := s.Runtime.Start(s.ctx, g); be.KindOf(err) != be.InUse {
		t.Errorf("a second start: %v", err)
	}
	if err := s.Runtime.Start(s.ctx, guest.Guest{Name: g.Name, Runtime: g.Runtime, Root: g.Root}); be.KindOf(err) != be.InUse {
		t.Errorf("a second start with what was known before the first: %v", err)
	}
	if again := s.find(t); again != g {
		t.Errorf("it ran on: %+v, before %+v", again, g)
	}
	h := s.up(t, g)
	if !slices.Contains(h.Failed, "broken.service") || !slices.IsSorted(h.Failed) {
		t.Errorf("broken.service failed, said to have: %q", h.Failed)
	}
	s.stop(t, g, patience)
	// Nobody holds it any more: the host mounts another one there next.
	check(t, unix.Unmount(share, 0))
	check(t, s.Runtime.Stop(s.ctx, g))
}

// up waits until the guest says that it is.
func (s *suite) up(t *testing.T, g guest.Guest) guest.Health {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		h, err := s.Runtime.Health(s.ctx, g)
		if err == nil && h.Up {
			return h
		}
		if time.Now().After(end) {
			t.Fatalf("it does not come up: %+v, %v", h, err)
		}
	}
}

func (s *suite) otherRoot(t *testing.T) {
	Point(t, s.Root, s.second)
	g := s.start(t)
	if is, err := os.ReadFile(seen(g, "root-is")); string(is) != "@be-second" {
		t.Errorf("it runs from %q, %v", is, err)
	}
	if h := s.up(t, g); slices.Contains(h.Failed, "broken.service") {
		t.Errorf("failed: %q", h.Failed)
	}
	s.stop(t, g, patience)
}

func (s *suite) stubborn(t *testing.T) {
	root := s.clone(t, "stubborn")
	// Process 1 hears no signal that it does not ask for.
	replaceInit(t, root, "#!/bin/sh\n(trap '' HUP INT QUIT TERM PWR; while :; do sleep 1; done) &\nwhile :; do sleep 1; done\n")
	s.own(t, root)
	Point(t, s.Root, root)
	g := s.start(t)
	s.stop(t, g, 2*time.Second)
}

func replaceInit(t *testing.T, root, script string) {
	t.Helper()
	for _, name := range []string{"usr/sbin/init", "usr/lib/systemd/systemd"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if script != "" {
			write(t, filepath.Join(root, name), script, 0o755)
		}
	}
}

func (s *suite) noInit(t *testing.T) {
	root := s.clone(t, "no-init")
	replaceInit(t, root, "")
	// What systemd-nspawn would take instead.
	for _, name := range []string{"usr/bin/bash", "usr/bin/sh", "usr/bin/dash"} {
		check(t, os.Remove(filepath.Join(root, name)))
	}
	s.own(t, root)
	Point(t, s.Root, root)
	err := s.Runtime.Start(s.ctx, s.wantStopped(t))
	if err == nil {
		t.Fatal("it started")
	}
	wantWords(t, err, s.Guest, "No such file or directory")
	s.wantStopped(t)
	Point(t, s.Root, s.first)
}
