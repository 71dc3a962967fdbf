//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/stub"
	"beadm/be/state"
)

func (m *machine) is(word, running, def string) {
	m.t.Helper()
	st := m.status()
	if st.State != word || st.Running != running || st.Default != def {
		m.t.Fatalf("wanted: %s, running %s, default %s\nbut it is %+v", word, running, def, st)
	}
	if st.Owed != "" || st.Open != "" || st.Trouble != nil && word != "trying" {
		m.t.Fatalf("left open: %+v", st)
	}
	// The loader must say the same, or the next boot is a surprise.
	l, err := stub.New(stub.Config{Dir: m.loader}).State(m.t.Context())
	check(m.t, err)
	e, err := stub.ReadEntry(m.loader, l.Default)
	check(m.t, err)
	if e.Title != def {
		m.t.Fatalf("the default is %s, but the loader's %s", def, e.Title)
	}
	if armed := (word == "armed" || word == "once") && st.Trial != nil && st.Trial.Phase == "armed"; armed != (l.Trial != "") {
		m.t.Fatalf("state %s, but the loader's token is %q", word, l.Trial)
	}
}

func (m *machine) setPassword(user, hash string) {
	m.t.Helper()
	path := filepath.Join(m.root, "etc/shadow")
	lines := strings.Split(read(m.t, path), "\n")
	for i, l := range lines {
		if f := strings.Split(l, ":"); f[0] == user {
			f[1] = hash
			lines[i] = strings.Join(f, ":")
		}
	}
	check(m.t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o640))
}

func (m *machine) password(user string) string {
	m.t.Helper()
	for l := range strings.Lines(read(m.t, filepath.Join(m.root, "etc/shadow"))) {
		if f := strings.Split(l, ":"); f[0] == user {
			return f[1]
		}
	}
	return "no such user"
}

func (m *machine) locked(user string) {
	m.t.Helper()
	if p := m.password(user); !strings.HasPrefix(p, "!") {
		m.t.Errorf("%s can log in to %s: %q", user, m.boots, p)
	}
}

func TestCycle(t *testing.T) {
	m := newMachine(t)
	patch := m.addShell()
	m.is("idle", "debian", "debian")
	m.ok("create", "new", "-d", "patched")
	m.setPassword("alice", "!$6$s$alice")
	if patch {
		m.ok("upgrade", "new", "--", "/bin/sh", "-c", "echo 2 >/usr/lib/os; echo added:x:900:900::/:/bin/sh >>/etc/passwd")
	} else {
		t.Log("no /bin/busybox (package busybox-static): without an upgrade")
		write(t, filepath.Join(m.top, "@be-new/usr/lib/os"), "2\n")
	}
	m.is("idle", "debian", "debian")
	m.ok("activate", "new")
	m.is("armed", "debian", "debian")
	if st := m.status(); st.Next != "new" || st.Trial.BE != "new" || st.Trial.From != "debian" {
		t.Errorf("%+v", st)
	}
	// After the last reconcile in the old one, seconds before the reboot.
	m.setPassword("bob", "!$6$s$bob")
	m.setPassword("dave", "$6$t$second")
	// Neither of the two may go or change under an armed trial.
	m.refused(4, "armed trial", "destroy", "-F", "new")
	m.refused(4, "armed trial", "rename", "new", "x")
	m.refused(4, "armed trial", "mount", "new")
	m.refused(4, "armed trial", "destroy", "-F", "debian")
	m.refused(4, "armed trial", "upgrade", "new", "--", "/bin/true")
	m.refused(4, "trial is armed", "share", "init")

	m.comeUp()
	m.is("trying", "new", "debian")
	if got := read(t, filepath.Join(m.root, "usr/lib/os")); got != "2\n" {
		t.Errorf("the patch is not there: %q", got)
	}
	m.locked("alice")
	m.locked("bob")
	if p := m.password("dave"); p != "$6$t$second" {
		t.Errorf("dave's new password has not arrived: %q", p)
	}
	if p := m.password("carol"); p != "$6$s$carol" {
		t.Errorf("carol's password changed: %q", p)
	}
	if b, err := os.Stat(filepath.Join(m.root, "etc/shadow")); err != nil || b.Mode().Perm() != 0o640 {
		t.Errorf("shadow has mode %v %v", b.Mode(), err)
	}
	if passwd := read(t, filepath.Join(m.root, "etc/passwd")); patch && !strings.Contains(passwd, "added:x:900:900::/:/bin/sh\n") || !strings.Contains(passwd, "alice:x:1000") {
		t.Errorf("a package's user is gone: %s", passwd)
	}
	for _, args := range [][]string{
		{"activate", "debian"}, {"activate", "-T"}, {"destroy", "-F", "debian"}, {"rename", "debian", "x"}, {"mount", "debian"}, {"describe", "debian", "x"},
		{"upgrade", "x", "--", "/bin/true"}, {"share", "init"}, {"sync", "run", "--to", "debian"}, {"setup", "--loader", "stub", "--loader-dir", m.loader},
	} {
		m.refused(4, "during a trial", args...)
	}
	m.ok("confirm")
	m.is("idle", "new", "new")
	if st := m.status(); st.Previous != "debian" {
		t.Errorf("no way back: %+v", st)
	}
	m.ok("confirm") // once more is nothing
	m.comeUp()
	m.is("idle", "new", "new")

	m.setPassword("carol", "$6$u$third")
	m.ok("rollback")
	m.is("idle", "new", "debian")
	m.comeUp()
	m.is("idle", "debian", "debian")
	if p := m.password("carol"); p != "$6$u$third" {
		t.Errorf("what was set while new ran is lost: %q", p)
	}
	m.locked("alice")
	m.locked("bob")
	if got := read(t, filepath.Join(m.root, "usr/lib/os")); got != "1\n" {
		t.Errorf("the patch came back along: %q", got)
	}
	if out := m.ok("history"); !strings.Contains(out, "confirm") || !strings.Contains(out, "rollback") {
		t.Errorf("history: %s", out)
	}
	m.ok("destroy", "-F", "new")
	m.is("idle", "debian", "debian")
	if entries, err := filepath.Glob(filepath.Join(m.loader, "entries/*")); err != nil || len(entries) != 1 {
		t.Errorf("entries of the loader: %q", entries)
	}
}

