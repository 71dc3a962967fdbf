//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/diff"
)

// TestDiffOfBEs: of what runs and another, of two that do not run, of a snapshot;
// nothing stays mounted.
func TestDiffOfBEs(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	if out := m.ok("diff", "new"); out != "debian -> new\npackages: the same\n/etc: 1 changed\n  ! /etc/fstab\nelsewhere: the same\n" {
		t.Errorf("a clone that nobody changed:\n%s", out)
	}
	m.ok("snapshot", "new@clean")
	dir := strings.TrimSpace(m.ok("mount", "new"))
	write(t, filepath.Join(dir, "etc/brought"), "by the upgrade\n")
	check(t, os.MkdirAll(filepath.Join(dir, "usr/share/doc/pkg"), 0o755))
	write(t, filepath.Join(dir, "usr/share/doc/pkg/README"), "12345")
	if out := m.ok("diff", "new"); !strings.Contains(out, "+ /etc/brought") || !strings.Contains(out, "elsewhere: 1 added\n-f lists them") {
		t.Errorf("while it is mounted:\n%s", out)
	}
	m.ok("unmount", "new")
	m.ok("create", "-e", "new@clean", "other")
	for _, args := range [][]string{{"new"}, {"debian", "new"}, {"other", "new"}, {"new@clean", "new"}} {
		if out := m.ok(append([]string{"diff", "-f", "-u"}, args...)...); !strings.Contains(out, "  + /etc/brought\n") || !strings.Contains(out, "+by the upgrade") || !strings.Contains(out, "  + /usr/share/ (1 files)\n") {
			t.Errorf("diff %q:\n%s", args, out)
		}
	}
	if out := m.ok("diff", "new", "other"); !strings.Contains(out, "  - /etc/brought\n") || !strings.HasPrefix(out, "new -> other\n") {
		t.Errorf("the other way:\n%s", out)
	}
	var r diff.Report
	if err := json.Unmarshal([]byte(m.ok("--json", "diff", "new")), &r); err != nil || r.Old != "debian" || r.New != "new" || len(r.Files) != 3 || r.Files[0].Path != "/etc/brought" || r.Files[0].Change != diff.Added {
		t.Errorf("%+v, %v", r, err)
	}
	m.refused(3, "none", "diff", "none")
	m.refused(3, "", "diff", "new@none", "new")
	m.refused(2, "itself", "diff", "debian")
	m.refused(2, "give one", "diff", "-p", "-f", "new")
	m.refused(2, "give one", "diff", "-p", "-u", "new")
	m.refused(2, "", "diff")
	m.ok("destroy", "-F", "other")
	m.ok("destroy", "-F", "new@clean")
}
