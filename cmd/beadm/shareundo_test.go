//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What was there before is kept in every boot environment until it is given up.
func TestShareCommit(t *testing.T) {
	m := newMachine(t)
	m.refused(10, "there is no shared data", "share", "commit")
	m.ok("create", "before")
	m.ok("share", "init")
	m.ok("activate", "before") // which gives it the links
	m.refused(4, "while a trial is armed", "share", "commit")
	m.ok("activate", "-T")
	m.ok("create", "after")
	old := filepath.Join(m.root, "var/.beadm-old/mail/alice")
	if read(t, old) != "first mail\n" {
		t.Fatal("nothing was kept")
	}
	before := m.snapshotWorld()
	out := m.ok("share", "commit", "-n")
	for _, name := range []string{"debian", "before", "after"} {
		if !strings.Contains(out, "would delete /var/.beadm-old of "+name+"\n") {
			t.Errorf("share commit -n does not name %s:\n%s", name, out)
		}
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("a dry run changed\n%s", differ(before, after))
	}
	m.ok("share", "commit")
	if out := m.ok("share", "commit", "-n"); out != "" {
		t.Errorf("left:\n%s", out)
	}
	m.mailIs("alice", "first mail\n")
	m.ok("activate", "before")
	m.comeUp()
	m.is("trying", "before", "debian")
	m.mailIs("alice", "first mail\n")
}

// linked says whether the running root has a link at path.
func (m *machine) linked(path string) bool {
	m.t.Helper()
	info, err := os.Lstat(filepath.Join(m.root, path))
	check(m.t, err)
	return info.Mode()&os.ModeSymlink != 0
}

// All boot environments get their directories back, with what was written
// since, and what a package staged in one.
func TestShareUndo(t *testing.T) {
	m := newMachine(t)
	if !m.addShell() {
		t.Fatal("this needs /bin/busybox (package busybox-static)")
	}
	in := func(file, text string) { t.Helper(); write(t, filepath.Join(m.root, file), text) }
	m.refused(2, "give what not to share", "share", "remove")
	m.refused(3, "is not shared", "share", "remove", "/var/mail")
	m.ok("create", "before")
	m.ok("share", "init")
	m.ok("activate", "--permanent", "before")
	m.ok("activate", "--permanent", "debian")
	m.ok("create", "after")
	m.ok("run", "after", "--", "/bin/sh", "-c", "echo of a package >/var/spool/packaged")
	in("var/mail/bob", "bob's mail\n")
	m.ok("activate", "before")
	m.refused(4, "while a trial is armed", "share", "undo")
	m.ok("activate", "-T")
	m.ok("share", "snapshot", "kept")
	before := m.snapshotWorld()
	m.refused(3, "is not shared", "share", "remove", "/var/lib")
	out := m.ok("share", "undo", "-n")
	for _, name := range []string{"before", "after", "what runs"} {
		if !strings.Contains(out, "back into "+name) {
			t.Errorf("share undo -n does not name %s:\n%s", name, out)
		}
	}
	// It comes to this one last.
	held, err := os.Open(filepath.Join(m.root, "var/mail/bob"))
	check(t, err)
	r := m.run("share", "undo")
	check(t, held.Close())
	if r.code != 4 || !strings.HasPrefix(r.err, "beadm: cannot put /var/log, /var/mail, /var/spool, /var/tmp back while in use by ") || !strings.HasSuffix(r.err, " at /var/share/mail/bob; end these first; nothing was changed\n") {
		t.Error(r)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("what was refused or a dry run changed\n%s", differ(before, after))
	}

	m.ok("share", "remove", "/var/mail")
	if m.linked("var/mail") || !m.linked("var/spool") {
		t.Error("it put back another")
	}
	m.mailIs("bob", "bob's mail\n")
	m.ok("share", "undo")
	if out := m.ok("share", "undo"); out != "" {
		t.Errorf("the second: %s", out)
	}
	m.ok("share", "commit")
	for _, name := range []string{"after", "before"} {
		m.ok("activate", "--permanent", "--leave-behind", name)
		m.comeUp()
		m.is("idle", name, name)
		for _, dir := range []string{"var/mail", "var/spool", "var/log"} {
			if m.linked(dir) {
				t.Errorf("in %s /%s is still a link", name, dir)
			}
		}
		m.mailIs("alice", "first mail\n")
		m.mailIs("bob", "bob's mail\n")
		if name == "after" && read(t, filepath.Join(m.root, "var/spool/packaged")) != "of a package\n" {
			t.Error("what was staged is lost")
		}
	}
}

