//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// liveMachine is a real Debian with systemd, on a btrfs of its own, as an nspawn
// machine: in it beadm works on the root that runs.
type liveMachine struct {
	t         *testing.T
	top, root string
	leader    int // its process 1
}

// bashWriter appends, renames over, creates and deletes without pause, in the
// directory that its unit is named for. What it has done it counts in /root.
const bashWriter = `#!/bin/bash
d=/var/$1 c=/root/count-$1 n=$(cat /root/count-$1 2>/dev/null || echo 0) stop=
trap 'stop=1' TERM
exec 3>>$d/w.log
while [ -z "$stop" ]; do
	n=$((n + 1))
	echo $n >&3
	echo $n >$d/w.tmp
	mv $d/w.tmp $d/w.last
	echo $n >$d/w.msg$n
	[ $n -le 20 ] || rm $d/w.msg$((n - 20))
done
echo $n >$c
`

var liveDirs = []string{"log", "mail", "spool", "tmp"}

func newLiveMachine(t *testing.T) *liveMachine {
	t.Helper()
	needBtrfs(t)
	t.Parallel()
	beadm := program(t)
	m := &liveMachine{t: t, top: t.TempDir(), root: t.TempDir()}
	image := filepath.Join(t.TempDir(), "disk")
	sh(t, "truncate", "-s", "2G", image)
	sh(t, "mkfs.btrfs", "-q", image)
	device := strings.TrimSpace(sh(t, "losetup", "-f", "--show", image))
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	for _, at := range []string{m.top, m.root} {
		options := "subvolid=5"
		if at == m.root {
			sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@debian"))
			options = "subvol=@debian"
		}
		check(t, unix.Mount(device, at, "btrfs", 0, options))
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	}
	archive := strings.TrimSpace(sh(t, "sh", "../../testdata/demo/cached.sh"))
	sh(t, "tar", "-C", m.root, "--numeric-owner", "--xattrs", "--acls", "-xf", archive)
	sh(t, "cp", beadm, filepath.Join(m.root, "usr/local/bin/beadm"))
	check(t, os.WriteFile(filepath.Join(m.root, "usr/local/bin/writer"), []byte(bashWriter), 0o755))
	write(t, filepath.Join(m.root, "etc/systemd/system/writer@.service"), "[Service]\nExecStart=/usr/local/bin/writer %i\nKillMode=process\n")
	m.boot(filepath.Base(t.TempDir()))
	// Its /dev has no disks.
	number := strings.Fields(sh(t, "stat", "-c", "%Hr %Lr", device))
	m.inside("mknod", device, "b", number[0], number[1])
	return m
}

func (m *liveMachine) boot(name string) {
	t := m.t
	t.Helper()
	console := filepath.Join(t.TempDir(), "console")
	out, err := os.Create(console)
	check(t, err)
	defer out.Close()
	name = fmt.Sprintf("beadm-test-%d-%s", os.Getpid(), name)
	cmd := exec.Command("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network",
		"--machine="+name, "--directory="+m.root, "--console=pipe")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start a machine (Debian package systemd-container): %v", err)
	}
	var root unix.Stat_t
	check(t, unix.Stat(m.root, &root))
	t.Cleanup(func() {
		cmd.Process.Kill()
		if m.leader > 0 {
			unix.Kill(m.leader, unix.SIGKILL)
		}
		cmd.Wait()
		// What nspawn takes away itself unless it is killed.
		os.Remove(fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", root.Dev, root.Ino))
		os.Remove("/run/systemd/nspawn/propagate/" + name)
	})
	ours, err := os.Readlink("/proc/self/ns/pid")
	check(t, err)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		for _, child := range strings.Fields(string(children)) {
			ns, err := os.Readlink("/proc/" + child + "/ns/pid")
			if err != nil || ns == ours {
				continue // never a process of the host
			}
			m.leader, _ = strconv.Atoi(child)
		}
		if m.leader > 0 && strings.TrimSpace(m.run("systemctl", "is-active", "multi-user.target").out) == "active" {
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(console)
			t.Fatalf("the machine does not come up:\n%s", said)
		}
	}
}

