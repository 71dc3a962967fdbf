//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What ends a trial, or brings a machine back, never asks whose store it is.
func TestIdentityGoneInATrial(t *testing.T) {
	for command, ends := range map[string][3]string{"confirm": {"idle", "new", "new"}, "rollback": {"failed", "debian", "debian"}} {
		t.Run(command, func(t *testing.T) {
			m := newMachine(t)
			m.ok("create", "new")
			m.ok("activate", "new")
			m.comeUp()
			check(t, os.Remove(filepath.Join(m.root, "etc/beadm/identity")))
			m.refused(6, "--foreign", "describe", "new", "x")
			m.ok(command)
			m.comeUp()
			m.is(ends[0], ends[1], ends[2])
		})
	}
}

// TestStoreOfAnotherHost: a disk that was carried here is looked at, said to be
// another host's, and changed only if told.
func TestStoreOfAnotherHost(t *testing.T) {
	carried := newMachine(t)
	carried.ok("create", "new")
	carried.ok("snapshot", "new@good")
	sh(t, "umount", "-R", carried.root)
	here := bareMachine(t, 384<<20)
	here.ok("setup", "--loader", "stub", "--loader-dir", here.loader)
	// here's root, and carried's store: what is refused changes nothing of either.
	given := func(args ...string) *exec.Cmd {
		return exec.Command(here.beadm, append([]string{"--root", here.root, "--beroot", carried.top}, args...)...)
	}
	before := here.snapshotWorld()
	tar := filepath.Join(here.loader, "..", "system.tar")
	bash(t, here.root, "tar -cf "+tar+" etc sbin")
	for _, args := range [][]string{
		{"create", "-e", "debian", "x"}, {"create", "debian@s"}, {"create", "--empty", "x"}, {"snapshot", "debian@s"}, {"import", "-f", tar, "x"},
		{"destroy", "-F", "new"}, {"destroy", "-F", "new@good"}, {"prune", "-F", "--keep", "0"}, {"prune", "--pin", "new"},
		{"activate", "new"}, {"activate", "-t", "new"}, {"activate", "--permanent", "new"}, {"activate", "-T"},
		{"mount", "new"}, {"unmount", "new"}, {"rename", "new", "x"}, {"describe", "new", "text"}, {"upgrade", "new", "--", "/bin/true"}, {"run", "new", "--", "/bin/true"},
		{"sync", "run", "--to", "new"}, {"share", "init"}, {"status", "--acknowledge"}, {"rollback", "new@good"},
	} {
		carried.refusedCmd(6, "was set up by another host: give --foreign", given(args...))
	}
	if now := here.snapshotWorld(); now != before {
		t.Errorf("here changed\n%s", differ(before, now))
	}
	for _, args := range [][]string{{"list"}, {"list", "-H", "-a"}, {"history"}, {"status"}, {"--json", "status"}, {"check"}} {
		r := start(t, given(args...))
		switch args[len(args)-1] {
		case "status":
			if r.code != 0 || !strings.Contains(r.out, map[int]string{1: "another host", 2: `"foreign": true`}[len(args)]) {
				t.Error(r)
			}
		case "check":
			if r.code != 5 || !strings.Contains(r.out, "was set up by another host") {
				t.Error(r)
			}
		default:
			if r.code != 0 {
				t.Error(r)
			}
		}
	}
	if r := start(t, given("--foreign", "create", "-e", "debian", "told")); r.code != 0 {
		t.Error(r)
	}
	if r := start(t, given("list")); !strings.Contains(r.out, "told") {
		t.Error(r)
	}
	if st := here.status(); st.Foreign {
		t.Errorf("this host's own is another's: %+v", st)
	}
	for id, f := range here.found(5) {
		if id == "foreign" {
			t.Errorf("this host's own is another's: %+v", f)
		}
	}
}
