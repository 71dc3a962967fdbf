//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What ends a trial, or brings a machine back, never asks whose store it is.
func TestIdentityGoneInATrial(t *testing.T) {
	for command, ends := range map[string][3]string{"confirm": {"idle", "new", "new"}, "rollback": {"failed", "debian", "debian"}} {
		t.Run(command, func(t *testing.T) {
			m := newMachine(t)
			m.ok("create", "new")
			m.ok("activate", "new")
			m.comeUp()
			check(t, os.Remove(filepath.Join(m.root, "etc/beadm/identity")))
			m.refused(6, "--foreign", "describe", "new", "x")
			m.ok(command)
			m.comeUp()
			m.is(ends[0], ends[1], ends[2])
		})
	}
}