func TestFailedTrials(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	failed := func(reason string) {
		t.Helper()
		m.comeUp()
		m.is("failed", "debian", "debian")
		if st := m.status(); st.Failure == nil || st.Failure.Name != "new" || st.Failure.Reason != reason {
			t.Fatalf("wanted %q: %+v %+v", reason, st, st.Failure)
		}
		if out := m.ok("status"); !strings.Contains(out, reason) {
			t.Errorf("status does not say why: %s", out)
		}
		// It is not tried again by itself.
		m.comeUp()
		m.is("failed", "debian", "debian")
	}
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	// Somebody is dismissed during the trial: also where nobody decides.
	m.setPassword("alice", "!$6$s$alice")
	failed(state.ReasonReset)
	m.locked("alice")
	m.ok("status", "--acknowledge")
	m.is("idle", "debian", "debian")

	// The kernel panics before beadm runs.
	m.ok("activate", "new")
	m.loads()
	failed(state.ReasonNoUserland)

	// Activating it again is an answer, too.
	m.ok("activate", "new")
	m.is("armed", "debian", "debian")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.setPassword("dave", "$6$t$second")
	m.ok("rollback")
	m.is("trying", "new", "debian")
	// Nor does the confirmation of a timer undo what the operator decided.
	m.refused(4, "its trial has ended (rolled back by operator) and debian boots next", "confirm")
	failed(state.ReasonOperator)
	if p := m.password("dave"); p != "$6$t$second" {
		t.Errorf("the operator was there, and dave's password is lost: %q", p)
	}
	m.ok("destroy", "-F", "new")
	m.is("idle", "debian", "debian")
}

func TestNotTried(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	// Somebody chose the old one in the firmware: the loader never ran.
	m.switchTo("@debian")
	m.ok("boot")
	m.is("idle", "debian", "debian")
	if st := m.status(); st.NotTried == nil || st.NotTried.Name != "new" || st.NotTried.Why == "" || st.NotTried.At.IsZero() {
		t.Errorf("%+v", st)
	}
	if out := m.ok("status"); !strings.Contains(out, "new was armed and not tried") {
		t.Error(out)
	}
	// The token is gone: the next boot is no surprise.
	m.comeUp()
	m.is("idle", "debian", "debian")
	m.ok("status", "--acknowledge")
	if out := m.ok("status"); strings.Contains(out, "not tried") {
		t.Error(out)
	}
}

