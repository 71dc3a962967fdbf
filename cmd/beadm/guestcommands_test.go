//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate"
)

// With -g the commands are for guests that do not run, too.
func TestCommandsForGuests(t *testing.T) {
	h := newGuests(t, "gc", 3)
	h.run("guest", "init", "gc*")
	h.run("share", "-g", "gc*", "init")
	h.run("create", "-g", "gc*", "--exclude", "gc03", "new")
	for _, c := range []struct {
		argv string
		want string // in what it prints
	}{
		{"list -g gc*", "gc01:\n"},
		{"list -g gc* -H", "\ngc02;new;"},
		{"list -g nspawn:gc02 -H --dialect bectl", "gc02\tnew\t"},
		{"-g gc01 describe new mine", ""},
		{"-g gc0[12] rename new newer", ""},
		{"-g gc* sync list", "/etc/passwd"},
		{"-g gc01 sync status --to newer", ""},
		{"-g gc* share status", "/var/mail"},
		{"-g gc* share snapshot", ""},
		{"-g gc* share list", "gc03:\n"},
		{"-g gc* history", "create"},
		{"-g gc01 mount newer", "\n/"},
		{"-g gc01 unmount newer", ""},
		{"-g gc01 run newer -- cat /etc/hostname", "demo"},
		{"-g gc* recover", ""},
		{"-g gc01 activate newer -n", "would exchange the root of gc01"},
		{"activate -g gc01 -g gc02 newer", "gc02 switched   newer\n"},
		{"-g gc02 rollback -n", "would exchange the root of gc02"},
		{"-g gc02 rollback", "gc02 switched   default\n"},
		{"-g gc0[12] list -H", "gc01;newer;"},
		{"-g gc02 destroy -F newer", ""},
		{"-g gc* share undo", "moved /var/mail"},
		{"-g gc* share commit", ""},
		{"guest list", "gc03"},
	} {
		if out := h.run(strings.Fields(c.argv)...); !strings.Contains("\n"+out, c.want) {
			t.Errorf("beadm %s does not print %q:\n%s", c.argv, c.want, out)
		}
	}
	if out, code := h.try("-g", "gc03", "create", "more"); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := h.try("-g", "gc03", "run", "more", "--", "sh", "-c", "exit 7"); code != 7 {
		t.Errorf("a command that ends with 7: exit %d: %s", code, out)
	}
	if runs := h.runs("gc01") + h.runs("gc02") + h.runs("gc03"); runs != "@be-newer@be-default@be-default" {
		t.Errorf("they would start %s", runs)
	}
	if h.file("gc02", "var/mail/alice") == "" {
		t.Error("the mail of gc02 did not come back")
	}
	h.run("guest", "release", "gc02", "--destroy")
	if _, err := os.Lstat(filepath.Join(h.root("gc02"), "var/share")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a guest that was given back has an empty /var/share: %v", err)
	}
	h.run("guest", "init", "gc02")
	var said struct {
		Guests []ofGuest `json:"guests"`
	}
	out := h.run("-g", "gc*", "--json", "list")
	if err := json.Unmarshal([]byte(out), &said); err != nil || len(said.Guests) != 3 || !strings.Contains(string(said.Guests[0].Result), `"newer"`) {
		t.Errorf("the JSON of list is %s (%v)", out, err)
	}
	of := h.switched(0, "-g", "gc01", "activate", "--permanent", "default")
	if s := of["gc01"]; s.Outcome != activate.Unwatched && s.Outcome != activate.Already {
		t.Errorf("%+v", s)
	}
}

