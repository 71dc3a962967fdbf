//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

// What status advises is about the boot environment that failed, whatever it
// and another one are called now.
func TestAdviceAfterARename(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.comeUp()
	m.ok("rename", "new", "other")
	m.ok("create", "new")
	if st := m.status(); st.Failure == nil || st.Failure.Name != "other" {
		t.Errorf("failed: %+v", st.Failure)
	}
	m.says([]string{"FAILED:   the trial of other ", "or beadm destroy other\n"}, "status")
	m.ok("destroy", "-F", "other")
	if out := m.ok("status"); strings.Contains(out, "beadm destroy") {
		t.Errorf("of one that is gone:\n%s", out)
	}

	m.ok("status", "--acknowledge")
	m.ok("activate", "new")
	m.switchTo("@debian")
	m.ok("boot") // the loader did not take the token
	m.ok("rename", "new", "third")
	m.says([]string{"note:     third was armed and not tried", "beadm activate third tries it again"}, "status")
	m.ok("destroy", "-F", "third")
	if out := m.ok("status"); strings.Contains(out, "tries it again") {
		t.Errorf("of one that is gone:\n%s", out)
	}
}

func TestAdviceAfterARollbackInATrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	if r := m.run("rollback"); r.code != 0 || !strings.Contains(r.err, "new runs until the reboot that ends its trial") || !strings.Contains(r.err, "debian boots next") {
		t.Error(r)
	}
	if st := m.status(); !slices.Equal(st.Todo, []string{"a reboot ends the trial and starts debian"}) {
		t.Errorf("to do: %q", st.Todo)
	}
	m.refused(4, "debian boots next", "confirm")
}

// One that was started once is left by a reboot. What was the default before
// the present one has nothing to do with it.
func TestRollbackInOneStartedOnce(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "a")
	m.ok("activate", "a")
	m.comeUp()
	m.ok("confirm")
	m.ok("create", "b")
	m.ok("activate", "-t", "b")
	m.comeUp()
	m.is("idle", "b", "a")
	m.refused(4, "a reboot starts a", "rollback")
	m.is("idle", "b", "a")
	m.comeUp()
	m.is("idle", "a", "a")
	m.ok("rollback")
	m.is("idle", "a", "debian")
}

// beadm boot by hand, where the system is up, takes no armed trial back.
func TestBootByHandWhileArmed(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	r := m.host("ro quiet", "boot")
	if r.code != 4 || !strings.Contains(r.err, "a trial of new is armed, which this would take back") {
		t.Error(r)
	}
	m.is("armed", "debian", "debian")

	// A guest's host boots it like this: that is heard.
	if r := m.run("boot"); r.code != 0 || !strings.Contains(r.err, "the armed trial of new was taken back") {
		t.Error(r)
	}
	m.is("idle", "debian", "debian")
}