func TestTakenBack(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	for _, how := range [][]string{{"activate", "-T"}, {"activate", "-T", "new"}, {"rollback"}, {"activate", "debian"}} {
		m.ok("activate", "new")
		m.is("armed", "debian", "debian")
		m.ok(how...)
		m.is("idle", "debian", "debian")
		m.comeUp()
		m.is("idle", "debian", "debian")
	}
	m.ok("activate", "-T") // nothing is armed: nothing to do

	// Twice, and in another way: it is the last that counts.
	m.ok("activate", "-t", "new")
	m.ok("activate", "new")
	m.is("armed", "debian", "debian")
	m.ok("activate", "new")
	m.is("armed", "debian", "debian")
	// Somebody took the token at the loader: nothing waits for a trial that
	// never comes.
	check(t, stub.New(stub.Config{Dir: m.loader}).Disarm(t.Context()))
	if out := m.ok("recover"); !strings.Contains(out, "the trial of new is not armed: forgotten") {
		t.Error(out)
	}
	m.is("idle", "debian", "debian")
	if out := m.ok("recover"); out != "" {
		t.Errorf("recovered twice: %s", out)
	}

	m.ok("activate", "new")
	m.ok("activate", "third")
	if st := m.status(); st.State != "armed" || st.Trial.BE != "third" || st.Next != "third" {
		t.Errorf("%+v", st)
	}
	m.comeUp()
	m.is("trying", "third", "debian")
	m.ok("confirm")
	m.is("idle", "third", "third")
}

func TestPermanent(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.setPassword("alice", "!$6$s$alice")
	m.ok("activate", "--permanent", "new")
	m.is("idle", "debian", "new")
	m.setPassword("bob", "!$6$s$bob")
	m.comeUp()
	m.is("idle", "new", "new")
	m.locked("alice")
	m.locked("bob")
	m.comeUp()
	m.is("idle", "new", "new")
	m.ok("rollback")
	m.comeUp()
	m.is("idle", "debian", "debian")
}

func TestOnce(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new", "-t")
	m.is("once", "debian", "debian")
	m.setPassword("bob", "!$6$s$bob")
	m.comeUp()
	// It runs; nothing is to be decided.
	m.is("idle", "new", "debian")
	m.locked("bob")
	m.setPassword("dave", "$6$t$second")
	m.ok("confirm")
	m.is("idle", "new", "debian")
	m.comeUp()
	m.is("idle", "debian", "debian")
	if p := m.password("dave"); p != "$6$t$second" {
		t.Errorf("what was set while new ran is lost: %q", p)
	}
	// One that never reached services has failed.
	m.ok("activate", "-t", "new")
	m.loads()
	m.comeUp()
	m.is("failed", "debian", "debian")
}

