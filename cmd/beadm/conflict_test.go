//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inConflict is a machine whose running system and new both changed a file.
func inConflict(m *machine) {
	write(m.t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app.conf\n")
	write(m.t, filepath.Join(m.root, "etc/app.conf"), "1\ncommon\n")
	m.ok("create", "new")
	write(m.t, filepath.Join(m.top, "@be-new/etc/app.conf"), "2\ncommon\n")
	write(m.t, filepath.Join(m.root, "etc/app.conf"), "3\ncommon\n")
	m.ok("activate", "new")
}

func (m *machine) says(want []string, args ...string) {
	m.t.Helper()
	out := m.ok(args...)
	for _, w := range want {
		if !strings.Contains(out, w) {
			m.t.Errorf("beadm %s: no %q in\n%s", strings.Join(args, " "), w, out)
		}
	}
}

func TestConflictsAreShownAndResolved(t *testing.T) {
	m := newMachine(t)
	m.says([]string{"nothing is in conflict"}, "sync", "conflicts")
	inConflict(m)
	// In new, which does not run yet.
	m.says([]string{"/etc/app.conf: changed there and here (debian, ", "the other side stands at /etc/.beadm-kept-"}, "sync", "conflicts", "--to", "new")
	m.says([]string{
		"base:     file, mode 0644", "outgoing: file", "incoming: file",
		"--- /etc/app.conf (base)\n+++ /etc/app.conf (outgoing)\n@@ -1,2 +1,2 @@\n-1\n+3\n common\n", "+++ /etc/app.conf (incoming)\n@@ -1,2 +1,2 @@\n-1\n+2\n",
	}, "sync", "diff", "--to", "new", "/etc/app.conf")
	m.says([]string{"nothing is in conflict"}, "sync", "conflicts")
	// And where it runs.
	m.comeUp()
	m.ok("confirm")
	m.says([]string{"/etc/app.conf"}, "sync", "conflicts")
	m.says([]string{"would take the outgoing side of /etc/app.conf into new"}, "sync", "resolve", "-n", "--take", "outgoing", "/etc/app.conf")
	m.says([]string{"/etc/app.conf"}, "sync", "conflicts")

	r := m.run("sync", "resolve", "--take", "outgoing", "/etc/app.conf")
	if got := read(t, filepath.Join(m.root, "etc/app.conf")); r.code != 0 || got != "3\ncommon\n" {
		t.Errorf("%v; app.conf: %q", r, got)
	}
	_, kept, _ := strings.Cut(strings.TrimSpace(r.err), "kept as ")
	if got := read(t, filepath.Join(m.root, kept)); got != "2\ncommon\n" {
		t.Errorf("kept at %q is %q", kept, got)
	}
	m.says([]string{"nothing is in conflict"}, "sync", "conflicts")
	m.says([]string{"sync resolve"}, "history")
	m.refused(3, "/etc/app.conf is not in conflict", "sync", "resolve", "--take", "outgoing", "/etc/app.conf")
}

func TestResolveByAFileInABootEnvironmentThatDoesNotRun(t *testing.T) {
	m := newMachine(t)
	inConflict(m)
	both := filepath.Join(t.TempDir(), "both")
	write(t, both, "3\n2\ncommon\n")
	long := time.Now().Add(-240 * time.Hour)
	if err := os.Chtimes(filepath.Join(m.top, "@be-new/etc/app.conf"), long, long); err != nil {
		t.Fatal(err)
	}
	m.ok("sync", "resolve", "--to", "new", "--take", both, "/etc/app.conf")
	m.comeUp()
	m.is("trying", "new", "debian")
	if got := read(t, filepath.Join(m.root, "etc/app.conf")); got != "3\n2\ncommon\n" {
		t.Errorf("app.conf: %q", got)
	}
	if info, err := os.Stat(filepath.Join(m.root, "etc/app.conf")); err != nil || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("the time of what is replaced: %v %v", info.ModTime(), err)
	}
	m.says([]string{"nothing is in conflict"}, "sync", "conflicts")
}

