//go:build linux

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate"
)

// Twenty machines and three containers with writers that never rest are upgraded, activated and
// rolled back; the two whose new root is bad fall back alone.
func TestTwentyGuests(t *testing.T) {
	h := newGuests(t, "gt", 20)
	h.addContainers("gtlxc", 3)
	h.up()
	h.run("guest", "init", "gt*")
	for _, name := range h.names {
		if to := h.runs(name); to != "@be-default" {
			t.Fatalf("%s is started from %s", name, to)
		}
		h.healthy(name)
	}
	if out, code := h.try("share", "-g", "gt*", "init"); code != 4 || !strings.Contains(out, "--stop-all") {
		t.Fatalf("the directories of guests that run were moved, or nobody said how: exit %d:\n%s", code, out)
	}
	h.run("share", "-g", "gt*", "init", "--stop-all")
	h.up()
	h.run("upgrade", "-g", "gt*", "new", "--", "sh", "-c", "echo patched >/etc/motd && useradd patched")
	const ill, dead = "gt07", "gt13"
	h.run("-g", ill, "run", "new", "--", "sh", "-c", `printf '[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/ill.service && systemctl -q enable ill.service`)
	h.run("-g", dead, "run", "new", "--", "sh", "-c", `rm /usr/lib/systemd/systemd && printf '#!/bin/sh\nexit 1\n' >/usr/lib/systemd/systemd && chmod 755 /usr/lib/systemd/systemd`)
	for _, name := range h.names {
		if h.file(name, "etc/motd") == "patched\n" || strings.Contains(h.file(name, "etc/passwd"), "patched") {
			t.Fatalf("%s was patched in place", name)
		}
	}
	// What its administrator does meanwhile comes along.
	write(t, filepath.Join(h.root(h.names[0]), "etc/sudoers.d/mine"), "# mine\n")

	worst := h.poll()
	of := h.switched(15, "activate", "-g", "gt*", "new", "--parallel", "4", "--canary", "gt01")
	for _, name := range h.names {
		s := of[name]
		switch name {
		case ill:
			if s.Outcome != activate.FellBack || s.Runs != "default" || !strings.Contains(s.Why, "ill.service") {
				t.Errorf("%s: %+v", name, s)
			}
		case dead:
			if s.Outcome != activate.FellBack || s.Runs != "default" {
				t.Errorf("%s: %+v", name, s)
			}
		default:
			if s.Outcome != activate.Confirmed || s.Runs != "new" {
				t.Errorf("%s: %+v", name, s)
			}
		}
		h.healthy(name)
		if patched := h.file(name, "etc/motd") == "patched\n"; patched != (name != ill && name != dead) {
			t.Errorf("%s is patched: %v", name, patched)
		}
		h.nothingLost(name)
	}
	if h.file(h.names[0], "etc/sudoers.d/mine") == "" {
		t.Error("what was written to sudoers.d meanwhile did not come along")
	}
	name, longest := worst()
	t.Logf("its client saw no new mail of %s for %.2f s", name, longest.Seconds())
	status := h.run("guest", "status")
	for _, want := range []string{ill, dead} {
		if !strings.Contains(status, want) || strings.Count(status, "failed") < 2 {
			t.Errorf("guest status does not say that %s failed:\n%s", want, status)
		}
	}

	of = h.switched(0, "rollback", "-g", "gt*", "--exclude", ill, "--exclude", dead, "--parallel", "4")
	for _, name := range h.names {
		if s := of[name]; name != ill && name != dead && (s.Outcome != activate.Returned || s.Runs != "default") {
			t.Errorf("%s: %+v", name, s)
		}
		h.healthy(name)
		if h.file(name, "etc/motd") == "patched\n" {
			t.Errorf("%s is patched after the rollback", name)
		}
		h.nothingLost(name)
	}
}