// shareSnapshots are the names of the shared data's.
func (m *machine) shareSnapshots() []string {
	m.t.Helper()
	var names []string
	for _, pattern := range []string{"*varshare*beadm-*", "*/*varshare*beadm-*", "*/*varshare*/beadm-*"} {
		found, err := filepath.Glob(filepath.Join(m.top, pattern))
		check(m.t, err)
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestSharedMailStays(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "before") // from before the relocation
	if out := m.ok("share", "init"); !strings.Contains(out, "moved /var/mail\n") {
		t.Fatal(out)
	}
	mail := func(want string) {
		t.Helper()
		if to, err := os.Readlink(filepath.Join(m.root, "var/mail")); err != nil || to != "share/mail" {
			t.Errorf("/var/mail in %s leads to %q %v", m.boots, to, err)
		}
		if got := read(t, filepath.Join(m.root, "var/mail/alice")); got != want {
			t.Errorf("the mail in %s is %q, not %q", m.boots, got, want)
		}
	}
	arrives := func(text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(m.root, "var/mail/alice"), os.O_APPEND|os.O_WRONLY, 0)
		check(t, err)
		_, err = f.WriteString(text)
		check(t, err)
		check(t, f.Close())
	}
	mail("first mail\n")
	m.ok("create", "new")
	m.ok("activate", "new")
	activation := m.activation()
	arrives("second mail\n")
	m.comeUp()
	m.is("trying", "new", "debian")
	mail("first mail\nsecond mail\n")
	// What the new mailer has not touched yet can be looked at.
	var of []string
	for _, name := range m.shareSnapshots() {
		if strings.Contains(name, activation) {
			of = append(of, name)
		}
	}
	if len(of) != 1 {
		t.Errorf("the switch's snapshots of the shared data are %q among %q", of, m.shareSnapshots())
	} else if got := read(t, filepath.Join(of[0], "mail/alice")); got != "first mail\nsecond mail\n" {
		t.Errorf("the snapshot holds %q", got)
	}
	arrives("mail of the trial\n")
	m.ok("confirm")
	m.ok("rollback")
	arrives("last mail\n")
	m.comeUp()
	m.is("idle", "debian", "debian")
	all := "first mail\nsecond mail\nmail of the trial\nlast mail\n"
	mail(all)
	// Cut off in a trial: the mail of it stays, too.
	m.ok("activate", "new")
	m.comeUp()
	arrives("mail of a failed trial\n")
	m.comeUp()
	m.is("failed", "debian", "debian")
	all += "mail of a failed trial\n"
	mail(all)
	m.ok("status", "--acknowledge")
	// One that has its own mailbox, from before: it is led to the shared one.
	m.ok("activate", "before")
	m.comeUp()
	m.is("trying", "before", "debian")
	mail(all)
	m.ok("confirm")
	m.is("idle", "before", "before")
	// What is mounted in a root at rest is not the live data.
	dir := strings.TrimSpace(m.ok("mount", "new"))
	if _, err := os.Stat(filepath.Join(dir, "var/mail/alice")); !os.IsNotExist(err) {
		t.Errorf("the live mail is seen in a boot environment at rest: %v", err)
	}
	m.ok("unmount", "new")
	check(t, unix.Access(filepath.Join(m.root, "var/mail/alice"), unix.R_OK))
}

func TestSharedDataCannotBeMounted(t *testing.T) {
	m := newMachine(t)
	m.ok("share", "init")
	m.ok("create", "new")
	hide := func(from, to string) {
		t.Helper()
		sh(t, "umount", "-R", m.root)
		check(t, os.Rename(filepath.Join(m.top, from), filepath.Join(m.top, to)))
		m.mountRoot(m.boots)
	}
	// The machine comes up, its administrator can log in, and it is said.
	hide("@varshare", "@elsewhere")
	m.comeUp()
	if info, err := os.Stat(filepath.Join(m.root, "var/mail")); err != nil || !info.IsDir() {
		t.Errorf("/var/mail leads nowhere: %v", err)
	}
	if st := m.status(); st.State != "idle" || st.Trouble == nil {
		t.Errorf("%+v", st)
	}
	if out := m.ok("status"); !strings.Contains(out, "BOOT:     at ") || !strings.Contains(out, "the shared data cannot be mounted") {
		t.Error(out)
	}
	hide("@elsewhere", "@varshare")
	m.comeUp()
	m.is("idle", "debian", "debian")
	if st := m.status(); st.Trouble != nil {
		t.Errorf("%+v", st)
	}
	if got := read(t, filepath.Join(m.root, "var/mail/alice")); got != "first mail\n" {
		t.Errorf("the mail is %q", got)
	}
	// A trial does not go on without it.
	m.ok("activate", "new")
	hide("@varshare", "@elsewhere")
	m.loads()
	if r := m.run("boot"); r.code != 14 || !strings.Contains(r.err, "the shared data cannot be mounted") {
		t.Error(r)
	}
	m.loads()
	hide("@elsewhere", "@varshare")
	m.ok("boot")
	m.is("failed", "debian", "debian")
	if st := m.status(); st.Failure.Reason != state.ReasonBoot || !strings.Contains(st.Failure.Detail, "shared data") {
		t.Errorf("%+v", st.Failure)
	}
}

// activation is the armed trial's.
func (m *machine) activation() string {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.top, "@beadm/*/state.json"))
	if err != nil || len(files) != 1 {
		m.t.Fatalf("%q %v", files, err)
	}
	var st state.State
	check(m.t, st.UnmarshalJSON([]byte(read(m.t, files[0]))))
	if st.Trial == nil {
		m.t.Fatal("nothing is armed")
	}
	return st.Trial.Activation
}
