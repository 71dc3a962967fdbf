//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be/btrfs/layouttest"
)

// TestCycleOnDistributions: on what each installs the whole cycle runs, and ends
// where it began.
func TestCycleOnDistributions(t *testing.T) {
	for _, l := range layouttest.All(t) {
		t.Run(l.Name, func(t *testing.T) {
			needBtrfs(t)
			m := emptyMachine(t, 384<<20)
			l.Make(t, m.top, m.fsid)
			m.mountRoot(l.Root)
			m.fill()
			write(t, filepath.Join(m.root, "etc/fstab"), l.Fstab(m.fsid))
			m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
			first := m.status().Running
			m.ok("create", "new")
			m.ok("activate", "new")
			m.comeUp()
			if m.boots != "@be-new" {
				t.Fatalf("the loader starts %s", m.boots)
			}
			m.is("trying", "new", first)
			m.ok("confirm")
			m.is("idle", "new", "new")
			m.ok("snapshot", "new@good")
			m.ok("rollback")
			m.comeUp()
			if m.boots != l.Root {
				t.Fatalf("the way back leads to %s", m.boots)
			}
			m.is("idle", first, first)
			m.ok("destroy", "-F", "new")
			m.ok("create", "newer")
			m.ok("activate", "newer")
			m.comeUp()
			m.is("trying", "newer", first)
			// It fails, and what the installer made comes back.
			m.comeUp()
			m.is("failed", first, first)
			for _, dir := range []string{"@", "@/.snapshots", "@/.snapshots/1"} {
				list, _ := os.ReadDir(filepath.Join(m.top, dir))
				for _, e := range list {
					if strings.HasPrefix(e.Name(), "@") {
						t.Errorf("%s/%s is where others keep theirs", dir, e.Name())
					}
				}
			}
		})
	}
}
