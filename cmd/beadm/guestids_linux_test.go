package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"beadm/activate"
	"beadm/activate/guest/guesttest"
)

// Guests with a user namespace, whose files have its ids, share directories, get
// packages that bring some of their own, and go forth and back.
func TestGuestsWithIdsOfTheirOwn(t *testing.T) {
	t.Setenv("PATH", withoutNewuidmap(t))
	h := newGuests(t, "gy", 1)
	h.addContainers("gylxc", 1)
	const machine, container = "gy01", "gylxc01"
	// systemd-nspawn gives the files to these ids when it first starts it.
	write(t, "/run/systemd/nspawn/"+machine+".nspawn", "[Exec]\nPrivateUsers="+strconv.Itoa(guesttest.FirstID)+":65536\n[Files]\nPrivateUsersOwnership=chown\n[Network]\nPrivate=yes\nVirtualEthernet=no\n")
	guesttest.Shift(t, h.root(container))
	config := filepath.Join(h.lxc, container, "config")
	write(t, config, read(t, config)+"lxc.include = /usr/share/lxc/config/userns.conf\nlxc.idmap = u 0 "+strconv.Itoa(guesttest.FirstID)+" 65536\nlxc.idmap = g 0 "+strconv.Itoa(guesttest.FirstID)+" 65536\n")
	for up := h.lxc; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		check(t, os.Chmod(up, 0o711))
	}
	h.up()
	h.run("guest", "init", "gy*")
	h.run("share", "-g", "gy*", "init", "--stop-all")
	h.up()
	h.run("upgrade", "-g", "gy*", "new", "--", "sh", "-c", "apt-get install -y -qq /usr/share/demo/*.deb && echo patched >/etc/motd")
	worst := h.poll()
	for name, s := range h.switched(0, "activate", "-g", "gy*", "new") {
		if s.Outcome != activate.Confirmed || s.Runs != "new" || h.file(name, "etc/motd") != "patched\n" {
			t.Errorf("%s: %+v", name, s)
		}
		h.nothingLost(name)
		if pid := strings.TrimSpace(read(t, filepath.Join(h.share(name), "spool/postfix/pid/master.pid"))); pid == "" {
			t.Errorf("%s: postfix does not run in the new root", name)
		}
		for _, dir := range []string{"", "mail", "spool", "spool/postfix", "log", "tmp"} {
			info, err := os.Lstat(filepath.Join(h.share(name), dir))
			check(t, err)
			if st := info.Sys().(*syscall.Stat_t); st.Uid < guesttest.FirstID || st.Gid < guesttest.FirstID {
				t.Errorf("%s: its %s belongs to %d:%d of the host", name, dir, st.Uid, st.Gid)
			}
		}
	}
	worst()
	for name, s := range h.switched(0, "rollback", "-g", "gy*") {
		if s.Outcome != activate.Returned || s.Runs != "default" {
			t.Errorf("%s: %+v", name, s)
		}
		h.nothingLost(name)
	}
	h.run("share", "-g", "gy*", "undo", "--stop-all")
	h.up()
}

// withoutNewuidmap is a PATH that lacks Debian's newuidmap, which lets root take
// only what /etc/subuid gives it; without it LXC asks nobody.
func withoutNewuidmap(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(from)
		for _, e := range entries {
			if e.Name() != "newuidmap" && e.Name() != "newgidmap" {
				_ = os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())) // the first one counts
			}
		}
	}
	return dir
}
