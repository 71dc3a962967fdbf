//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
