package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The last guest that is released takes what the host's boot runs for guests with
// it, also where an earlier release was cut there, and the first one brings it
// back.
func TestGuestUnitGoesWithTheLastGuest(t *testing.T) {
	h := newHosted(t)
	h.systemd = true
	asked := filepath.Join(h.root, "asked")
	write(t, filepath.Join(h.root, "usr/bin/systemctl"), "#!/bin/sh\necho \"$*\" >>/asked\n")
	check(t, os.Chmod(filepath.Join(h.root, "usr/bin/systemctl"), 0o755))
	units := filepath.Join(h.root, unitDir)
	// Another's, beside ours.
	write(t, filepath.Join(units, "lxc@.service.d/mine.conf"), "[Unit]\n")
	list := func() string {
		t.Helper()
		var names []string
		check(t, filepath.WalkDir(units, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				names = append(names, strings.TrimPrefix(path, units+"/"))
			}
			return err
		}))
		return strings.Join(names, "\n")
	}
	before := list()
	h.ok("guest", "init", "web1") // again: it has what it needs but that
	all := list()
	for _, name := range []string{"beadm-guests.service", "lxc.service.d/beadm.conf", "lxc@.service.d/beadm.conf", "multi-user.target.wants/beadm-guests.service", "systemd-nspawn@.service.d/beadm.conf"} {
		if !strings.Contains(all+"\n", name+"\n") {
			t.Fatalf("there is no %s:\n%s", name, all)
		}
	}
	h.ok("guest", "release", "web1")
	if got := list(); got != all {
		t.Errorf("with one guest left there is\n%s", got)
	}
	h.ok("guest", "release", "web2", "-n")
	check(t, os.Remove(asked))
	h.ok("guest", "release", "web2")
	if got := list(); got != before {
		t.Errorf("without guests there is\n%s", got)
	}
	if _, err := os.Lstat(filepath.Join(units, "lxc.service.d")); !os.IsNotExist(err) {
		t.Errorf("an empty directory is left: %v", err)
	}
	if got := read(t, asked); got != "daemon-reload\n" {
		t.Errorf("systemd was asked for %q", got)
	}

	h.ok("guest", "init", "web2")
	if got := list(); got != all {
		t.Errorf("with one guest again there is\n%s", got)
	}
	// What the administrator has masked stays so.
	unit := filepath.Join(units, "beadm-guests.service")
	check(t, os.Remove(unit))
	check(t, os.Symlink(os.DevNull, unit))
	h.ok("guest", "init", "web2")
	h.ok("guest", "release", "web2")
	if to, err := os.Readlink(unit); err != nil || to != os.DevNull {
		t.Errorf("the mask leads to %s: %v", to, err)
	}
	check(t, os.Remove(unit))
	if got := list(); got != before {
		t.Errorf("beside the mask there is\n%s", got)
	}
	h.ok("guest", "init", "web2")
	// Cut at any file: what is left needs nothing that is not there, a guest that
	// gets boot environments has all again, and a second release ends it.
	for _, name := range strings.Split(all, "\n") {
		if strings.HasSuffix(name, "mine.conf") {
			continue
		}
		check(t, os.Remove(filepath.Join(units, name)))
		h.ok("guest", "init", "web2")
		if got := list(); got != all {
			t.Errorf("without %s, init leaves\n%s", name, got)
		}
		kept := read(t, filepath.Join(units, "beadm-guests.service"))
		h.ok("guest", "release", "web2")
		write(t, filepath.Join(units, "beadm-guests.service"), kept)
		write(t, filepath.Join(units, "lxc.service.d/beadm.conf"), afterGuestUnit)
		if r := h.run("guest", "release", "web2"); r.code != 10 {
			t.Error(r)
		}
		if got := list(); got != before {
			t.Errorf("a second release leaves\n%s", got)
		}
		h.ok("guest", "init", "web2")
	}
}
