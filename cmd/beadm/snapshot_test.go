//go:build linux

package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A snapshot holds what was there, is cloned by its name, and goes when asked;
// what others were cloned from stays.
func TestSnapshots(t *testing.T) {
	m := newMachine(t)
	file := filepath.Join(m.root, "etc/hostname")
	write(t, file, "before\n")
	m.ok("create", "debian@mine")
	write(t, file, "after\n")
	byTime := strings.TrimSpace(m.ok("snapshot", "debian"))
	if !regexp.MustCompile(`^debian@\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d$`).MatchString(byTime) {
		t.Errorf("snapshot prints %q", byTime)
	}
	if again := strings.TrimSpace(m.ok("snapshot", "debian")); again == byTime {
		t.Errorf("two snapshots are %q", again)
	}
	m.ok("create", "-e", "debian@mine", "old")
	m.ok("create", "-e", byTime, "new")
	for be, want := range map[string]string{"old": "before\n", "new": "after\n"} {
		dir := strings.TrimSpace(m.ok("mount", "-s", "ro", be))
		if got := read(t, filepath.Join(dir, "etc/hostname")); got != want {
			t.Errorf("%s holds %q", be, got)
		}
		m.ok("unmount", be)
	}
	m.ok("create", "-e", "debian@mine", "older")
	m.refused(4, "it is what old, older was cloned from", "destroy", "-F", "debian@mine")
	m.ok("destroy", "-F", "old")
	m.ok("destroy", "-F", "older")
	if said := m.ok("destroy", "-n", "debian@mine"); !strings.Contains(said, "would destroy debian@mine") {
		t.Errorf("the dry run says %q", said)
	}
	m.ok("destroy", "-F", "debian@mine")
	m.refused(3, "there is no snapshot debian@mine", "create", "-e", "debian@mine", "x")
}

// A rollback to a snapshot loses nothing: what was there is another one.
func TestRollbackToASnapshot(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "-d", "the new one", "new")
	m.ok("activate", "new") // it gets a menu entry
	m.ok("activate", "-T")
	hostname := func(be string) string {
		dir := strings.TrimSpace(m.ok("mount", "-s", "ro", be))
		defer m.ok("unmount", be)
		return strings.TrimSpace(read(t, filepath.Join(dir, "etc/hostname")))
	}
	set := func(be, name string) {
		dir := strings.TrimSpace(m.ok("mount", be))
		write(t, filepath.Join(dir, "etc/hostname"), name+"\n")
		m.ok("unmount", be)
	}
	set("new", "good")
	m.ok("snapshot", "new@good")
	set("new", "bad")
	if said := m.ok("rollback", "-n", "new@good"); !strings.Contains(said, "would clone") || hostname("new") != "bad" {
		t.Errorf("the dry run says %q", said)
	}
	m.ok("prune", "--pin", "new")
	kept := strings.TrimSpace(m.ok("rollback", "new@good"))
	if said := m.ok("prune", "--keep", "0", "-n"); strings.Count(said, "it is pinned") != 2 {
		t.Errorf("both are to be pinned now:\n%s", said)
	}
	if hostname("new") != "good" || hostname(kept) != "bad" || kept == "new" {
		t.Errorf("new is %s, and %s is %s", hostname("new"), kept, hostname(kept))
	}
	again := strings.TrimSpace(m.ok("rollback", kept, "good"))
	if hostname(kept) != "good" || hostname(again) != "bad" {
		t.Errorf("%s is %s, and %s is %s", kept, hostname(kept), again, hostname(again))
	}
	for _, be := range []string{"new", kept, again} {
		m.ok("activate", be)
		m.comeUp()
		m.is("trying", be, "debian")
		m.ok("rollback")
		m.comeUp()
	}
	m.ok("snapshot", "debian@s")
	m.refused(4, "create -e debian@s NEW", "rollback", "debian@s")
}

func TestWrongSnapshots(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("snapshot", "new@mine")
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"snapshot nosuch", 3, "nosuch"},
		{"snapshot new@", 2, "names no snapshot"},
		{"create new@", 2, "snapshot name"},
		{"snapshot new@mine", 4, "new@mine exists already"},
		{"create new@mine", 4, "new@mine exists already"},
		{"snapshot new@a/b", 2, "not valid"},
		{"snapshot new@-a", 2, "not valid"},
		{"snapshot new@a@b", 2, "not valid"},
		{"snapshot new@beadm-x", 2, "by itself"},
		{"snapshot @mine", 2, "empty"},
		{"create -a new@more", 2, "for boot environments"},
		{"create -e debian new@more", 2, "for boot environments"},
		{"create -o readonly=on new@more", 2, "for boot environments"},
		{"rollback new", 2, "names no snapshot"},
		{"rollback new@nosuch", 3, "there is no snapshot new@nosuch"},
		{"rollback nosuch@mine", 3, "nosuch"},
		{"rollback new@mine mine", 2, "not new@mine mine"},
		{"rollback --share new@mine", 2, "--share and --reboot"},
		{"destroy -F new@nosuch", 3, "there is no snapshot new@nosuch"},
		{"destroy -F new@", 2, "no name of a snapshot"},
		{"destroy -F nosuch@mine", 3, "nosuch"},
		{"destroy -F ../x@mine", 2, "not valid"},
		{"destroy -F -f new@mine", 2, "never mounted"},
	} {
		m.refused(c.code, c.says, strings.Fields(c.line)...)
	}
}

func TestCreateOnce(t *testing.T) {
	m := newMachine(t)
	m.refused(2, "-a and -t", "create", "-a", "-t", "x")
	m.says([]string{"would activate once x"}, "create", "-t", "-n", "x")
	m.ok("create", "-t", "x")
	if st := m.status(); st.State != "once" || st.Next != "x" || st.Default != "debian" {
		t.Errorf("after create -t: %+v", st)
	}
}

func TestDestroyWithOrigin(t *testing.T) {
	m := newMachine(t)
	m.ok("snapshot", "debian@kept")
	m.ok("create", "-e", "debian@kept", "a")
	m.ok("create", "-e", "debian@kept", "b")
	has := func() bool { return strings.Contains(m.ok("list", "-s"), "debian@kept") }
	m.refused(2, "-o and -s", "destroy", "-F", "-o", "debian@kept")
	m.says([]string{"would destroy debian@kept"}, "destroy", "-n", "-o", "a")
	if r := m.run("destroy", "-F", "-o", "-s", "a"); r.code != 0 || !strings.Contains(r.err, "debian@kept stays") || !has() {
		t.Errorf("b came of the origin, too: %v", r)
	}
	if r := m.run("destroy", "-F", "-o", "b"); r.code != 0 || has() {
		t.Errorf("the origin of the last clone stays: %v", r)
	}
	m.ok("create", "c")
	if r := m.run("destroy", "-Fo", "c"); r.code != 0 || strings.Contains(r.err, "stays") {
		t.Errorf("the automatic origin: %v", r)
	}
}
