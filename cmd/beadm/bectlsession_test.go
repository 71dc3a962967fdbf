//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bectl runs the program by that name, as cron or a script of FreeBSD would.
func (m *machine) bectl(args ...string) result {
	m.t.Helper()
	link := filepath.Join(m.loader, "..", "bectl")
	if _, err := os.Lstat(link); err != nil {
		check(m.t, os.Symlink(m.beadm, link))
	}
	r := start(m.t, exec.Command("env", append([]string{"BEADM_ROOT=" + m.root, link}, args...)...))
	m.noneOfOurs(r)
	return r
}

// says: exactly that status, that answer and that on standard error.
func (m *machine) bectlSays(code int, out, err string, args ...string) {
	m.t.Helper()
	if r := m.bectl(args...); r.code != code || r.out != out || r.err != err {
		m.t.Errorf("wanted exit %d\nstdout: %s\nstderr: %s\ngot %v", code, out, err, r)
	}
}

// TestBectlSession is a day with bectl. Texts and numbers are those of
// sbin/bectl/bectl.c and lib/libbe of FreeBSD.
func TestBectlSession(t *testing.T) {
	m := newBareMachine(t)
	m.bectlSays(255, "", "", "check")
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	says := m.bectlSays
	says(0, "", "", "check")

	says(0, "", "", "create", "new")
	says(2, "", "boot environment name already taken\nFailed to create bootenv new\n", "create", "new")
	says(1, "", "invalid boot environment name\nbectl create: boot environment name must not contain spaces\n", "create", "a b")
	says(3, "", "specified boot environment does not exist\nFailed to create bootenv x from snapshot none\n", "create", "-e", "none", "x")
	says(0, "", "", "create", "-r", "-e", "new", "copy")
	says(0, "", "", "create", "-E", "void")
	says(0, "", "", "create", "new@before")
	says(3, "", "specified boot environment does not exist\nFailed to create a snapshot 'x' of 'none'\n", "create", "none@x")
	says(19, "", "bectl: the snapshot new@before exists already: choose another name, or destroy it\nFailed to create a snapshot 'before' of 'new'\n", "create", "new@before")
	says(0, "", "", "create", "-e", "new@before", "late")

	rows := func(args ...string) string {
		t.Helper()
		r := m.bectl(append([]string{"list"}, args...)...)
		if r.code != 0 || r.err != "" {
			t.Fatal(r)
		}
		// Sizes and times are the machine's own.
		out := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d`).ReplaceAllString(r.out, "DATE")
		return regexp.MustCompile(`(?m)(\s)\S+\s+DATE$`).ReplaceAllString(out, "${1}SIZE DATE")
	}
	root := len(m.root)
	pad := func(s string, n int) string { return fmt.Sprintf("%-*s", n, s) }
	want := pad("BE", 6) + " Active " + pad("Mountpoint", root) + " Space Created\n"
	for _, name := range []string{"copy", "debian", "late", "new", "void"} {
		flags, at := "-", "-"
		if name == "debian" {
			flags, at = "NR", m.root
		}
		want += pad(name, 6) + " " + pad(flags, 6) + " " + pad(at, root) + " SIZE DATE\n"
	}
	if got := rows(); got != want {
		t.Errorf("list:\n%s\nnot\n%s", got, want)
	}
	if got, want := rows("-H"), "copy\t-\t-\tSIZE DATE\ndebian\tNR\t"+m.root+"\tSIZE DATE\nlate\t-\t-\tSIZE DATE\nnew\t-\t-\tSIZE DATE\nvoid\t-\t-\tSIZE DATE\n"; got != want {
		t.Errorf("list -H:\n%s\nnot\n%s", got, want)
	}
	if got := rows("-H", "-C", "name"); !strings.HasPrefix(got, "void\t") {
		t.Errorf("list -C name:\n%s", got)
	}
	if got := rows("-sH"); !strings.Contains(got, "\nnew\n  /@be-new\t-\t-\tSIZE DATE\n") || !strings.Contains(got, "\n  new@before\t-\t-\tSIZE DATE\n") {
		t.Errorf("list -s:\n%s", got)
	}
	if got := rows("-aH"); !strings.Contains(got, "late\n  /@be-late\t-\t-\tSIZE DATE\n    /@be-new@before\t-\t-\tSIZE DATE\n\nnew\n") || strings.Contains(got, "  new@before") {
		t.Errorf("list -a:\n%s", got)
	}
	says(21, "", "bectl: cannot destroy new@before: it is what late was cloned from; destroy that first\n", "destroy", "new@before")
	says(0, "", "bectl destroy: leaving origin '/@be-new@before' intact\n", "destroy", "late")
	says(0, "", "", "destroy", "new@before")
	says(3, "", "specified boot environment does not exist\n", "destroy", "none")

	// A snapshot that bectl has named goes with its last clone, and so does any
	// with -o; one that beadm has named by the time stays.
	says(0, "", "", "create", "new@2026-01-02-03:04:06")
	says(0, "", "", "create", "-e", "new@2026-01-02-03:04:06", "late")
	says(0, "", "bectl destroy: leaving origin '/@be-new@2026-01-02-03:04:06' intact\n", "destroy", "late")
	says(0, "", "", "destroy", "new@2026-01-02-03:04:06")
	says(0, "", "", "create", "new@2026-01-02-03:04:05-0")
	says(0, "", "", "create", "-e", "new@2026-01-02-03:04:05-0", "late")
	says(0, "", "", "destroy", "late")
	says(0, "", "", "create", "new@kept")
	says(0, "", "", "create", "-e", "new@kept", "late")
	says(0, "", "", "destroy", "-Fo", "late")
	if got := rows("-sH"); strings.Contains(got, "new@kept") || strings.Contains(got, "new@2026") {
		t.Errorf("origins that should have gone:\n%s", got)
	}

	r := m.bectl("mount", "copy")
	at := strings.TrimSuffix(r.out, "\n")
	if info, err := os.Stat(filepath.Join(at, "etc/fstab")); r.code != 0 || r.err != "" || err != nil || info.IsDir() {
		t.Fatal(r)
	}
	says(12, "", "boot environment is already mounted\nFailed to mount bootenv copy at "+m.top+"\n", "mount", "copy", m.top)
	says(6, "", "cannot destroy mounted boot env unless forced\n", "destroy", "copy")
	says(12, "", "boot environment is already mounted\nFailed to rename bootenv copy to other\n", "rename", "copy", "other")
	says(0, "", "", "umount", "copy")
	says(0, "", "", "unmount", "copy")
	dir := t.TempDir()
	says(0, dir+"\n", "", "mount", "copy", dir)
	says(0, "", "", "unmount", "-f", "copy")
	write(t, filepath.Join(dir, "file"), "")
	r = m.bectl("mount", "copy", dir)
	if r.code != 8 || !strings.HasSuffix(r.err, "\nFailed to mount bootenv copy at "+dir+"\n") {
		t.Error(r)
	}
	if r = m.bectl("mount", "copy", "/none/such"); r.code != 7 {
		t.Error(r)
	}

	says(0, "", "", "rename", "copy", "other")
	says(2, "", "boot environment name already taken\nFailed to rename bootenv other to new\n", "rename", "other", "new")
	says(3, "", "specified boot environment does not exist\nFailed to rename bootenv copy to x\n", "rename", "copy", "x")
	says(1, "", "Failed to rename bootenv other to a b\n", "rename", "other", "a b")

	says(3, "Did not successfully activate boot environment none\n", "specified boot environment does not exist\n", "activate", "none")
	says(0, "Successfully activated boot environment new for next boot\n", "", "activate", "-t", "new")
	if got := rows("-H"); !strings.Contains(got, "\nnew\tRT\t") {
		t.Errorf("activated once:\n%s", got)
	}
	says(0, "Temporary activation removed\n", "", "activate", "-T")
	says(0, "Temporary activation removed\n", "", "activate", "-T")
	says(0, "Successfully activated boot environment new\n", "", "activate", "new")
	if got := rows("-H"); !strings.Contains(got, "\nnew\tR\t") || !strings.Contains(got, "debian\tN\t") {
		t.Errorf("activated:\n%s", got)
	}
	says(0, "Temporary activation removed\n", "", "activate", "-T") // not that one
	if st := m.status(); st.State != "armed" {
		t.Errorf("-T took back what is not temporary: %+v", st)
	}
	says(5, "", "cannot destroy active boot environment\n", "destroy", "-F", "new")
	says(5, "", "cannot destroy active boot environment\n", "destroy", "debian")
	m.comeUp()
	if got := rows("-H"); !strings.Contains(got, "\nnew\tN") {
		t.Errorf("booted:\n%s", got)
	}
	m.ok("confirm")
	if got := rows("-H"); !strings.Contains(got, "\nnew\tNR\t") {
		t.Errorf("confirmed:\n%s", got)
	}
	says(0, "", "", "destroy", "-F", "other") // with no question
	says(1, "", "bectl ujail: failed to locate BE by 'new'\n", "ujail", "new")
}

// TestBectlByVariable: BEADM_DIALECT makes bectl of beadm, but for what bectl
// has no command for.
func TestBectlByVariable(t *testing.T) {
	m := newMachine(t)
	as := func(args ...string) result {
		return start(t, exec.Command("env", append([]string{"BEADM_DIALECT=bectl", "BEADM_ROOT=" + m.root, m.beadm}, args...)...))
	}
	if r := as("create", "new"); r.code != 0 || r.out+r.err != "" {
		t.Error(r)
	}
	if r := as("create", "new"); r.code != 2 || !strings.Contains(r.err, "already taken") {
		t.Error(r)
	}
	if r := as("status"); r.code != 0 || !strings.Contains(r.out, "debian") {
		t.Error(r)
	}
	if out := m.ok("--dialect", "bectl", "list", "-H"); strings.Count(out, "\t") != 8 {
		t.Errorf("%q", out)
	}
	if out := m.ok("list", "-H", "--dialect", "illumos"); strings.Count(out, ";") != 12 {
		t.Errorf("%q", out)
	}
	m.refused(2, "there is no dialect", "--dialect", "zectl", "list", "-H")
}

// TestConsumers calls and reads what programs of others do, in their way:
// src/opnsense/scripts/system/bectl.py of opnsense/core, usr.sbin/freebsd-update
// and tools/tools/beinstall of freebsd-src, and plugins/modules/beadm.py of
// ansible-collections/community.general.
func TestConsumers(t *testing.T) {
	m := newMachine(t)

	t.Run("OPNsense bectl.py", func(t *testing.T) {
		call := func(args ...string) string {
			r := m.bectl(args...)
			if r.code != 0 {
				t.Error(r)
			}
			return r.out
		}
		call("create", "BE-20260102030405")
		call("create", "-e", "BE-20260102030405", "clone")
		call("rename", "clone", "renamed")
		call("activate", "renamed")
		var names []string
		for _, line := range strings.Split(call("list", "-H"), "\n") {
			parts := strings.Split(line, "\t")
			if len(parts) < 5 {
				continue
			}
			names = append(names, parts[0]+parts[1])
			if _, err := time.ParseInLocation("2006-01-02 15:04", parts[4], time.Local); err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(names, " "); got != "BE-20260102030405- debianN renamedR" {
			t.Errorf("%q", got)
		}
		call("activate", "debian")
		call("destroy", "renamed") // with nobody to ask
	})

	t.Run("freebsd-update", func(t *testing.T) {
		if r := m.bectl("check"); r.code != 0 || r.out+r.err != "" {
			t.Error(r)
		}
		if r := m.bectl("create", "-r", "14.2-RELEASE_2026-01-02_030405"); r.code != 0 || r.out+r.err != "" {
			t.Error(r)
		}
	})

	t.Run("beinstall.sh", func(t *testing.T) {
		dir := t.TempDir()
		// It takes bectl or beadm, whichever it finds.
		for _, call := range []func(...string) result{m.bectl, m.run} {
			for _, args := range [][]string{{"create", "built"}, {"mount", "built", dir}, {"umount", "-f", "built"}, {"activate", "built"}, {"list"}, {"activate", "debian"}, {"destroy", "-F", "built"}} {
				if r := call(args...); r.code != 0 {
					t.Error(r)
				}
			}
		}
	})

	// The module splits by semicolons on everything but FreeBSD.
	t.Run("Ansible beadm.py", func(t *testing.T) {
		find := func(name string) []string {
			args := []string{"list", "-H"}
			if strings.Contains(name, "@") {
				args = append(args, "-s")
			}
			r := m.run(args...)
			for _, line := range strings.Split(strings.TrimSuffix(r.out, "\n"), "\n") {
				if f := strings.Split(line, ";"); r.code == 0 && f[0] == name {
					return f
				}
			}
			return nil
		}
		call := func(args ...string) {
			if r := m.run(args...); r.code != 0 {
				t.Error(r)
			}
		}
		if find("upgrade-be") != nil {
			t.Error("there before it was made")
		}
		call("create", "-d", "upgrade", "upgrade-be")
		if f := find("upgrade-be"); f == nil || strings.Contains(f[2], "R") || f[3] != "" {
			t.Errorf("%q", f)
		}
		dir := t.TempDir()
		call("mount", "upgrade-be", dir)
		if f := find("upgrade-be"); f[3] != dir {
			t.Errorf("mounted: %q", f)
		}
		call("unmount", "-f", "upgrade-be")
		call("activate", "upgrade-be")
		if f := find("upgrade-be"); !strings.Contains(f[2], "R") {
			t.Errorf("activated: %q", f)
		}
		call("activate", "-T")
		call("create", "upgrade-be@fresh")
		if find("upgrade-be@fresh") != nil {
			t.Error("the first field of a snapshot is its boot environment in illumos' dialect: the module never sees it")
		}
		call("create", "-e", "upgrade-be@fresh", "second")
		call("destroy", "-F", "second")
		call("destroy", "-F", "upgrade-be")
		if find("upgrade-be") != nil {
			t.Error("there after it was destroyed")
		}
	})
}