// A machine is adopted and given back while it runs, and is what it was.
func TestGuestIsAdoptedAndGivenBack(t *testing.T) {
	h := newGuests(t, "ga", 1)
	name := h.names[0]
	root := filepath.Join(h.dir, name)
	var before, after unix.Stat_t
	check(t, unix.Stat(root, &before))
	h.up()
	leader := h.guest(name).Leader
	write(t, filepath.Join(root, "root/kept"), "kept\n")
	if out, code := h.try("-g", name, "create", "new"); code != 10 || !strings.Contains(out, "beadm guest init "+name) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out := h.run("guest", "init", name, "-n"); !strings.Contains(out, "would move "+root) {
		t.Errorf("the dry run says: %s", out)
	}
	h.run("guest", "init", name)
	h.run("guest", "init", name) // again
	if out := h.run("guest", "list"); !strings.Contains(out, "yes") || !strings.Contains(out, "default") {
		t.Errorf("guest list says:\n%s", out)
	}
	h.run("-g", name, "create", "new")
	if out, code := h.try("guest", "release", name); code != 4 || !strings.Contains(out, "--destroy") {
		t.Errorf("exit %d: %s", code, out)
	}
	h.run("guest", "release", name, "--destroy")
	check(t, unix.Lstat(root, &after))
	if after.Mode&unix.S_IFMT != unix.S_IFDIR || after.Ino != before.Ino || after.Dev != before.Dev {
		t.Errorf("its root is not the directory that it was: %+v, %+v", before, after)
	}
	if got := h.file(name, "root/kept"); got != "kept\n" {
		t.Errorf("what it wrote is %q", got)
	}
	if now := h.guest(name); !now.Running || now.Leader != leader {
		t.Errorf("it did not go on: %+v, it was %d", now, leader)
	}
	if _, err := os.Lstat(filepath.Join(h.dir, ".beadm")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	h.run("guest", "init", name, "--name", "again")
	if out := h.run("-g", name, "list"); !strings.Contains(out, "again") {
		t.Errorf("list says:\n%s", out)
	}
}

// beadm is killed at any moment of a batch. recover leaves each guest running,
// healthy, in the old one or in the new, and nothing is lost.
func TestGuestBatchIsKilled(t *testing.T) {
	h := newGuests(t, "gk", 2)
	h.up()
	h.run("guest", "init", "gk*")
	h.run("share", "-g", "gk*", "init", "--stop-all")
	h.up()
	h.run("-g", "gk*", "create", "new")
	for i, after := range []time.Duration{20, 150, 300, 450, 600, 800, 1100, 1500, 2200, 3000} {
		next := "new"
		if h.guest(h.names[0]); strings.Contains(h.run("-g", h.names[0], "list", "-H"), "new;") && h.runs(h.names[0]) == "@be-new" {
			next = "default"
		}
		cmd := h.command("activate", "-g", "gk*", next)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		check(t, cmd.Start())
		time.Sleep(after * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		h.run("-g", "gk*", "recover")
		h.run("-g", "gk*", "recover")
		for _, name := range h.names {
			g := h.guest(name)
			if !g.Running {
				t.Fatalf("killed after %d ms (%d): %s is down", after, i, name)
			}
			h.healthy(name)
			h.nothingLost(name)
			status := h.run("-g", name, "--json", "status")
			for _, bad := range []string{`"state": "armed"`, `"state": "trying"`, "open_operation"} {
				if strings.Contains(status, bad) {
					t.Fatalf("killed after %d ms: %s is not at rest:\n%s", after, name, status)
				}
			}
			h.run("-g", name, "status", "--acknowledge")
		}
	}
}

// runs is the directory that the guest is started from.
func (h *guests) runs(name string) string {
	h.t.Helper()
	to, err := os.Readlink(h.root(name))
	check(h.t, err)
	return filepath.Base(to)
}

// Ctrl-C: the guest in hand is finished, the rest is left as it was.
func TestGuestBatchIsInterrupted(t *testing.T) {
	h := newGuests(t, "gi", 3)
	h.up()
	h.run("guest", "init", "gi*")
	h.run("-g", "gi*", "create", "new")
	cmd := h.command("activate", "-g", "gi*", "--leave-behind", "new")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	check(t, cmd.Start())
	// The first one is exchanged: it is in hand.
	for n := 0; h.runs("gi01") != "@be-new"; n++ {
		if n == 1000 {
			t.Fatalf("gi01 is never exchanged:\n%s", said.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d:\n%s", code, said.String())
	}
	for i, name := range h.names {
		want := "@be-default"
		if i == 0 {
			want = "@be-new"
		}
		h.healthy(name)
		if got := h.runs(name); got != want {
			t.Errorf("%s runs %s:\n%s", name, got, said.String())
		}
		if status := h.run("-g", name, "--json", "status"); strings.Contains(status, "armed") || strings.Contains(status, "trying") {
			t.Errorf("%s is not at rest:\n%s", name, status)
		}
	}
	if !strings.Contains(said.String(), "gi02 not begun") || !strings.Contains(said.String(), "gi01 confirmed") {
		t.Errorf("it said:\n%s", said.String())
	}
}

// A guest that was left unconfirmed when the host went down starts its old root
// when the host boots.
func TestUnconfirmedGuestReturnsAsTheHostBoots(t *testing.T) {
	h := newGuests(t, "gu", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	h.run("share", "-g", name, "init", "--stop-all")
	h.up()
	h.run("-g", name, "create", "new")
	of := h.switched(0, "activate", "-g", name, "--no-auto-confirm", "new")
	if s := of[name]; s.Outcome != activate.OnTrial || s.Runs != "new" {
		t.Fatalf("%+v", s)
	}
	// The host goes down: the machine is gone, and what was mounted.
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	check(t, h.runtime[name].Stop(ctx, h.guest(name)))
	sh(t, "umount", filepath.Join(h.dir, ".beadm", name, "@be-new/var/share"))
	h.run("guest", "boot")
	if got := h.runs(name); got != "@be-default" {
		t.Fatalf("it would start %s", got)
	}
	h.up()
	h.nothingLost(name)
	if out := h.run("guest", "status"); !strings.Contains(out, "failed") {
		t.Errorf("guest status says:\n%s", out)
	}
	h.run("-g", name, "status", "--acknowledge")
	h.run("guest", "boot") // of what runs
	h.healthy(name)
}

// A package manager works in a root that does not run, as in the guest itself:
// what it puts into shared directories arrives with the switch.
func TestGuestIsUpgradedByItsPackageManager(t *testing.T) {
	h := newGuests(t, "gp", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	h.run("share", "-g", name, "init", "--stop-all")
	h.up()
	h.run("-g", name, "upgrade", "new", "--", "sh", "-c", "apt-get install -y -qq /usr/share/demo/*.deb")
	spool := filepath.Join(h.share(name), "spool/postfix")
	if _, err := os.Stat(spool); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the spool of the package is there before the switch: %v", err)
	}
	if s := h.switched(0, "-g", name, "activate", "new")[name]; s.Outcome != activate.Confirmed {
		t.Fatalf("%+v", s)
	}
	if pid := strings.TrimSpace(read(t, filepath.Join(spool, "pid/master.pid"))); pid == "" {
		t.Error("postfix does not run in the new root")
	}
	h.nothingLost(name)
}
