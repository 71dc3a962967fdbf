//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// found is what check finds, by rule.
func (m *machine) found(code int, args ...string) map[string]be.Finding {
	m.t.Helper()
	r := m.run(append([]string{"--json", "check"}, args...)...)
	if r.code != code {
		m.t.Fatalf("check ended with %d: %s%s", r.code, r.out, r.err)
	}
	var all checked
	check(m.t, json.Unmarshal([]byte(r.out), &all))
	byRule := map[string]be.Finding{}
	for _, f := range all.Findings {
		byRule[f.ID] = f
	}
	return byRule
}

func TestCheck(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	if f := m.found(5)["room"]; f.Severity != be.FindingWarning || !strings.Contains(f.Text, "MiB free") {
		t.Errorf("a disk of 512 MiB: %+v", f)
	}
	sh(t, "truncate", "-s", "3G", m.image)
	sh(t, "losetup", "-c", m.device)
	sh(t, "btrfs", "filesystem", "resize", "max", m.top)
	before := m.snapshotWorld()
	if got := m.found(0); len(got) != 0 {
		t.Fatalf("a sound system has %v", got)
	}
	m.says([]string{"nothing found\n"}, "check", "new", "debian")
	m.refused(3, "nosuch", "check", "nosuch")
	m.refused(2, "-x", "check", "--", "-x")
	if now := m.snapshotWorld(); now != before {
		t.Errorf("check changed something:\n%s\nbefore:\n%s", now, before)
	}

	// What new would mount is another root; nobody asks until it is named, or next.
	dir := strings.TrimSpace(m.ok("mount", "new"))
	write(t, filepath.Join(dir, "etc/fstab"), "/dev/sda1 / ext4 defaults 0 1\n")
	m.ok("unmount", "new")
	if got := m.found(0); len(got) != 0 {
		t.Errorf("what is not to boot is looked at: %v", got)
	}
	if f := m.found(5, "new")["boots"]; f.Severity != be.FindingError || !strings.Contains(f.Text, "fstab") || !strings.Contains(f.Text, "new would not boot") {
		t.Errorf("a wrong fstab: %+v", f)
	}

	// A package database that is shared, and a file system that is a note.
	for path, options := range map[string]string{"var/lib/dpkg": "subvol=@dpkg", "srv": "subvol=@srv"} {
		sub := filepath.Join(m.top, strings.TrimPrefix(options, "subvol="))
		sh(t, "btrfs", "-q", "subvolume", "create", sub)
		at := filepath.Join(m.root, path)
		check(t, os.MkdirAll(at, 0o755))
		check(t, unix.Mount(m.device, at, "btrfs", 0, options))
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	}
	got := m.found(5)
	if f := got["packages"]; f.Severity != be.FindingError || !strings.Contains(f.Text, "/var/lib/dpkg") {
		t.Errorf("a package database of its own: %+v", f)
	}
	if f := got["outside"]; f.Severity != be.FindingNote || !strings.Contains(f.Text, "is in no boot environment") {
		t.Errorf("a file system of its own: %+v", f)
	}
	r := m.run("check")
	lines := strings.Split(r.out, "\n")
	for i, want := range []string{"error    the package database /var/lib/dpkg", "         -> move it", "note     /srv is a file system", ""} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) || want == "" && lines[i] != "" {
			t.Errorf("line %d does not begin with %q:\n%s", i, want, r.out)
		}
	}
	if r.err != "beadm: 1 of what check found needs you\n" {
		t.Errorf("check says %q", r.err)
	}
}
