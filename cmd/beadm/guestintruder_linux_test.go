package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a hostile guest has run in a root of its own, as its package manager or as
// any command, neither leads beadm out of it nor keeps it from taking away what it
// mounted there.
func TestHostileCommand(t *testing.T) {
	h := newGuestHost(t)
	if r := h.guests("guest", "init", h.bad, h.good); r.code != 0 {
		t.Fatal(r)
	}
	h.both("share", "init")
	h.both("create", "new")
	// mounts is what is mounted in the roots of the guests.
	mounts := func() (list []string) {
		for _, line := range strings.Split(read(t, "/proc/self/mountinfo"), "\n") {
			if f := strings.Fields(line); len(f) > 4 && (strings.HasPrefix(f[4], h.machines+"/") || strings.Contains(f[4], "/upgrade") && strings.Contains(line, h.bad)) {
				list = append(list, f[4])
			}
		}
		return list
	}
	before := strings.Join(mounts(), "\n")
	out := strings.Repeat("../", 24) + h.outside[1:]
	for _, script := range []string{
		`busybox mv /var /moved && busybox ln -s "$OUT" /var`,
		`busybox rm /var; busybox mv /moved /var`,
		`busybox mv /var /moved && busybox mkdir -p /var/share && echo x >/var/share/mine`,
		`busybox rm -r /var; busybox mv /moved /var`,
		`busybox mkdir -p /a/b && busybox mv /var /a/b/c && busybox ln -s a/b/c /var`,
		`busybox rm /var; busybox mv /a/b/c /var`,
		`busybox rm -rf /var/share /var/.beadm-staged; busybox mkdir /var/.beadm-staged && busybox ln -s "$OUT" /var/.beadm-staged/mail; busybox ln -sf "$OUT/etc/shadow" /var/share/log`,
		`busybox rm -rf /var/.beadm-staged /var/share; busybox ln -s "$OUT" /var/.beadm-staged; busybox ln -s "$OUT" /var/share`,
		`busybox rm -f /var/.beadm-staged /var/share`,
		`(trap "" TERM HUP INT; exec busybox sleep ` + h.fsid[:8] + `) >/dev/null 2>&1 </dev/null & busybox kill -9 1; busybox chmod 777 /proc/self/fd/0 /proc/self/fd/1 /dev/null /dev /; exit 0`,
	} {
		h.both("run", "new", "--", "/bin/sh", "-c", "[ $(busybox cat /etc/hostname) = "+h.bad+" ] || exit 0; OUT="+out+"; "+script)
		if t.Failed() {
			t.FailNow()
		}
		if after := strings.Join(mounts(), "\n"); after != before {
			t.Fatalf("mounted after %s:\n%s\nbefore:\n%s", script, after, before)
		}
	}
	// As its package manager and its shell.
	bad := filepath.Join(h.place(h.bad), "@be-new")
	for _, name := range []string{"usr/bin/apt-get", "bin/sh"} {
		check(t, os.MkdirAll(filepath.Join(bad, filepath.Dir(name)), 0o755))
		os.Remove(filepath.Join(bad, name))
		check(t, os.WriteFile(filepath.Join(bad, name), []byte("#!/bin/busybox sh\nbusybox mv /var /moved; busybox ln -s "+out+" /var; echo x >"+h.outside+"/dir/file; exit 0\n"), 0o755))
	}
	h.both("upgrade", "new", "--", "/bin/true")
	if after := strings.Join(mounts(), "\n"); after != before {
		t.Fatalf("mounted:\n%s\nbefore:\n%s", after, before)
	}
	h.both("activate", "--leave-behind", "new")
	h.both("rollback")
	h.both("destroy", "-F", "new")
	h.nothingRead()
	if out, err := exec.Command("pgrep", "-f", "sleep "+h.fsid[:8]).Output(); err == nil {
		t.Errorf("it left a process: %s", out)
	}
}
