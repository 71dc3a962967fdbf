//go:build linux

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate"
)

func letter(n string) string {
	return "From a@example.org Sat Nov 21 10:00:00 2026\nSubject: " + n + "\n\ntext " + n + "\n\n"
}

// The new mailer eats every mailbox, mail comes all the same, and the trial
// falls back: the mail of before is found again and that of since is not lost.
func TestEatenMailbox(t *testing.T) {
	m := newMachine(t)
	in := func(file, text string) { t.Helper(); write(t, filepath.Join(m.root, file), text) }
	in("var/mail/alice", letter("1")+letter("2"))
	in("var/mail/bob", letter("3"))
	m.ok("share", "init")
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	in("var/mail/alice", letter("4"))
	in("var/mail/bob", "")
	m.refused(4, "during a trial", "share", "restore", "x", "/var/mail")
	m.comeUp()
	m.is("failed", "debian", "debian")
	m.mailIs("alice", letter("4"))
	in("var/mail/alice", letter("4")+letter("5"))

	var list []activate.ShareSnapshot
	check(t, json.Unmarshal([]byte(m.ok("--json", "share", "list")), &list))
	if len(list) != 1 || list[0].For != "failed trial of new" || list[0].Created.IsZero() {
		t.Fatalf("share list: %+v", list)
	}
	snap := list[0].Name
	if out := m.ok("status"); !strings.Contains(out, "beadm share restore "+snap+" /var/mail ") {
		t.Errorf("status does not say what brings the mail back:\n%s", out)
	}
	if out := m.ok("share", "list"); !strings.Contains(out, snap) || !strings.Contains(out, "failed trial of new") {
		t.Errorf("share list:\n%s", out)
	}
	before := m.snapshotWorld()
	m.refused(3, "there is no snapshot", "share", "restore", "nonesuch", "/var/mail")
	m.refused(2, "not in the shared data", "share", "restore", snap, "/etc/passwd")
	m.refused(3, "the snapshot does not have it", "share", "restore", snap, "-n", "/var/mail/nobody")
	m.refused(2, "give a snapshot", "share", "restore", snap)
	m.refused(4, "failed and is not acknowledged", "share", "snapshot", "-d", snap)
	if out := m.ok("share", "restore", "-n", snap, "/var/mail"); !strings.Contains(out, "would be completed: mail/alice") {
		t.Errorf("restore -n:\n%s", out)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("what was refused or a dry run changed\n%s", differ(before, after))
	}
	out := m.ok("share", "restore", snap, "/var/mail")
	for _, want := range []string{"completed: mail/alice", "completed: mail/bob", "messages: 3", "before it all is in snapshot: beadm-restore-"} {
		if !strings.Contains(out, want) {
			t.Errorf("restore does not say %q:\n%s", want, out)
		}
	}
	m.mailIs("alice", letter("1")+letter("2")+letter("4")+letter("5"))
	m.mailIs("bob", letter("3"))
	m.ok("share", "restore", snap, "/var/share/mail/alice", "mail/bob")
	m.mailIs("alice", letter("1")+letter("2")+letter("4")+letter("5"))
	if out := m.ok("history"); !strings.Contains(out, "share restore") {
		t.Errorf("history:\n%s", out)
	}

	name := strings.TrimSpace(m.ok("share", "snapshot", "before-cleaning"))
	m.refused(4, "there is a snapshot", "share", "snapshot", name)
	m.refused(2, "choose another name", "share", "snapshot", "beadm-x-20261121T100000Z")
	m.refused(2, "not valid", "share", "snapshot", "-n", "a/b")
	if out := m.ok("share", "list"); !strings.Contains(out, "before-cleaning") {
		t.Errorf("share list:\n%s", out)
	}
	m.ok("share", "snapshot", "--destroy", name)
	m.refused(3, "there is no snapshot", "share", "snapshot", "-d", name)
}
