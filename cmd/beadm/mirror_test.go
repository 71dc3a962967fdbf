//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/stub"
)

// TestLoaderOnTwoDisks: setup, a cycle, a disk that goes and comes back with an
// old default and an old token.
func TestLoaderOnTwoDisks(t *testing.T) {
	m := newBareMachine(t)
	second := m.loader + "2"
	check(t, os.Mkdir(second, 0o700))
	t.Cleanup(func() { os.RemoveAll(second) })
	starts := func(dir, subvol string) {
		t.Helper()
		id, _, err := stub.Consume(dir)
		check(t, err)
		e, err := stub.ReadEntry(dir, id)
		check(t, err)
		if got := strings.TrimPrefix(e.Root.Prefix, "/"); got != subvol {
			t.Errorf("%s starts %s, want %s", filepath.Base(dir), got, subvol)
		}
	}
	says := func(want ...string) {
		t.Helper()
		out := m.ok("status")
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("status does not say %q:\n%s", w, out)
			}
		}
	}
	m.refused(2, "is not a directory", "setup", "--loader", "stub", "--loader-dir", m.loader, "--loader-mirror", "/nosuch")
	m.refused(2, "named twice", "setup", "--loader", "stub", "--loader-dir", m.loader, "--loader-mirror", m.loader)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader, "--loader-mirror", second)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader) // keeps it
	says("on "+m.loader+": asked and armed, ok", "on "+second+": mirror, ok")
	m.ok("create", "new")
	m.ok("activate", "new")
	starts(second, "@debian")

	// The first disk is gone before the trial: not tried, and life goes on.
	gone := m.loader + ".gone"
	t.Cleanup(func() { os.RemoveAll(gone) })
	check(t, os.Rename(m.loader, gone))
	first := m.loader
	m.loader = second
	m.comeUp()
	says("state:    idle", "new was armed and not tried", "on "+first+": mirror, MISSING", "on "+second+": asked and armed, ok", "to do:    bring the disk with "+first+" back")
	m.ok("create", "newer")
	m.ok("activate", "newer")
	m.comeUp()
	m.ok("confirm")
	m.ok("destroy", "-F", "new")
	starts(second, "@be-newer")

	// It comes back as it was: armed for what is destroyed.
	check(t, os.Rename(gone, first))
	says("on "+first+": mirror, WRONG", "on "+second+": asked and armed, ok", "default:  newer")
	r := m.run("recover")
	if r.code != 0 {
		t.Error(r)
	}
	starts(first, "@be-newer")
	says("on " + first + ": mirror, ok")
	if strings.Contains(r.err, "not as the other") {
		t.Error(r)
	}

	// Taken off, and the other one named first.
	m.ok("setup", "--loader", "stub", "--loader-dir", second, "--loader-mirror", "none")
	if out := m.ok("status"); strings.Contains(out, "loader:") {
		t.Errorf("still on two:\n%s", out)
	}
}

// TestOnlyAStaleDiskIsLeft: of two disks the one that everything was done with
// dies, and the one that was away, armed for what failed long ago, is all there
// is. Its token starts nothing that nobody watches, whether a command finds it
// first or the firmware does.
func TestOnlyAStaleDiskIsLeft(t *testing.T) {
	stale := func(t *testing.T) (m *machine, first, second string) {
		m = newBareMachine(t)
		first, second = m.loader, m.loader+"2"
		check(t, os.Mkdir(second, 0o700))
		t.Cleanup(func() { os.RemoveAll(second); os.RemoveAll(first + ".gone"); os.RemoveAll(second + ".gone") })
		m.ok("setup", "--loader", "stub", "--loader-dir", first, "--loader-mirror", second)
		m.ok("create", "new")
		m.ok("activate", "new")
		check(t, os.Rename(first, first+".gone"))
		m.loader = second
		m.comeUp()
		m.is("idle", "debian", "debian")
		// The other way about.
		check(t, os.Rename(second, second+".gone"))
		check(t, os.Rename(first+".gone", first))
		m.loader = first
		return m, first, second
	}
	loader := func(t *testing.T, dir string) boot.State {
		t.Helper()
		s, err := stub.New(stub.Config{Dir: dir}).State(t.Context())
		check(t, err)
		return s
	}
	t.Run("found by a command", func(t *testing.T) {
		m, first, _ := stale(t)
		m.ok("recover")
		if s := loader(t, first); s.Trial != "" {
			t.Errorf("the old token is there: %+v", s)
		}
	})
	// A cut came between what says who is asked, and what takes its token.
	t.Run("cut", func(t *testing.T) {
		m, first, second := stale(t)
		env, err := os.ReadFile(filepath.Join(first, "env"))
		check(t, err)
		m.ok("recover")
		check(t, os.WriteFile(filepath.Join(first, "env"), env, 0o600))
		if s := loader(t, first); s.Trial == "" {
			t.Fatal("it was not armed")
		}
		if got := m.status().Loaders; len(got) != 2 || !got[0].Asked {
			t.Fatalf("%+v", got)
		}
		m.ok("recover")
		if s := loader(t, first); s.Trial != "" {
			t.Errorf("the old token is there: %+v", s)
		}
		check(t, os.Rename(second+".gone", second))
	})
	t.Run("found by the firmware", func(t *testing.T) {
		m, first, _ := stale(t)
		id, trial := m.consume()
		if !trial {
			t.Fatal("it was not armed")
		}
		m.switchTo("@be-new")
		r := m.host("quiet beadm.be="+id+" beadm.trial=1", "boot")
		if r.code == 0 || !strings.Contains(r.err, "the token of an old trial of new") {
			t.Errorf("it goes on: %v", r)
		}
		if s := loader(t, first); s.Trial != "" || s.Tried != "" {
			t.Errorf("the next boot is not the default's: %+v", s)
		}
		m.comeUp()
		m.is("idle", "debian", "debian")
	})
}