// Bad input is one sentence, and changes nothing.
func TestBadInputForGuests(t *testing.T) {
	h := newGuests(t, "gb", 2)
	h.run("guest", "init", "gb01")
	check(t, os.Mkdir(filepath.Join(h.dir, "foreign"), 0o755))
	sh(t, "mount", "-t", "tmpfs", "none", filepath.Join(h.dir, "foreign"))
	listing := func() string {
		return sh(t, "sh", "-c", `cd "$1" && find . .beadm -maxdepth 2 ! -path './.beadm/*/lock' -printf '%p %m %U %T@ %l\n' | sort`, "sh", h.dir)
	}
	before := listing()
	for _, c := range []struct {
		argv string
		code int
		want string
	}{
		{"-g nobody list", 3, "there is no guest nobody"},
		{"-g gb* --exclude gb* list", 3, "--exclude takes out all"},
		{"-g [ list", 2, "no pattern of names"},
		{"--exclude gb* list", 2, "give -g GLOB too"},
		{"-g gb01 --parallel 0 activate new", 2, "at least 1"},
		{"-g gb01 --max-failures 0 activate new", 2, "at least 1"},
		{"-g gb01 --canary other activate new", 3, "--canary"},
		{"-g gb* --canary gb01 activate new", 5, "the canary gb01 does not run"},
		{"-g gb01 --root /mnt list", 2, "exclude each other"},
		{"-g gb01 setup", 2, "not for guests"},
		{"-g gb01 boot", 2, "not for guests"},
		{"-g gb01 guest list", 2, "not for guests"},
		{"-g gb01 activate none", 3, "none"},
		{"-g gb01 activate -t default", 2, "-t is for the host"},
		{"-g gb01 activate --reboot default", 2, "--reboot is for the host"},
		{"-g gb01 rollback", 3, "no previous"},
		{"-g gb01 confirm --auto", 2, "--auto is for the host"},
		{"-g gb01 create -a --canary other more", 3, "--canary"},
		{"-g gb02 rollback", 10, "beadm guest init gb02"},
		{"-g gb01 rollback --reboot", 2, "--reboot is for the host"},
		{"-g gb01 destroy -F default", 4, "default"},
		{"-g gb01 share init --stop x.service", 2, "--stop-all"},
		{"-g gb02 create new", 10, "beadm guest init gb02"},
		{"guest init foreign", 10, "not on btrfs"},
		{"guest init nobody", 3, "there is no guest nobody"},
		{"guest init", 2, "at least 1 argument"},
		{"guest init gb02 --name -x", 2, "-x"},
		{"guest release gb02", 10, "gb02"},
		{"guest nothing", 2, "no command"},
	} {
		out, code := h.try(strings.Fields(c.argv)...)
		if code != c.code || !strings.Contains(out, c.want) || strings.Count(strings.TrimSpace(out), "\n") > 0 {
			t.Errorf("beadm %s: exit %d, not %d, without %q, or more than a line:\n%s", c.argv, code, c.code, c.want, out)
		}
	}
	if after := listing(); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
}

// A guest is not stopped for a command that is refused, and -a prints one
// document.
func TestGuestIsNotStoppedForNothing(t *testing.T) {
	h := newGuests(t, "gn", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	leader := h.guest(name).Leader
	for argv, code := range map[string]int{"add --stop-all": 2, "add --stop-all var/www": 2, "add --stop-all /var/lib/dpkg": 5, "undo --stop-all extra": 2} {
		out, got := h.try(append([]string{"-g", name, "share"}, strings.Fields(argv)...)...)
		if now := h.guest(name); got != code || now.Leader != leader {
			t.Errorf("share %s: exit %d, process 1 was %d and is %d:\n%s", argv, got, leader, now.Leader, out)
		}
	}
	h.run("-g", name, "share", "init", "--stop-all")
	h.up()
	of := h.switched(0, "-g", name, "create", "-a", "new")
	if s := of[name]; s.Outcome != activate.Confirmed || s.Runs != "new" {
		t.Errorf("%+v", s)
	}
	of = h.switched(4, "-g", name, "create", "-a", "new")
	if s := of[name]; s.Outcome != activate.Refused {
		t.Errorf("%+v", s)
	}
}

// A new root whose systemd hangs before its system bus is there has not come up.
func TestGuestThatHangsEarly(t *testing.T) {
	h := newGuests(t, "gh", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	h.run("-g", name, "share", "init", "--stop-all")
	h.up()
	h.run("-g", name, "create", "new")
	h.run("-g", name, "run", "new", "--", "sh", "-c", `printf '[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=sysinit.target\n' >/etc/systemd/system/hang.service && systemctl -q enable hang.service`)
	write(t, h.conf, strings.ReplaceAll(read(t, h.conf), "guest.within = 60s", "guest.within = 12s"))
	if s := h.switched(15, "-g", name, "activate", "new")[name]; s.Outcome != activate.FellBack || s.Runs != "default" {
		t.Errorf("%+v", s)
	}
	h.healthy(name)
}