// A resolved conflict is not reported any more, neither is its notice.
func TestResolveEndsTheNotice(t *testing.T) {
	m := newMachine(t)
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app.conf\n")
	write(t, filepath.Join(m.root, "etc/app.conf"), "1\n")
	m.ok("create", "new")
	write(t, filepath.Join(m.top, "@be-new/etc/app.conf"), "2\n")
	m.ok("activate", "new")
	write(t, filepath.Join(m.root, "etc/app.conf"), "3\n")
	m.comeUp()
	m.ok("confirm")
	if n := len(m.status().Conflicts); n != 1 {
		t.Fatalf("%d conflicts in status", n)
	}
	m.ok("sync", "resolve", "--take", "incoming", "/etc/app.conf")
	if n := len(m.status().Conflicts); n != 0 {
		t.Errorf("%d conflicts in status", n)
	}
	if got := read(t, filepath.Join(m.root, "etc/app.conf")); got != "2\n" {
		t.Errorf("app.conf: %q", got)
	}
}

func TestResolveRefusesBadInput(t *testing.T) {
	m := newMachine(t)
	inConflict(m)
	fifo := filepath.Join(t.TempDir(), "fifo")
	sh(t, "mkfifo", fifo)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "give --take", []string{"/etc/app.conf"}},
		{2, "give --take", []string{"--take", "mine", "/etc/app.conf"}},
		{2, "give it from / on", []string{"--take", "incoming", "etc/app.conf"}},
		{3, "is not in conflict", []string{"--take", "incoming", "/etc/passwd"}},
		{3, "no such file", []string{"--take", "/nosuch", "/etc/app.conf"}},
		{2, "no regular file", []string{"--take", fifo, "/etc/app.conf"}},
		{3, "there is no boot environment", []string{"--to", "nosuch", "--take", "incoming", "/etc/app.conf"}},
	} {
		args := append([]string{"sync", "resolve", "--to", "new"}, c.args...)
		if c.args[0] == "--to" {
			args = append([]string{"sync", "resolve"}, c.args...)
		}
		m.refused(c.code, c.says, args...)
	}
	m.refused(3, "is not in conflict", "sync", "diff", "/etc/app.conf")
	// A link out of the boot environment in the file's place.
	m.ok("activate", "-T")
	dir := m.ok("mount", "new")
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "outside\n")
	conf := filepath.Join(strings.TrimSpace(dir), "etc/app.conf")
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, conf); err != nil {
		t.Fatal(err)
	}
	m.ok("unmount", "new")
	m.ok("sync", "resolve", "--to", "new", "--take", "outgoing", "/etc/app.conf")
	if got := read(t, outside); got != "outside\n" {
		t.Errorf("written through a link: %q", got)
	}
	if got := read(t, filepath.Join(m.top, "@be-new/etc/app.conf")); got != "3\ncommon\n" {
		t.Errorf("app.conf: %q", got)
	}
}

func TestSyncList(t *testing.T) {
	m := newMachine(t)
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "# ours\n/etc/app.conf\n/var/log/app APPEND\n!/etc/adjtime\n")
	m.says([]string{
		"# built-in\n/etc/passwd MERGE\n", "# /etc/beadm/synclist\n/etc/app.conf OVERWRITE\n/var/log/app APPEND\n!/etc/adjtime\n",
	}, "sync", "list")
	m.ok("create", "new")
	write(t, filepath.Join(m.top, "@be-new/etc/beadm/synclist"), "/etc/other KEEP\n")
	m.says([]string{"/etc/other KEEP\n"}, "sync", "list", "--from", "new")
}

// Nothing is changed by an activation that is refused, but that another trial
// was armed: that is said.
func TestStrictWhileArmed(t *testing.T) {
	m := newMachine(t)
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app.conf\n")
	write(t, filepath.Join(m.root, "etc/app.conf"), "1\n")
	m.ok("create", "new")
	m.ok("create", "other")
	write(t, filepath.Join(m.top, "@be-new/etc/app.conf"), "2\n")
	write(t, filepath.Join(m.root, "etc/app.conf"), "3\n")
	m.ok("activate", "other")
	if r := m.run("activate", "--strict", "new"); r.code != 5 || !strings.Contains(r.err, "the trial of other, which was armed, was taken back: activate it again") {
		t.Error(r)
	}
	m.is("idle", "debian", "debian")
}
