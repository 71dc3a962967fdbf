//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	heard := filepath.Join(t.TempDir(), "heard")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	boot := func() result {
		t.Helper()
		r := m.run("--config", conf, "boot")
		if r.code != 0 {
			t.Fatal(r)
		}
		return r
	}
	// It cannot, this time: that is said, and the boot goes on.
	write(t, conf, "notify = echo no mailer; exit 1\n")
	m.ok("activate", "new")
	m.comeUp()
	m.loads()
	if r := boot(); !strings.Contains(r.err, "cannot notify: exit status 1: no mailer") {
		t.Error(r)
	}
	m.is("failed", "debian", "debian")
	// The next boot can, and the one after that has nothing to say.
	write(t, conf, "notify = cat >>"+heard+"\n")
	m.loads()
	boot()
	m.loads()
	boot()
	got := read(t, heard)
	if !strings.HasPrefix(got, "beadm: the trial of new failed at "+time.Now().Format("2006-")) ||
		!strings.HasSuffix(got, ": reset before it was confirmed: a panic, a power cut or a reboot; debian runs again\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("heard was %q", got)
	}
	check(t, os.Remove(heard))

	// Nobody is told of what he has read, or did himself.
	m.ok("activate", "new")
	m.comeUp()
	m.comeUp()
	m.is("failed", "debian", "debian")
	m.ok("status", "--acknowledge")
	m.loads()
	boot()
	m.ok("activate", "new")
	m.comeUp()
	m.ok("rollback")
	m.loads()
	boot()
	m.is("failed", "debian", "debian")
	if b, err := os.ReadFile(heard); err == nil {
		t.Errorf("heard was %q", b)
	}
	m.ok("status", "--acknowledge")

	// systemd runs it by itself, and once, too.
	m.ok("activate", "new")
	m.comeUp()
	m.comeUp()
	m.ok("--config", conf, "trial-notify")
	m.ok("--config", conf, "trial-notify")
	if got := read(t, heard); strings.Count(got, "\n") != 1 {
		t.Errorf("heard was %q", got)
	}
	check(t, os.Remove(heard))
	m.ok("status", "--acknowledge")

	// What a root that is not the host's says is never run on the host.
	write(t, filepath.Join(m.root, "etc/beadm/beadm.conf"), "notify = cat >>"+heard+"\nconfirm.check = cat >>"+heard+"\n")
	m.ok("activate", "new")
	m.comeUp()
	m.comeUp()
	m.is("failed", "debian", "debian")
	if b, err := os.ReadFile(heard); err == nil {
		t.Errorf("a guest's command was run: %q", b)
	}
	// Nor is a link in it followed out of it.
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "a secret\n")
	check(t, os.Remove(filepath.Join(m.root, "etc/beadm/beadm.conf")))
	check(t, os.Symlink(secret, filepath.Join(m.root, "etc/beadm/beadm.conf")))
	if r := m.run("list"); r.code != 0 || strings.Contains(r.err, "secret") {
		t.Error(r)
	}
}

func TestNotifyThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: it takes 30 seconds")
	}
	m := newMachine(t)
	m.ok("create", "new")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	write(t, conf, "notify = sleep 300 & wait\n")
	m.ok("activate", "new")
	m.comeUp()
	m.loads()
	began := time.Now()
	if r := m.run("--config", conf, "boot"); r.code != 0 || !strings.Contains(r.err, "it took more than 30s") {
		t.Error(r)
	}
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("the boot was held for %s", took)
	}
	m.is("failed", "debian", "debian")
}

// What nobody saw on a terminal is not lost: a file that the boot found
// changed on both sides.
func TestNotifyOfConflicts(t *testing.T) {
	m := newMachine(t)
	heard := filepath.Join(t.TempDir(), "heard")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	write(t, conf, "notify = cat >>"+heard+"\n")
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app.conf\n")
	write(t, filepath.Join(m.root, "etc/app.conf"), "1\n")
	m.ok("create", "new")
	write(t, filepath.Join(m.top, "@be-new/etc/app.conf"), "of the package\n")
	m.ok("activate", "new")
	write(t, filepath.Join(m.root, "etc/app.conf"), "of the administrator\n")
	m.loads()
	m.ok("--config", conf, "boot")
	m.is("trying", "new", "debian")
	st := m.status()
	if len(st.Conflicts) != 1 || st.Conflicts[0].Path != "/etc/app.conf" || st.Conflicts[0].From != "debian" {
		t.Errorf("%+v", st.Conflicts)
	}
	if out := m.ok("status"); !strings.Contains(out, "CONFLICT: /etc/app.conf was changed in debian and here") {
		t.Error(out)
	}
	if got := read(t, filepath.Join(m.root, "etc/app.conf")); got != "of the package\n" {
		t.Errorf("app.conf: %q", got)
	}
	if b, err := os.ReadFile(heard); err == nil {
		t.Errorf("heard before it was confirmed: %q", b)
	}
	m.ok("--config", conf, "confirm")
	if got := read(t, heard); !strings.HasPrefix(got, "beadm: /etc/app.conf was changed in debian and here: ") {
		t.Errorf("heard at the confirmation was %q", got)
	}
	m.ok("--config", conf, "trial-notify")
	m.loads()
	m.ok("--config", conf, "boot")
	if got := read(t, heard); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "beadm: /etc/app.conf was changed in debian and here: ") {
		t.Errorf("heard was %q", got)
	}
	m.ok("status", "--acknowledge")
	if st := m.status(); len(st.Conflicts) > 0 {
		t.Errorf("%+v", st.Conflicts)
	}
}
