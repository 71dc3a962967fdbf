package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A guest whose root is a plain directory on btrfs is adopted while it is stopped,
// by a copy; the old one is kept, and said where.
func TestPlainGuestIsAdopted(t *testing.T) {
	h := newGuestHost(t)
	name := h.fsid[:8] + "-plain"
	root := filepath.Join(h.machines, name)
	sh(t, "cp", "-a", filepath.Join(h.machines, h.good), root)
	write(t, filepath.Join(root, "etc/mine"), "mine\n")

	machine := exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no", "--machine="+name, "--directory="+root, "--", "/bin/busybox", "sleep", "1000")
	check(t, machine.Start())
	end := func() { machine.Process.Kill(); machine.Wait() }
	defer end()
	for n := 0; ; n++ {
		r := h.guests("guest", "list")
		if line := lineWith(r.out, name); strings.Contains(line, "running") || strings.Contains(line, "yes") {
			break
		}
		if n == 200 {
			t.Fatalf("it never runs: %v", r)
		}
		time.Sleep(50 * time.Millisecond)
	}
	before := h.hosts()
	for _, argv := range [][]string{{"guest", "init", name}, {"guest", "init", "-n", name}} {
		if r := h.guests(argv...); r.code != 4 || !strings.Contains(r.err, "it runs: stop it") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("while it runs: %v", r)
		}
	}
	end()
	kept := filepath.Join(h.machines, "."+name+".plain-1")
	if r := h.guests("guest", "init", "-n", name); r.code != 0 || !strings.Contains(r.out+r.err, kept) {
		t.Errorf("the dry run: %v", r)
	}
	if after := h.hosts(); after != before {
		t.Errorf("something was changed:\n%s", differ(before, after))
	}
	if r := h.guests("guest", "init", name); r.code != 0 || !strings.Contains(r.out+r.err, kept) {
		t.Fatal(r)
	}
	if r := h.guests("guest", "init", name); r.code != 0 || strings.Contains(r.out+r.err, kept) {
		t.Errorf("again: %v", r)
	}
	for _, dir := range []string{root, kept} {
		if got := read(t, filepath.Join(dir, "etc/mine")); got != "mine\n" {
			t.Errorf("%s: %q", dir, got)
		}
	}
	if r := h.guests("guest", "list"); strings.Contains(r.out, ".plain-1") {
		t.Errorf("what was kept is taken for a guest: %v", r)
	}
	if r := h.guests("-g", name, "create", "new"); r.code != 0 {
		t.Error(r)
	}
	if r := h.guests("guest", "release", "--destroy", name); r.code != 0 {
		t.Error(r)
	}
	if info, err := os.Lstat(root); err != nil || !info.IsDir() {
		t.Errorf("given back it is %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(kept, "etc/mine")); err != nil {
		t.Error(err)
	}
}

func lineWith(text, word string) string {
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}
