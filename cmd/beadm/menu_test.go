//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An entry by which the loader cannot start what is in the menu is written anew
// by recover, and by the next activation.
func TestEntryThatCannotBeStarted(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	entry := ""
	files, err := filepath.Glob(filepath.Join(m.loader, "entries/*"))
	check(t, err)
	for _, f := range files {
		if strings.Contains(read(t, f), `"debian"`) {
			entry = f
		}
	}
	whole := func() bool { return strings.HasSuffix(read(t, entry), "\n}\n") }
	spoil := func() { check(t, os.WriteFile(entry, []byte("{"), 0o600)) }
	spoil()
	if out := m.ok("recover", "-n"); !strings.Contains(out, "write the menu entry of debian anew") || read(t, entry) != "{" {
		t.Error(out)
	}
	if out := m.ok("recover"); !strings.Contains(out, "the boot menu can start debian again") || !whole() {
		t.Errorf("%s, and the entry is %s", out, read(t, entry))
	}
	if out := m.ok("recover"); strings.Contains(out, "menu") {
		t.Error(out)
	}
	spoil()
	m.ok("create", "third")
	m.ok("activate", "third")
	if !whole() {
		t.Errorf("activated, the entry is %s", read(t, entry))
	}
}