// A directory that is in no profile is shared like the others: by a boot
// environment from before, too.
func TestShareAdd(t *testing.T) {
	m := newMachine(t)
	www := filepath.Join(m.root, "var/www/page")
	check(t, os.MkdirAll(filepath.Dir(www), 0o755))
	check(t, os.MkdirAll(filepath.Join(m.root, "srv/www"), 0o755))
	check(t, os.MkdirAll(filepath.Join(m.root, "var/lib/dpkg"), 0o755))
	write(t, www, "one\n")
	m.ok("create", "before")
	m.ok("share", "init")
	m.refused(2, "give what to share", "share", "add")
	m.refused(5, "cannot share /srv/www: it is outside /var; --outside-var shares it all the same", "share", "add", "/srv/www")
	m.refused(5, "package database", "share", "add", "/var/lib")
	m.ok("share", "add", "/var/www")
	if out := m.ok("share", "status"); !m.linked("var/www") || !strings.Contains(out, "/var/www     linked ") {
		t.Errorf("share status:\n%s", out)
	}
	write(t, www, "two\n")
	m.ok("activate", "before")
	m.comeUp()
	m.is("trying", "before", "debian")
	if !m.linked("var/www") || read(t, www) != "two\n" {
		t.Error("the boot environment of before has its own")
	}
	m.ok("confirm")
	m.ok("share", "remove", "/var/www")
	if m.linked("var/www") || read(t, www) != "two\n" {
		t.Error("it is not put back")
	}
	m.switchTo("@debian")
	m.ok("boot")
	if m.linked("var/www") || read(t, www) != "two\n" {
		t.Error("it is not put back in the other")
	}
}

