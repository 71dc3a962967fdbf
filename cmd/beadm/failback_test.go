//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failbackSnapshots are the roots of those taken before something was carried
// back from a failed trial.
func (m *machine) failbackSnapshots() []string {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.top, "@beadm-snapshots/*/beadm-failback-*"))
	check(m.t, err)
	return found
}

// TestFailbackSnapshot: what the old boot environment was, before a lock from
// the failed trial came into it with nobody there, can be looked at until the
// failure is read; of several only the last is kept.
func TestFailbackSnapshot(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	fail := func(user string) {
		t.Helper()
		m.ok("activate", "new")
		m.comeUp()
		m.is("trying", "new", "debian")
		if user != "" {
			m.setPassword(user, "!"+m.password(user))
		}
		m.comeUp()
		m.is("failed", "debian", "debian")
	}
	before := m.password("alice")
	fail("alice")
	m.locked("alice")
	got := m.failbackSnapshots()
	if len(got) != 1 {
		t.Fatalf("snapshots %q", got)
	}
	if shadow := read(t, filepath.Join(got[0], "etc/shadow")); !strings.Contains(shadow, "\nalice:"+before+":") {
		t.Errorf("the snapshot does not hold what was before: %s", shadow)
	}
	// A boot that brings nothing keeps it; another failure replaces it.
	m.comeUp()
	if now := m.failbackSnapshots(); len(now) != 1 || now[0] != got[0] {
		t.Errorf("snapshots %q", now)
	}
	fail("bob")
	now := m.failbackSnapshots()
	if len(now) != 1 || now[0] == got[0] {
		t.Fatalf("snapshots %q", now)
	}
	if shadow := read(t, filepath.Join(now[0], "etc/shadow")); !strings.Contains(shadow, "\nalice:!") || strings.Contains(shadow, "\nbob:!") {
		t.Errorf("the snapshot does not hold what was before: %s", shadow)
	}
	m.ok("status", "--acknowledge")
	if left := m.failbackSnapshots(); len(left) != 0 {
		t.Errorf("left after it was read: %q", left)
	}
	// An operator's rollback carries all of it, and takes none.
	m.ok("activate", "new")
	m.comeUp()
	m.ok("rollback")
	m.comeUp()
	if left := m.failbackSnapshots(); len(left) != 0 {
		t.Errorf("snapshots %q", left)
	}
	// In a root that is not the host's nobody logs in to read it.
	for _, dir := range []string{"run/motd.d", "etc/motd.d", "etc/motd"} {
		if _, err := os.Lstat(filepath.Join(m.root, dir)); err == nil {
			t.Errorf("a guest got /%s", dir)
		}
	}
}
