//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be/state"
)

// mailIs reads a mailbox as a program in the running root does.
func (m *machine) mailIs(user, want string) {
	m.t.Helper()
	got, err := os.ReadFile(filepath.Join(m.root, "var/mail", user))
	if err != nil || string(got) != want {
		m.t.Errorf("in %s %s's mail is %q %v, wanted %q", m.boots, user, got, err, want)
	}
}

// The power went while directories were being moved, and another boot
// environment is started, which has never seen the shared data: it is not to
// conclude from its own directories that nothing was moved.
func TestRelocationThatAnotherBootEnvironmentFinds(t *testing.T) {
	for _, rec := range []string{
		`"op":"init","root":"/","phase":"exchanging","names":["log","mail","spool","tmp"],"units":["x.service"]`, // an older beadm
		`"be":"UUID","op":"init","root":"/","phase":"exchanging","names":["log","mail","spool","tmp"]`,
		`"be":"UUID","op":"init","root":"/","phase":"starting","names":["log","mail","spool","tmp"],"units":["x.service"]`,
	} {
		t.Run("", func(t *testing.T) {
			m := newMachine(t)
			m.ok("create", "before")
			m.ok("activate", "--permanent", "before")
			m.comeUp()
			m.ok("activate", "--permanent", "debian")
			m.comeUp()
			m.ok("share", "init")
			file := filepath.Join(filepath.Dir(m.journal()), "share.json")
			check(t, os.WriteFile(file, []byte(`{"version":1,`+strings.Replace(rec, "UUID", m.uuid(), 1)+`}`), 0o600))
			write(t, filepath.Join(m.root, "var/mail/bob"), "bob's only mail\n")
			m.switchTo("@be-before")
			m.ok("boot")
			m.mailIs("bob", "bob's only mail\n")
			m.mailIs("alice", "first mail\n")
			write(t, filepath.Join(m.root, "var/mail/carol"), "carol's only mail\n")
			m.switchTo("@debian")
			m.ok("boot")
			m.is("idle", "debian", "debian")
			for _, user := range []string{"bob", "carol"} {
				m.mailIs(user, user+"'s only mail\n")
			}
			if _, err := os.Lstat(file); !os.IsNotExist(err) {
				t.Errorf("the record stays: %v", err)
			}
		})
	}
}

// uuid is that of the boot environment that is the default.
func (m *machine) uuid() string {
	m.t.Helper()
	var st state.State
	check(m.t, st.UnmarshalJSON([]byte(read(m.t, filepath.Join(filepath.Dir(m.journal()), "state.json")))))
	return string(st.Default)
}

// A guest whose /var/share is a link: it leads neither a mount nor a file to a
// directory of the host.
func TestShareOfAGuestLeadsOut(t *testing.T) {
	for _, at := range []string{"var/share", "var"} {
		t.Run(at, func(t *testing.T) {
			m := newMachine(t)
			m.ok("share", "init")
			victim := t.TempDir()
			check(t, unix.Mount("victim", victim, "tmpfs", 0, ""))
			t.Cleanup(func() { unix.Unmount(victim, unix.MNT_DETACH) })
			write(t, filepath.Join(victim, "share/precious"), "x")
			sh(t, "umount", "-R", m.root)
			m.mountRoot(m.boots)
			point := filepath.Join(m.root, "var/share")
			exec.Command("chattr", "-i", point).Run()
			check(t, os.Remove(point))
			write(t, filepath.Join(m.root, "var/.beadm-staged/mail/eve"), "hers\n")
			if at == "var" {
				check(t, os.Rename(filepath.Join(m.root, "var"), filepath.Join(m.root, "elsewhere")))
				check(t, os.Symlink(victim, filepath.Join(m.root, "var")))
			} else {
				check(t, os.Symlink(filepath.Join(victim, "share"), point))
			}
			safe := func(r result) {
				t.Helper()
				for i := range 2 {
					var found []string
					check(t, filepath.WalkDir(victim, func(path string, d os.DirEntry, err error) error {
						found = append(found, strings.TrimPrefix(path, victim))
						return err
					}))
					if got := strings.Join(found, " "); got != " /share /share/precious" {
						t.Errorf("the host's directory holds %q\n%v", got, r)
						return
					}
					if i == 0 && unix.Unmount(filepath.Join(victim, "share"), unix.MNT_DETACH) == nil {
						t.Errorf("something was mounted over the host's directory\n%v", r)
					}
				}
			}
			r := m.run("boot")
			safe(r)
			if st := m.status(); st.Trouble == nil || !strings.Contains(st.Trouble.Why, "no place for the shared data") {
				t.Errorf("%+v", st.Trouble)
			}
			for _, args := range [][]string{{"boot"}, {"create", "new"}, {"activate", "--permanent", "new"}, {"recover"}, {"share", "init"}} {
				safe(m.run(args...))
			}
			// Without beadm's state, too.
			sh(t, "umount", "-R", m.root)
			check(t, os.Rename(filepath.Join(m.top, "@beadm"), filepath.Join(m.top, "@gone")))
			m.mountRoot(m.boots)
			safe(m.run("boot"))
			check(t, os.Rename(filepath.Join(m.top, "@gone"), filepath.Join(m.top, "@beadm")))
		})
	}
}

// A boot environment from before the relocation ran while the shared data
// could not be found, and got mail of its own: it is there at the next boot.
func TestMailOfABootWithoutTheSharedData(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "before")
	m.ok("share", "init")
	hide := func(from, to string) {
		t.Helper()
		sh(t, "umount", "-R", m.root)
		check(t, os.Rename(filepath.Join(m.top, from), filepath.Join(m.top, to)))
		m.mountRoot(m.boots)
	}
	m.switchTo("@be-before")
	hide("@varshare", "@elsewhere")
	m.ok("boot")
	write(t, filepath.Join(m.root, "var/mail/bob"), "bob's only mail\n")
	hide("@elsewhere", "@varshare")
	for range 2 {
		m.switchTo("@be-before")
		m.ok("boot")
		m.mailIs("bob", "bob's only mail\n")
		m.mailIs("alice", "first mail\n")
	}
}

// The snapshots of switches long past go when somebody has looked.
func TestOldSnapshotsOfSharedData(t *testing.T) {
	m := newMachine(t)
	m.ok("share", "init")
	m.ok("create", "new")
	m.ok("activate", "new")
	failed := m.activation()
	m.comeUp()
	m.comeUp()
	m.is("failed", "debian", "debian")
	long := func(name string) string {
		i := strings.LastIndexByte(name, '-')
		return name[:i] + "-20200101T000000Z"
	}
	of := func(activation string) (names []string) {
		for _, name := range m.shareSnapshots() {
			if strings.Contains(name, activation) {
				names = append(names, name)
			}
		}
		return names
	}
	found := of(failed)
	if len(found) != 1 {
		t.Fatalf("%q", found)
	}
	check(t, os.Rename(found[0], long(found[0])))
	for _, other := range []string{"a", "b", "c", "d", "e"} {
		sh(t, "btrfs", "-q", "subvolume", "snapshot", "-r", long(found[0]), strings.Replace(long(found[0]), failed, other, 1))
	}
	before := m.shareSnapshots()
	m.comeUp()
	if got := m.shareSnapshots(); len(got) != len(before) {
		t.Errorf("a boot took snapshots away: %q", got)
	}
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	m.ok("activate", "--permanent", "debian")
	m.comeUp()
	m.ok("status", "--acknowledge")
	// Those of the last two switches, and one of those before.
	if left := m.shareSnapshots(); len(left) != 3 {
		t.Errorf("%q", left)
	}
}
