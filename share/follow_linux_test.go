package share

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func follow(t *testing.T, root string, moving ...string) bool {
	t.Helper()
	reload, err := Follow(context.Background(), root, moving)
	if err != nil {
		t.Fatal(err)
	}
	return reload
}

func TestSELinuxLabelsFollow(t *testing.T) {
	root := t.TempDir()
	sh(t, root, `mkdir -p etc/selinux/strict/contexts/files var/share/log; printf '# a comment\nSELINUX=enforcing\nSELINUXTYPE=strict\n' >etc/selinux/config
printf '/opt/mail /var/mail\n' >etc/selinux/strict/contexts/files/file_contexts.subs; ln -s share/log var/log`)
	file := root + "/etc/selinux/strict/contexts/files/file_contexts.subs"
	for range 2 {
		follow(t, root, "/var/mail")
		if got := read(t, file); got != "/opt/mail /var/mail\n/var/share/log /var/log\n/var/share/mail /var/mail\n" {
			t.Errorf("while /var/mail moves: %q", got)
		}
	}
	follow(t, root)
	if got := read(t, file); got != "/opt/mail /var/mail\n/var/share/log /var/log\n" {
		t.Errorf("once it did not: %q", got)
	}
}

// The real apparmor_parser has to find the shared place in a profile that says
// nothing of it.
func TestAppArmorFollows(t *testing.T) {
	root := t.TempDir()
	sh(t, root, `mkdir -p etc/apparmor.d/tunables/home.d var/share/log; ln -s share/log var/log`)
	if !follow(t, root, "/var/spool") || follow(t, root, "/var/spool") {
		t.Error("the profiles are to be loaded again once")
	}
	if got := read(t, root+"/"+appArmorFile); !strings.HasSuffix(got, "\nalias /var/log/ -> /var/share/log/,\nalias /var/spool/ -> /var/share/spool/,\n") {
		t.Errorf("the rules are %q", got)
	}
	if _, err := exec.LookPath("apparmor_parser"); err != nil {
		t.Fatal("apparmor_parser is missing: install apparmor")
	}
	dir := root + "/etc/apparmor.d"
	sh(t, root, `printf 'include <tunables/home.d>\n/usr/sbin/daemon {\n  /var/log/daemon/*.log w,\n}\n' >etc/apparmor.d/profile`)
	rules := func() string {
		out, err := exec.Command("apparmor_parser", "-QKS", "-D", "rule-exprs", "--base", dir, dir+"/profile").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got := rules(); !strings.Contains(got, `/var/log/daemon/`) || !strings.Contains(got, `/var/share/log/daemon/`) {
		t.Errorf("the rules for the daemon are:\n%s", got)
	}
	sh(t, root, `rm var/log`)
	if !follow(t, root) {
		t.Error("nothing to load once nothing is shared")
	}
	if _, err := os.Lstat(root + "/" + appArmorFile); !os.IsNotExist(err) {
		t.Errorf("the rules stay: %v", err)
	}
}

// The real systemd-tmpfiles ages what is in /var/tmp, and nothing else.
func TestAgeingFollows(t *testing.T) {
	root := t.TempDir()
	sh(t, root, `mkdir -p etc/tmpfiles.d usr/lib/tmpfiles.d var/share/tmp/private-x/in var/share/tmp/kept var/share/tmp/week var/share/log
ln -s share/tmp var/tmp; ln -s share/log var/log
printf 'root:x:0:0::/:/bin/sh\n' >etc/passwd; printf 'root:x:0:\n' >etc/group; echo 0123456789abcdef0123456789abcdef >etc/machine-id
printf 'q /var/tmp 1777 root root 1h\nd /var/log 0755 - - -\n' >usr/lib/tmpfiles.d/tmp.conf
printf '# of the administrator\nq /var/tmp 1777 root root 1s\n' >etc/tmpfiles.d/tmp.conf
printf 'X /var/tmp/private-x\nx /var/tmp/ke*\nd /var/tmp/week 0755 - - 1w\nR! /var/tmp/never\n' >usr/lib/tmpfiles.d/more.conf
cd var/share; touch tmp/old tmp/private-x/in/old tmp/kept/old tmp/week/old log/old`)
	follow(t, root)
	want := "e /var/share/tmp - - - 1s\nX /var/share/tmp/private-x\nx /var/share/tmp/ke*\ne /var/share/tmp/week - - - 1w\n"
	if got := read(t, root+ageingFile); !strings.HasSuffix(got, "\n"+want) || strings.Count(got, "\n") != 5 {
		t.Errorf("the lines are %q", got)
	}
	time.Sleep(2 * time.Second) // there is no other way to make a file old: its change time counts
	cmd := exec.Command("systemd-tmpfiles", "--root="+root, "--clean")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, there := range map[string]bool{"tmp/old": false, "tmp/private-x/in": false, "tmp/private-x": true, "tmp/kept/old": true, "tmp/week/old": true, "log/old": true} {
		if _, err := os.Lstat(filepath.Join(root, "var/share", name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	sh(t, root, `printf 'q /var/tmp 1777 root root -\n' >etc/tmpfiles.d/tmp.conf`)
	follow(t, root)
	if got, err := os.ReadFile(root + ageingFile); err == nil {
		t.Errorf("the administrator ended the ageing, and there is %q", got)
	}
}
