//go:build linux

package main

import (
	"encoding/json"
	"os"
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
	for _, want := range []string{"completed: mail/alice", "completed: mail/bob", "mailboxes completed: 2, with 3 messages", "before it all is in snapshot: beadm-restore-"} {
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

// A switch without a trial is told from others, too.
func TestShareListNamesSwitches(t *testing.T) {
	m := newMachine(t)
	m.ok("share", "init")
	m.ok("create", "new")
	for _, to := range []string{"new", "debian"} {
		m.ok("activate", "--permanent", to)
		m.comeUp()
	}
	out := m.ok("share", "list")
	for _, want := range []string{"switch to new\n", "switch to debian\n"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("share list does not say %q once:\n%s", want, out)
		}
	}
}

// The operator goes back with the mail as the switch found it: from a trial, and
// long after it was confirmed. What the mailer of the one that is left does until
// the reboot is repaired, too.
func TestRollbackShare(t *testing.T) {
	m := newMachine(t)
	in := func(file, text string) { t.Helper(); write(t, filepath.Join(m.root, file), text) }
	m.refused(3, "there is no previous boot environment", "rollback", "--share")
	in("var/mail/alice", letter("1")+letter("2"))
	in("var/spool/queue", "old job\n")
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	m.refused(10, "there is no shared data", "rollback", "--share")
	m.ok("activate", "--permanent", "debian")
	m.comeUp()
	m.ok("share", "init")
	m.refused(3, "there is no snapshot of the shared data from the switch to debian", "rollback", "--share")
	m.ok("activate", "new")
	m.refused(4, "new was never started", "rollback", "--share")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.refused(2, "not in the shared data", "rollback", "--share=/etc/passwd")
	m.refused(2, "of --share is empty", "rollback", "--share=")
	m.refused(3, "the snapshot does not have it", "rollback", "--share=/var/mail/alice,/var/mail/nobody")
	m.refused(2, "give the paths as --share=/var/mail", "rollback", "--share", "/var/mail")
	before := m.snapshotWorld()
	if out := m.ok("rollback", "-n", "--share=/var/mail"); !strings.Contains(out, "would bring back mail from snapshot beadm-") || !strings.Contains(out, " when debian boots") {
		t.Errorf("rollback -n:\n%s", out)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("what was refused or a dry run changed\n%s", differ(before, after))
	}
	m.ok("rollback", "--share=/var/mail")
	if out := m.ok("status"); !strings.Contains(out, "mail of beadm-") || !strings.Contains(out, " comes back when debian boots") {
		t.Errorf("status:\n%s", out)
	}
	in("var/mail/alice", letter("4")) // the mailer eats on, and takes mail in
	in("var/spool/queue", "new job\n")
	m.comeUp()
	m.is("failed", "debian", "debian")
	m.mailIs("alice", letter("1")+letter("2")+letter("4"))
	if got := read(t, filepath.Join(m.root, "var/spool/queue")); got != "new job\n" {
		t.Errorf("what was not asked for is %q", got)
	}
	if out := m.ok("share", "list"); !strings.Contains(out, "restore") {
		t.Errorf("no snapshot of what was:\n%s", out)
	}
	in("var/mail/alice", letter("5"))
	m.comeUp() // once only
	m.mailIs("alice", letter("5"))

	// From one that was confirmed, all of it.
	m.ok("status", "--acknowledge")
	in("var/mail/alice", letter("1"))
	m.ok("activate", "new")
	m.comeUp()
	m.ok("confirm")
	in("var/mail/alice", letter("2"))
	in("var/spool/queue", "another job\n")
	m.comeUp() // of the same again
	m.ok("rollback", "--share")
	snaps := m.shareSnapshots()
	m.refused(4, "or to a rollback", "share", "snapshot", "-d", m.status().Restore.Snapshot)
	m.comeUp()
	m.is("idle", "debian", "debian")
	m.mailIs("alice", letter("1")+letter("2"))
	if got := read(t, filepath.Join(m.root, "var/spool/queue")); got != "new job\n" {
		t.Errorf("the queue is %q", got)
	}
	kept, _ := filepath.Glob(filepath.Join(m.root, "var/share/.beadm-replaced/*/spool/queue"))
	if len(kept) != 1 || read(t, kept[0]) != "another job\n" {
		t.Errorf("what was replaced is not kept: %q", kept)
	}
	if got := m.shareSnapshots(); len(got) != len(snaps)+2 { // of the switch, and before the restore
		t.Errorf("snapshots %q, before %q", got, snaps)
	}

	// A mailbox that was left locked, which a later boot brings back; and a
	// request that another boot ends.
	m.ok("activate", "new")
	m.comeUp()
	m.ok("confirm")
	in("var/mail/alice", "")
	in("var/mail/alice.lock", "")
	m.ok("rollback", "--share=/var/mail/alice")
	m.comeUp()
	m.mailIs("alice", "")
	if st := m.status(); st.Trouble == nil || st.Restore == nil || !strings.Contains(st.Restore.Why, "left it locked: mail/alice") {
		t.Fatalf("%+v %+v", st.Trouble, st.Restore)
	}
	check(t, os.Remove(filepath.Join(m.root, "var/mail/alice.lock")))
	m.comeUp()
	m.mailIs("alice", letter("1")+letter("2"))
	if st := m.status(); st.Restore != nil || st.Trouble != nil {
		t.Errorf("%+v %+v", st.Trouble, st.Restore)
	}
	m.ok("activate", "new")
	m.comeUp()
	m.ok("confirm")
	in("var/mail/alice", letter("6"))
	m.ok("rollback", "--share=mail")
	m.ok("activate", "--permanent", "new")
	m.ok("activate", "--permanent", "debian")
	m.comeUp()
	m.mailIs("alice", letter("6"))
}
