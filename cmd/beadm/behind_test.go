//go:build linux

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

const (
	lockedAlice = "!$6$s$alice"
	davesOwn    = "$6$s$dave"
)

// shows says whether status says so.
func (m *machine) shows(want string) {
	m.t.Helper()
	if out := m.ok("status"); !strings.Contains(out, want) {
		m.t.Errorf("status does not say %q:\n%s", want, out)
	}
}

func (m *machine) hasPassword(user, want string) {
	m.t.Helper()
	if got := m.password(user); got != want {
		m.t.Errorf("%s has the password %q and should have %q: %v", user, got, want, m.run("status"))
	}
}

// What the boot of a boot environment did not come to take over is owed, told
// of, and taken over by whatever changes something next.
func TestBootThatDidNotEnd(t *testing.T) {
	for name, boots := range map[string]func(m *machine){
		"it was cut": func(m *machine) { m.traced(&tracer{killAt: func(n int, _ string) bool { return n == 6 }}, "boot") },
		// By an entry without our init, say.
		"it never ran": func(*machine) {},
	} {
		for _, next := range [][]string{{"recover"}, {"destroy", "-F", "spare"}, {"create", "c"}} {
			t.Run(name+", "+next[0], func(t *testing.T) {
				m := newMachine(t)
				m.ok("create", "b")
				m.ok("create", "spare")
				m.ok("activate", "--permanent", "b")
				m.setPassword("alice", lockedAlice)
				m.loads()
				boots(m)
				m.shows("what debian wrote is not in b yet")
				m.ok(next...)
				m.hasPassword("alice", lockedAlice)
				m.is("idle", "b", "b")
				if out := m.ok("status"); strings.Contains(out, "OWED") {
					t.Errorf("still owed:\n%s", out)
				}
				m.comeUp()
				m.hasPassword("alice", lockedAlice)
			})
		}
	}
}

// What is changed in a boot environment whose boot never ran is its own all the
// same, and goes along.
func TestSwitchFromABootThatNeverRan(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "b")
	m.ok("activate", "--permanent", "b")
	m.loads()
	m.ok("create", "c")
	m.ok("activate", "c")
	m.setPassword("bob", "!$6$s$bob")
	m.comeUp()
	m.is("trying", "c", "b")
	m.hasPassword("bob", "!$6$s$bob")
}

// A failed trial's run brings what takes rights away and nothing else, wherever
// the power goes while the old boot environment settles it; and when it is
// settled by hand.
func TestCutWhileAFailedTrialIsSettled(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.setPassword("alice", lockedAlice)
	m.setPassword("dave", "$6$evil$evil")
	m.loads()
	start := m.shutDown()
	for _, n := range []int{10, 17, 25, 40, 60, 68, 76} {
		m.powerOn(start)
		tr := &tracer{killAt: func(at int, _ string) bool { return at == n }}
		if m.traced(tr, "boot") == 0 {
			t.Fatalf("boot has fewer than %d effects", n)
		}
		cut := m.copyDisk()
		m.kill()
		m.powerOn(cut)
		m.comeUp()
		m.hasPassword("alice", lockedAlice)
		m.hasPassword("dave", davesOwn)
		if t.Failed() {
			t.Fatalf("power cut before effect %d: %s", n, tr.killed)
		}
		m.kill()
	}
	m.powerOn(start) // boot never runs
	m.shows("the trial of new is over")
	m.ok("recover")
	m.hasPassword("alice", lockedAlice)
	m.hasPassword("dave", davesOwn)
	m.shows("FAILED")
	m.ok("destroy", "-F", "new")
	m.comeUp()
	m.hasPassword("alice", lockedAlice)
	m.hasPassword("dave", davesOwn)
}

// The token is consumed, nothing was heard of the trial, and the boot of what
// came back did not settle it.
func TestConsumedTokenThatNobodySettled(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.loads()
	m.loads()
	m.shows("the trial of new is over")
	m.ok("describe", "new", "text")
	m.is("failed", "debian", "debian")
	m.shows("did not reach userland")
}

// A boot environment that is unmounted under an activation has not got what was
// to be written to it: the activation fails, and the next one succeeds.
func TestUnmountedUnderAnActivation(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.setPassword("alice", lockedAlice)
	found, err := filepath.Glob(filepath.Join(m.top, "@beadm/*"))
	check(t, err)
	run := filepath.Join("/run/beadm", filepath.Base(found[0]))
	mounted, done := false, false
	tr := &tracer{killAt: func(_ int, what string) bool {
		if mounted && !done && strings.HasPrefix(what, "rename") && strings.HasSuffix(what, "journal.json") {
			store, end, err := openStore(context.Background(), "", m.root)
			check(t, err)
			check(t, store.Unmount(context.Background(), "new", true))
			end()
			done = true
		}
		mounted = mounted || strings.Contains(what, run+"/new") && strings.Contains(what, "mount")
		return false
	}}
	if code := m.traced(tr, "activate", "new"); code == 0 || !done {
		t.Errorf("activate: exit %d (unmounted: %v)", code, done)
	}
	m.is("idle", "debian", "debian")
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.hasPassword("alice", lockedAlice)
}

// What cannot be brought over is given up by name, and only that.
func TestGiveUp(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "b")
	m.ok("activate", "--permanent", "b")
	m.setPassword("alice", lockedAlice)
	m.loads()
	m.refused(3, "nothing that", "recover", "--give-up", "b")
	if out := m.ok("recover", "-n", "--give-up", "debian"); !strings.Contains(out, "would give up what debian wrote") {
		t.Errorf("recover -n: %s", out)
	}
	m.shows("what debian wrote is not in b yet")
	m.ok("recover", "--give-up", "debian")
	m.is("idle", "b", "b")
	m.hasPassword("alice", "$6$s$alice")
	m.setPassword("bob", "!$6$s$bob")
	m.ok("activate", "--permanent", "debian")
	m.comeUp()
	m.hasPassword("bob", "!$6$s$bob")
}