func (m *liveMachine) run(argv ...string) result {
	m.t.Helper()
	return start(m.t, exec.Command("nsenter", append([]string{"--target", strconv.Itoa(m.leader), "--all", "--wdns=/", "--"}, argv...)...))
}

func (m *liveMachine) inside(argv ...string) string {
	m.t.Helper()
	r := m.run(argv...)
	if r.code != 0 {
		m.t.Fatal(r)
	}
	return r.out
}

// writers starts or stops them, and once they are stopped counts.
func (m *liveMachine) writers(verb string) {
	m.t.Helper()
	for _, dir := range liveDirs {
		m.inside("systemctl", verb, "writer@"+dir)
	}
	if verb != "stop" {
		m.busy()
		return
	}
	for _, dir := range liveDirs {
		at := filepath.Join(m.root, "var", dir)
		if to, err := os.Readlink(at); err == nil {
			at = filepath.Join(m.top, "@varshare", filepath.Base(to)) // mounted in the machine alone
		}
		n, err := strconv.Atoi(strings.TrimSpace(read(m.t, filepath.Join(m.root, "root/count-"+dir))))
		check(m.t, err)
		var want strings.Builder
		for i := range n {
			fmt.Fprintln(&want, i+1)
		}
		if got := read(m.t, filepath.Join(at, "w.log")); got != want.String() {
			m.t.Errorf("%s: of %d lines %d are there", dir, n, strings.Count(got, "\n"))
		}
		if got := strings.TrimSpace(read(m.t, filepath.Join(at, "w.last"))); got != strconv.Itoa(n) {
			m.t.Errorf("%s: the last is %s, wanted %d", dir, got, n)
		}
		if left, _ := filepath.Glob(filepath.Join(at, "w.msg*")); len(left) != 20 {
			m.t.Errorf("%s: %d files, wanted 20", dir, len(left))
		}
		for i := n - 19; i <= n; i++ {
			if got := strings.TrimSpace(read(m.t, filepath.Join(at, "w.msg"+strconv.Itoa(i)))); got != strconv.Itoa(i) {
				m.t.Errorf("%s: w.msg%d holds %q", dir, i, got)
			}
		}
	}
}

// busy waits until each of them has written fifty lines more.
func (m *liveMachine) busy() {
	m.t.Helper()
	for _, dir := range liveDirs {
		lines := func() int { return strings.Count(m.run("cat", "/var/"+dir+"/w.log").out, "\n") }
		end := time.Now().Add(2 * time.Minute)
		for until := lines() + 50; lines() < until; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				m.t.Fatalf("the writer of %s does not write", dir)
			}
		}
	}
}

