//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// newDirectories is a machine whose boot environments are directories of a
// file system where copies share nothing, as ext4 is.
func newDirectories(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting takes root")
	}
	m := &machine{t: t, sums: map[[4]int64][sha256.Size]byte{}, top: t.TempDir(), root: t.TempDir(), loader: t.TempDir(), device: "beadm-" + be.NewToken()}
	t.Cleanup(m.clear)
	check(t, unix.Mount(m.device, m.top, "tmpfs", 0, "size=256m"))
	check(t, os.MkdirAll(filepath.Join(m.top, "m/web"), 0o755))
	m.beadm = filepath.Join(t.TempDir(), "beadm")
	check(t, os.WriteFile(m.beadm, fmt.Appendf(nil, "#!/bin/sh\nBEADM_BEROOT=dir:%s exec %s \"$@\"\n", filepath.Join(m.top, "m"), program(t)), 0o755))
	m.mountRoot("m/web")
	m.fill()
	return m
}

// TestDirectories is a cycle with failback of what is entered by chroot.
func TestDirectories(t *testing.T) {
	m := newDirectories(t)
	m.refused(10, "no boot loader starts", "setup")
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	patch := m.addShell()
	m.ok("create", "new", "-d", "patched")
	m.setPassword("alice", "!$6$s$alice")
	if patch {
		m.ok("upgrade", "new", "--", "/bin/sh", "-c", "echo 2 >/usr/lib/os")
	} else {
		t.Log("no /bin/busybox (package busybox-static): without an upgrade")
		write(t, filepath.Join(m.top, "m/@be-new/usr/lib/os"), "2\n")
	}
	m.ok("activate", "new")
	m.is("armed", "web", "web")
	m.setPassword("bob", "!$6$s$bob")
	m.comeUp()
	m.is("trying", "new", "web")
	if got := read(t, filepath.Join(m.root, "usr/lib/os")); got != "2\n" {
		t.Errorf("the patch is not there: %q", got)
	}
	m.locked("alice")
	m.locked("bob")
	m.ok("confirm")
	m.is("idle", "new", "new")

	m.ok("activate", "web")
	m.comeUp()
	m.is("trying", "web", "new")
	m.comeUp() // it died
	m.is("failed", "new", "new")
	m.ok("status", "--acknowledge")

	dir := strings.TrimSpace(m.ok("mount", "web"))
	write(t, filepath.Join(dir, "etc/mine"), "x")
	m.ok("unmount", "web")
	if got := read(t, filepath.Join(m.top, "m/web/etc/mine")); got != "x" {
		t.Errorf("what was written where it was mounted is %q", got)
	}
	m.ok("snapshot", "web@s1")
	m.ok("create", "third", "-e", "web@s1")
	m.ok("rename", "third", "other")
	if got := read(t, filepath.Join(m.top, "m/@be-other/etc/mine")); got != "x" {
		t.Errorf("the clone of the snapshot has %q", got)
	}
	m.ok("destroy", "-F", "other")

	write(t, filepath.Join(m.top, "m/web/etc/mine"), "y")
	m.ok("rollback", "web@s1")
	if got := read(t, filepath.Join(m.top, "m/@be-web/etc/mine")); got != "x" {
		t.Errorf("rolled back, it has %q", got)
	}
	for line := range strings.Lines(m.ok("list", "-H")) {
		if name, _, _ := strings.Cut(line, ";"); name != "new" {
			m.ok("destroy", "-F", name)
		}
	}
	if list := m.ok("list", "-H"); strings.Count(list, "\n") != 1 {
		t.Errorf("left are %s", list)
	}
	if r := m.run("create", "x", "-o", "compression=zstd"); r.code != 2 || !strings.Contains(r.err, "a directory has none") {
		t.Error(r)
	}
}

// TestWrongStores: each has a sentence of its own kind.
func TestWrongStores(t *testing.T) {
	m := newDirectories(t)
	for loc, says := range map[string]string{
		"dir:":              "give --beroot dir:/PATH",
		"dir:/":             "they need one of their own",
		"dir:/nosuch":       "no boot environments in the directory /nosuch",
		"dir:/etc/hostname": "no boot environments in the directory /etc/hostname",
		"/nosuch":           "no boot environments at /nosuch",
		"btrfs:nosuch:/@":   "is not the UUID of a file system",
		m.top:               "it is not on a btrfs",
	} {
		m.refused(10, says, "--beroot", loc, "list")
	}
}
