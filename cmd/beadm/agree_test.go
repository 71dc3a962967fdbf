//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/stub"
)

// anotherTool makes the boot environment name the loader's default, and takes
// its token, as another tool would.
func (m *machine) anotherTool(name string) {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.loader, "entries/*.json"))
	check(m.t, err)
	for _, f := range files {
		id := strings.TrimSuffix(filepath.Base(f), ".json")
		if e, err := stub.ReadEntry(m.loader, id); err == nil && e.Title == name {
			check(m.t, stub.New(stub.Config{Dir: m.loader}).SetDefault(m.t.Context(), id))
			return
		}
	}
	m.t.Fatalf("the loader has no entry of %s", name)
}

func (m *machine) listed(name string) (next bool) {
	m.t.Helper()
	var list []struct {
		Name string
		Next bool
	}
	check(m.t, json.Unmarshal([]byte(m.ok("--json", "list")), &list))
	for _, b := range list {
		if b.Name == name {
			return b.Next
		}
	}
	m.t.Fatalf("%s is not listed", name)
	return false
}

// What another tool made the default is said, relied on by no trial, and set
// right, or kept.
func TestDefaultChangedFromOutside(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	m.ok("activate", "--permanent", "new")
	m.anotherTool("debian")
	st := m.status()
	if st.Default != "new" || st.Next != "debian" || len(st.Differs) != 1 {
		t.Errorf("%+v", st)
	}
	m.says([]string{"LOADER:   the loader starts debian by default, not new", "next:     debian\n", "to do:    beadm recover makes new the default again"}, "status")
	if !m.listed("debian") || m.listed("new") {
		t.Error("list does not say what boots next")
	}
	m.refused(13, "beadm recover sets it right", "activate", "third")
	m.refused(13, "beadm recover sets it right", "activate", "-t", "third")
	m.says([]string{"would make new the loader's default again, which debian is"}, "recover", "-n")
	m.says([]string{"new is the loader's default again"}, "recover")
	m.is("idle", "debian", "new")
	if st := m.status(); len(st.Differs) > 0 || st.Next != "new" {
		t.Errorf("%+v", st)
	}
	m.ok("activate", "third")
	m.ok("activate", "-T")

	m.anotherTool("debian")
	m.ok("activate", "--permanent", "debian")
	m.is("idle", "debian", "debian")
	if p := m.status().Previous; p != "new" {
		t.Errorf("previous: %s", p)
	}
}

// The same while a trial is armed: what it would come back to is another, and
// its token went.
func TestDefaultChangedWhileArmed(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	m.ok("activate", "--permanent", "third")
	m.ok("activate", "new")
	m.anotherTool("debian")
	if st := m.status(); st.Next != "debian" || len(st.Differs) != 2 {
		t.Errorf("%+v", st)
	}
	m.ok("recover")
	m.is("idle", "debian", "third")

	// The token is there, the default is another.
	m.ok("activate", "new")
	env := filepath.Join(m.loader, "env")
	text := read(t, env)
	armed := text
	m.anotherTool("debian")
	id := func(text, name string) string {
		_, rest, _ := strings.Cut(text, name+"=")
		return rest[:strings.IndexByte(rest, '\n')]
	}
	text = strings.Replace(armed, "beadm_default="+id(armed, "beadm_default"), "beadm_default="+id(read(t, env), "beadm_default"), 1)
	check(t, os.WriteFile(env, []byte(text), 0o644))
	if st := m.status(); st.Next != "new" || len(st.Differs) != 1 {
		t.Errorf("%+v", st)
	}
	m.says([]string{"the armed trial of new was taken back", "third is the loader's default again"}, "recover")
	m.is("idle", "debian", "third")
}

// The token alone is gone, or is one that beadm did not arm.
func TestTokenChangedFromOutside(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	m.ok("activate", "third")
	m.ok("activate", "new")
	l := stub.New(stub.Config{Dir: m.loader})
	ls, err := l.State(t.Context())
	check(t, err)
	check(t, l.Disarm(t.Context()))
	m.says([]string{"LOADER:   the trial of new is not armed any more", "to do:    beadm recover forgets that trial"}, "status")
	if m.listed("new") || !m.listed("debian") {
		t.Error("list does not say what boots next")
	}
	m.ok("recover")
	m.is("idle", "debian", "debian")

	check(t, l.Arm(t.Context(), ls.Trial))
	m.says([]string{"LOADER:   the loader starts new at the next boot, once", "next:     new"}, "status")
	m.ok("recover")
	m.is("idle", "debian", "debian")
}

// A loader in another place starts what the old one did.
func TestSetupElsewhereKeepsTheDefault(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.loader = t.TempDir()
	m.says([]string{"with new as the default"}, "setup", "-n", "--loader", "stub", "--loader-dir", m.loader)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.is("idle", "debian", "new")
	m.comeUp()
	m.is("idle", "new", "new")

	// Another default that stands there from before is set right.
	before := m.loader
	m.loader = t.TempDir()
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.ok("activate", "--permanent", "debian")
	m.loader = before
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.is("idle", "new", "debian")
}

func TestSetupElsewhereWhileArmed(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	other := t.TempDir()
	m.refused(4, "take it back with beadm activate -T first", "setup", "--loader", "stub", "--loader-dir", other)
	m.is("armed", "debian", "debian")
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader) // the same again
	m.is("armed", "debian", "debian")

	// Its loader died with the token: that is no dead end.
	check(t, os.RemoveAll(m.loader))
	m.loader = other
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.is("idle", "debian", "debian")
}
