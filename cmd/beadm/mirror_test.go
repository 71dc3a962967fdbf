//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
