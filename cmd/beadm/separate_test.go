//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate"
)

// Directories that are file systems of their own are shared already: no switch
// changes them. Of those that are subvolumes each switch makes a snapshot with
// that of the shared data, though they are not mounted when it is made; of
// others status says that there is none.
func TestSeparateFileSystems(t *testing.T) {
	m := newMachine(t)
	in := func(file string) string { return filepath.Join(m.root, file) }
	sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@mail"))
	// As fstab does once services start.
	fstab := func() {
		t.Helper()
		check(t, unix.Mount(m.device, in("var/mail"), "btrfs", 0, "subvol=@mail"))
		check(t, unix.Mount("log", in("var/log"), "tmpfs", 0, ""))
	}
	fstab()
	t.Cleanup(func() { unix.Unmount(in("var/log"), unix.MNT_DETACH) })
	write(t, in("var/mail/alice"), letter("1")+letter("2"))
	says := func(lines ...string) {
		t.Helper()
		out := m.ok("share", "status")
		for _, line := range lines {
			if !strings.Contains(out, line+"\n") {
				t.Errorf("share status does not say %q:\n%s", line, out)
			}
		}
	}
	says("/var/mail    separate  it is a file system of its own (btrfs), which no switch changes; each switch of the shared data snapshots it",
		"/var/log     separate  it is a file system of its own (tmpfs), which no switch changes, and of which beadm cannot make snapshots")
	if r := m.run("share", "init"); r.code != 0 || r.out != "moved /var/spool\nmoved /var/tmp\n" || !strings.Contains(r.err, "/var/mail stays: it is a file system of its own (btrfs)") {
		t.Errorf("%v", r)
	}
	m.ok("create", "new")
	m.ok("activate", "new")
	reboot := func() { t.Helper(); unix.Unmount(in("var/log"), 0); m.comeUp(); fstab() }
	reboot()
	m.is("trying", "new", "debian")
	write(t, in("var/mail/alice"), letter("3"))
	list := func() (list []activate.ShareSnapshot) {
		t.Helper()
		check(t, json.Unmarshal([]byte(m.ok("--json", "share", "list")), &list))
		return list
	}
	if l := list(); len(l) != 1 || !slices.Equal(l[0].With, []string{"/var/mail"}) || l[0].For != "trial of new" {
		t.Fatalf("share list: %+v", l)
	}
	snap := list()[0].Name
	m.refused(2, "cannot bring back /var/mail/alice at the boot: /var/mail is a file system of its own, which is not mounted by then; beadm share restore "+snap+" /var/mail/alice does it", "rollback", "--share=/var/mail/alice")
	reboot()
	m.is("failed", "debian", "debian")
	if out := m.ok("share", "list"); !strings.Contains(out, "failed trial of new, with /var/mail") {
		t.Errorf("share list:\n%s", out)
	}
	m.refused(2, "/var/mail and /var/spool are in different file systems: restore one after the other", "share", "restore", snap, "/var/mail", "/var/spool")
	before := m.snapshotWorld()
	if out := m.ok("share", "restore", "-n", snap, "/var/mail"); !strings.Contains(out, "would be completed: alice") {
		t.Errorf("share restore -n:\n%s", out)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("a dry run changed\n%s", differ(before, after))
	}
	if out := m.ok("share", "restore", snap, "/var/mail"); !strings.Contains(out, "mailboxes completed: 1, with 2 messages") {
		t.Errorf("share restore:\n%s", out)
	}
	m.mailIs("alice", letter("1")+letter("2")+letter("3"))
	write(t, in("var/mail/bob"), "no mailbox\n")
	m.ok("share", "snapshot", "by-hand")
	write(t, in("var/mail/bob"), "nor this\n")
	if out := m.ok("share", "restore", "by-hand", "/var/mail/bob"); !strings.Contains(out, "replaced: 1, set aside in /var/mail/.beadm-replaced/") {
		t.Errorf("share restore:\n%s", out)
	}
	m.mailIs("bob", "no mailbox\n")
	m.ok("share", "snapshot", "--destroy", "by-hand")
	own, _ := filepath.Glob(filepath.Join(m.top, "@beadm-snapshots/subvolume-*/*"))
	var names []string
	for _, path := range own {
		if filepath.Base(path) == "by-hand" {
			t.Errorf("it is still there: %s", path)
		}
		names = append(names, filepath.Base(path))
	}
	if !slices.Contains(names, snap) {
		t.Errorf("of /var/mail there are %q", names)
	}
	// Without it the rest goes on.
	check(t, unix.Unmount(in("var/mail"), 0))
	sh(t, "btrfs", "-q", "subvolume", "delete", filepath.Join(m.top, "@mail"))
	m.ok("status", "--acknowledge")
	m.ok("activate", "new")
	unix.Unmount(in("var/log"), 0)
	m.comeUp()
	m.is("trying", "new", "debian")
	if st := m.status(); st.Trouble != nil {
		t.Errorf("%+v", st.Trouble)
	}
	if _, err := os.Stat(in("var/share/spool/x")); err != nil {
		t.Error(err)
	}
}