// The services of a running system write in each directory while all of them
// are moved, and put back: nothing is lost, and without leave nothing is done.
func TestShareOfALiveSystem(t *testing.T) {
	m := newLiveMachine(t)
	// The machine sees it, and what it calls /var/tmp is another.
	theirs, err := os.MkdirTemp("/var/tmp", "beadm-test-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(theirs) })
	sh(t, "truncate", "-s", "1M", theirs+"/disk")
	loop := strings.TrimSpace(sh(t, "losetup", "-f", "--show", theirs+"/disk"))
	t.Cleanup(func() { exec.Command("losetup", "-d", loop).Run() })
	m.inside("mkdir", "-p", "/root/loader")
	m.inside("beadm", "setup", "--loader", "stub", "--loader-dir", "/root/loader")
	m.writers("start")
	m.inside("systemd-cat", "-t", "test", "echo", "before the move")

	untouched := func(r result, blocked ...string) {
		t.Helper()
		if r.code != 4 || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "nothing was changed") {
			t.Errorf("%v", r)
		}
		for _, dir := range liveDirs {
			named := strings.Contains(r.err, "writer@"+dir+".service: writer (pid ") && strings.Contains(r.err, " at /var/"+dir+"/w.log")
			want := strings.Contains(" "+strings.Join(blocked, " ")+" ", " "+dir+" ")
			if named != want {
				t.Errorf("names the writer of %s: %v, wanted %v\n%v", dir, named, want, r)
			}
			if info, err := os.Lstat(filepath.Join(m.root, "var", dir)); err != nil || !info.IsDir() {
				t.Errorf("/var/%s: %v %v", dir, info, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(m.top, "@varshare")); err == nil {
			t.Error("a shared dataset was left")
		}
	}
	untouched(m.run("beadm", "share", "init"), liveDirs...)
	untouched(m.run("beadm", "share", "init", "--stop", "cron", "--stop", "writer@mail", "--stop", "writer@log.service"), "spool", "tmp")
	for _, dir := range liveDirs {
		if got := m.run("systemctl", "is-active", "writer@"+dir).out; got != "active\n" {
			t.Errorf("the writer of %s is %s", dir, got)
		}
	}

	argv := []string{"beadm", "share", "init", "--stop", "cron"}
	for _, dir := range liveDirs {
		argv = append(argv, "--stop", "writer@"+dir)
	}
	out := m.inside(argv...)
	for _, dir := range liveDirs {
		if !strings.Contains(out, "moved /var/"+dir+"\n") || !strings.Contains(out, "stopped and started writer@"+dir+".service\n") {
			t.Errorf("of %s:\n%s", dir, out)
		}
		if to, err := os.Readlink(filepath.Join(m.root, "var", dir)); to != "share/"+dir {
			t.Errorf("/var/%s leads to %q %v", dir, to, err)
		}
	}
	m.busy()
	m.writers("stop")
	m.inside("systemd-cat", "-t", "test", "echo", "after the move")
	m.inside("journalctl", "--sync")
	if got := m.inside("journalctl", "-q", "-o", "cat", "-t", "test"); got != "before the move\nafter the move\n" {
		t.Errorf("the journal has %q", got)
	}
	if found, _ := filepath.Glob(filepath.Join(m.top, "@varshare/log/journal/*/system.journal")); len(found) != 1 {
		t.Errorf("the journal is not in the shared data: %q", found)
	}

	m.writers("start")
	m.inside("beadm", "share", "commit")
	// One that does not run has its copy made while they write.
	m.inside("beadm", "create", "rest")
	r := m.run("beadm", "share", "undo")
	if r.code != 4 || !strings.Contains(r.err, "cannot put /var/log, /var/mail, /var/spool, /var/tmp back while in use by ") || !strings.HasSuffix(r.err, "; nothing was changed\n") {
		t.Errorf("share undo beside writers: %v", r)
	}
	for _, dir := range liveDirs {
		to, _ := os.Readlink(filepath.Join(m.top, "@be-rest/var", dir))
		if !strings.Contains(r.err, "writer@"+dir+".service: writer (pid ") || to != "share/"+dir {
			t.Errorf("of %s, which is a link to %q in the one that does not run: %v", dir, to, r)
		}
	}
	m.inside("beadm", "share", "undo", "--stop-all")
	for _, dir := range liveDirs {
		lines := strings.Fields(read(t, filepath.Join(m.top, "@be-rest/var", dir, "w.log")))
		if len(lines) < 100 || lines[len(lines)-1] != strconv.Itoa(len(lines)) {
			t.Errorf("of %s the one that does not run has %d lines", dir, len(lines))
		}
	}
	for _, dir := range liveDirs {
		if info, err := os.Lstat(filepath.Join(m.root, "var", dir)); err != nil || !info.IsDir() {
			t.Errorf("/var/%s is not put back: %v %v", dir, info, err)
		}
		if got := m.run("systemctl", "is-active", "writer@"+dir).out; got != "active\n" {
			t.Errorf("the writer of %s is %s", dir, got)
		}
	}
	m.busy()
	m.writers("stop")
}