// Directories further down, two of one name among them, and outside /var, where
// the flag or beadm.conf says so, are shared, brought back and put back.
func TestShareOfDeepPaths(t *testing.T) {
	m := newMachine(t)
	in := func(file string) string { return filepath.Join(m.root, file) }
	for _, file := range []string{"var/lib/list/data/one", "var/opt/list/data/one", "srv/www/one", "srv/ftp/one"} {
		check(t, os.MkdirAll(filepath.Dir(in(file)), 0o755))
		write(t, in(file), file)
	}
	paths := []string{"/var/lib/list/data", "/var/opt/list/data", "/srv/www"}
	m.ok("create", "before")
	m.ok("share", "init")
	before := m.snapshotWorld()
	m.refused(5, "cannot share /srv/www: it is outside /var; --outside-var shares it all the same", append([]string{"share", "add"}, paths...)...)
	if after := m.snapshotWorld(); after != before {
		t.Errorf("it changed\n%s", differ(before, after))
	}
	if out := m.ok(append([]string{"share", "add", "--outside-var"}, paths...)...); out != "moved /srv/www\nmoved /var/lib/list/data\nmoved /var/opt/list/data\n" {
		t.Errorf("share add:\n%s", out)
	}
	shared := func(want bool) {
		t.Helper()
		out := m.ok("share", "status")
		for _, p := range paths {
			if m.linked(p) != want || strings.Contains(out, p+" ") != want || read(t, in(p+"/one")) != p[1:]+"/one" {
				t.Errorf("%s in %s:\n%s", p, m.boots, out)
			}
		}
	}
	shared(true)
	m.refused(5, "cannot share /var/lib/list: /var/lib/list/data, which is in it, is shared already: put that back first (beadm share remove /var/lib/list/data)", "share", "add", "/var/lib/list")
	m.ok("share", "snapshot", "then")
	check(t, os.Remove(in("var/lib/list/data/one")))
	if out := m.ok("share", "restore", "then", "/var/lib/list/data/one", "+srv+www"); !strings.Contains(out, "files brought back: 1") {
		t.Errorf("share restore:\n%s", out)
	}
	m.ok("activate", "before")
	m.comeUp()
	m.is("trying", "before", "debian")
	shared(true)
	m.ok("confirm")
	write(t, in("etc/beadm/beadm.conf"), "share.path = /srv/ftp\n")
	if out := m.ok("share", "init"); out != "moved /srv/ftp\n" || read(t, in("srv/ftp/one")) != "srv/ftp/one" {
		t.Errorf("share init:\n%s", out)
	}
	m.ok("share", "undo")
	shared(false)
	out := m.ok("share", "commit", "-n")
	if !strings.Contains(out, "of before\n") || !strings.Contains(out, "of debian\n") {
		t.Errorf("share commit -n:\n%s", out)
	}
	m.ok("share", "commit")
	if left, _ := filepath.Glob(in(".beadm-*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	m.switchTo("@debian")
	m.ok("boot")
	shared(false)
}

// What beadm.conf(5) says of the profile is what share init moves.
func TestShareProfileOfConf(t *testing.T) {
	m := newMachine(t)
	conf := filepath.Join(m.root, "etc/beadm/beadm.conf")
	write(t, conf, "# ours\nshare.path = www\n")
	m.refused(2, "etc/beadm/beadm.conf:2: share.path: \"www\" is no path", "share", "init")
	write(t, conf, "share.path = /var/www\nshare.path = /var/spool/cron/crontabs\nshare.path = /var/crash\nshare.path = !/var/tmp\nshare.path = /var/games\n")
	write(t, filepath.Join(m.root, "var/www/page"), "one\n")
	write(t, filepath.Join(m.root, "var/spool/cron/crontabs/root"), "@daily true\n")
	check(t, os.Symlink("www/crash", filepath.Join(m.root, "var/crash")))
	m.ok("create", "before")
	says := func(lines ...string) {
		t.Helper()
		out := m.ok("share", "status")
		for _, line := range lines {
			if !strings.Contains(out, line+"\n") {
				t.Errorf("share status does not say %q:\n%s", line, out)
			}
		}
	}
	says("/var/crash   within    it is a link that leads into /var/www, which is moved with all that is in it",
		"/var/games   absent    it is not there",
		"/var/www     real      it belongs to this boot environment; beadm share init moves it",
		"/var/spool/cron/crontabs within    it is in /var/spool, which is moved with all that is in it")
	before := m.snapshotWorld()
	if out := m.ok("share", "init", "-n"); !strings.Contains(out, "would move /var/www (") || strings.Contains(out, "/var/tmp") {
		t.Errorf("share init -n:\n%s", out)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("a dry run changed\n%s", differ(before, after))
	}
	r := m.run("share", "init")
	if r.code != 0 || r.out != "moved /var/log\nmoved /var/mail\nmoved /var/spool\nmoved /var/www\n" || !strings.Contains(r.err, "/var/crash stays: it is a link that leads into /var/www") {
		t.Errorf("%v", r)
	}
	if m.linked("var/tmp") || !m.linked("var/www") {
		t.Error("not what beadm.conf says")
	}
	says("/var/www     linked    it is in the shared data",
		"/var/crash   within    it is a link that leads into /var/www, which is shared",
		"/var/spool/cron/crontabs within    it is in /var/spool, which is shared")
	if r := m.run("share", "add", "/var/crash"); r.code != 0 || !strings.Contains(r.err, "/var/crash stays: it is a link that leads into /var/www, which is shared") {
		t.Errorf("%v", r)
	}
	// One from before, whose beadm.conf says nothing, shares it too.
	write(t, filepath.Join(m.root, "var/www/page"), "two\n")
	m.switchTo("@be-before")
	m.ok("boot")
	if !m.linked("var/www") || m.linked("var/tmp") || read(t, filepath.Join(m.root, "var/www/page")) != "two\n" {
		t.Error("the boot environment of before has its own")
	}
}

// What cannot be shared is refused in one sentence, and nothing has changed.
func TestShareRefusals(t *testing.T) {
	m := newMachine(t)
	in := func(file string) string { return filepath.Join(m.root, file) }
	out := t.TempDir()
	write(t, filepath.Join(out, "precious"), "x")
	for _, dir := range []string{"var/lib/dpkg", "var/adm/netconfig", "var/games/below", "var/own", "var/www", "srv/www", "var/db/pkg"} {
		check(t, os.MkdirAll(in(dir), 0o755))
	}
	check(t, os.Symlink(out, in("var/out")))
	check(t, os.Symlink("../../../../../../.."+out, in("var/climbs")))
	check(t, os.Symlink("www", in("var/page")))
	check(t, os.Symlink("loop", in("var/loop")))
	check(t, os.Symlink("../sbin", in("var/sbin")))
	write(t, in("var/file"), "x")
	for _, dir := range []string{"var/games/below", "var/own"} {
		check(t, unix.Mount("below", in(dir), "tmpfs", 0, ""))
		t.Cleanup(func() { unix.Unmount(in(dir), unix.MNT_DETACH) })
	}
	every := func() {
		t.Helper()
		m.refused(2, `cannot share "www"`, "share", "add", "www")
		m.refused(2, `cannot share ""`, "share", "init", "")
		m.refused(3, "cannot share /var/none: it is not there", "share", "add", "/var/none")
		for path, says := range map[string]string{
			"/var/lib":         "it holds a package database (/var/lib/",
			"/var/lib/dpkg":    "it is of a package database (/var/lib/dpkg), which belongs to one boot environment",
			"/var/db":          "it holds a package database (/var/db/pkg)",
			"/var/adm":         "packages own files in it (/var/adm/netconfig), which belong to one boot environment",
			"/srv/www":         "it is outside /var; --outside-var shares it all the same",
			"/":                "the boot environment itself is in it; share directories in it",
			"/var":             "the boot environment itself is in it; share directories in it",
			"/var/.beadm-old":  "it is beadm's own, and stays where it is",
			"/var/../etc":      "it is of the system, which each boot environment has for itself",
			"/var/share":       "it is in the shared data already",
			"/var/share/mail":  "it is in the shared data already",
			"/var/www/../file": "it is not a directory; a file can be put on the synclist (synclist(5))",
			"/var/loop/x":      "what leads there cannot be followed (too many levels of symbolic links)",
			"/var/loop":        "it is a link to loop, which leads nowhere: put a directory in its place to share that",
			"/var/games":       "another file system is mounted below it, at /var/games/below; unmount that, or share the directories beside it",
			"/var/out":         "it is a link to " + out + ", which leads nowhere: put a directory in its place to share that",
			"/var/climbs":      "it is a link to ../../../../../../.." + out + ", which leads nowhere: put a directory in its place to share that",
			"/var/sbin":        "it is a link to ../sbin, which leads to /sbin: put a directory in its place to share that",
			"/var/page":        "it is a link that leads into /var/www: share that",
			"/var/out/below":   "a link on the way leads to " + out + "/below: share that",
		} {
			m.refused(5, "cannot share "+filepath.Clean(path)+": "+says, "share", "add", path)
		}
		m.refused(5, "cannot share /var/lib: ", "share", "add", "/var/www", "/var/lib")
	}
	every()
	// Space is looked at first, by what a copy writes: not the holes.
	f, err := os.Create(in("var/www/sparse"))
	check(t, err)
	check(t, f.Truncate(1<<40))
	check(t, f.Close())
	m.ok("share", "add", "-n", "/var/www")
	check(t, os.Truncate(in("var/www/sparse"), 0))
	big := make([]byte, 130<<20)
	for i := range big {
		big[i] = byte(i*i>>3 + i>>9)
	}
	check(t, os.WriteFile(in("var/www/big"), big, 0o644))
	unix.Sync()
	m.refused(12, "cannot move /var/www: the copies take 202 MiB and ", "share", "add", "/var/www")
	m.refused(12, "; make room, or share fewer directories; nothing was changed\n", "share", "add", "/var/www")
	check(t, os.Remove(in("var/www/big")))
	sh(t, "btrfs", "-q", "filesystem", "sync", m.root)
	// Who holds files there, and what has the place: one sentence each.
	held, err := os.Open(in("var/mail/alice"))
	check(t, err)
	r := m.run("share", "init")
	check(t, held.Close())
	if r.code != 4 || !strings.HasPrefix(r.err, "beadm: cannot move /var/log, /var/mail, /var/spool, /var/tmp while in use by ") || !strings.HasSuffix(r.err, " at /var/mail/alice; end these first; nothing was changed\n") {
		t.Errorf("%v", r)
	}
	m.ok("share", "init")
	write(t, in("var/share/www/of-somebody"), "x")
	if r := m.run("share", "add", "/var/www"); r.code != 5 || r.err != "beadm: cannot share /var/www: there is a /var/share/www already; move that away first; nothing was changed\n" {
		t.Errorf("%v", r)
	}
	check(t, os.RemoveAll(in("var/share/www")))
	if info, err := os.Lstat(in("var/adm")); err != nil || !info.IsDir() {
		t.Error("what packages own was moved")
	}
	every()
	m.refused(3, "is not shared", "share", "remove", "/var/share/mail")
	m.refused(3, "is not shared", "share", "remove", "/var/out")
	// What is shared, in what is, or has a place of its own, is done already.
	before := m.snapshotWorld()
	for path, says := range map[string]string{
		"/var/mail":   "/var/mail stays: it is in the shared data",
		"/var/mail/":  "/var/mail stays: it is in the shared data",
		"/var/mail/x": "/var/mail/x stays: it is in /var/mail, which is shared",
		"/var/own":    "/var/own stays: it is a file system of its own",
	} {
		if r := m.run("share", "add", path); r.code != 0 || r.out != "" || !strings.Contains(r.err, says) {
			t.Errorf("wanted %q: %v", says, r)
		}
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("it changed\n%s", differ(before, after))
	}
	check(t, os.WriteFile(in("var/spool/big"), big, 0o644))
	unix.Sync()
	m.refused(12, "cannot put directories back: their copies take ", "share", "remove", "/var/spool/")
	if got := read(t, filepath.Join(out, "precious")); got != "x" {
		t.Error(got)
	}
}

// What goes by path knows where the directories are, in every boot environment
// that has the links, and no longer once they are back.
func TestShareIsFollowed(t *testing.T) {
	m := newMachine(t)
	for _, dir := range []string{"etc/apparmor.d/tunables/home.d", "etc/tmpfiles.d"} {
		check(t, os.MkdirAll(filepath.Join(m.root, dir), 0o755))
	}
	write(t, filepath.Join(m.root, "etc/tmpfiles.d/tmp.conf"), "q /var/tmp 1777 root root 30d\n")
	m.ok("create", "before")
	told := func(root string, want bool) {
		t.Helper()
		for file, says := range map[string]string{"etc/apparmor.d/tunables/home.d/beadm": "alias /var/mail/ -> /var/share/mail/,", "etc/tmpfiles.d/beadm-share.conf": "e /var/share/tmp - - - 30d"} {
			data, _ := os.ReadFile(filepath.Join(root, file))
			if strings.Contains(string(data), says) != want {
				t.Errorf("%s of %s: %q", file, root, data)
			}
		}
	}
	before := filepath.Join(m.top, "@be-before")
	m.ok("share", "init")
	told(m.root, true)
	told(before, false)
	m.ok("activate", "before")
	told(before, true)
	m.ok("activate", "-T")
	// The administrator's own age, at the next boot.
	write(t, filepath.Join(m.root, "etc/tmpfiles.d/tmp.conf"), "q /var/tmp 1777 root root -\n")
	m.comeUp()
	if data, err := os.ReadFile(filepath.Join(m.root, "etc/tmpfiles.d/beadm-share.conf")); err == nil {
		t.Errorf("/var/tmp is still aged: %s", data)
	}
	write(t, filepath.Join(m.root, "etc/tmpfiles.d/tmp.conf"), "q /var/tmp 1777 root root 30d\n")
	m.comeUp()
	told(m.root, true)
	m.ok("share", "undo")
	told(m.root, false)
	told(before, false)
}
