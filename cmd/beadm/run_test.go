//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shellMachine is a machine with a boot environment new that has a shell.
func shellMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	if !m.addShell() {
		t.Fatal("there is no /bin/busybox: install busybox-static")
	}
	m.ok("create", "new")
	return m
}

func TestRun(t *testing.T) {
	m := shellMachine(t)
	m.ok("share", "init")
	if out := m.ok("run", "new", "--", "/bin/sh", "-c", "echo it runs; echo 2 >/usr/lib/os; echo x >/var/mail/bob"); out != "it runs\n" {
		t.Errorf("it printed %q", out)
	}
	if got := read(t, filepath.Join(m.top, "@be-new/usr/lib/os")); got != "2\n" {
		t.Errorf("what it wrote is not there: %q", got)
	}
	if got := read(t, filepath.Join(m.root, "usr/lib/os")); got != "1\n" {
		t.Errorf("it wrote into the running system: %q", got)
	}
	if _, err := os.Stat(filepath.Join(m.root, "var/mail/bob")); !os.IsNotExist(err) {
		t.Errorf("it wrote into the shared data: %v", err)
	}
	// The name of the host is what packages write into their configuration.
	host, err := os.Hostname()
	check(t, err)
	if out := m.ok("run", "new", "--", "/bin/busybox", "hostname"); out != host+"\n" {
		t.Errorf("the host is called %q, not %q", out, host)
	}
	// Its exit status is passed on, and nothing is said about it.
	for _, code := range []int{0, 1, 3, 14, 255} {
		if r := m.run("run", "new", "--", "/bin/sh", "-c", fmt.Sprintf("exit %d", code)); r.code != code || r.out != "" || r.err != "" {
			t.Errorf("exit %d: %v", code, r)
		}
	}
	if r := m.run("run", "new", "--", "/bin/sh", "-c", "echo words >&2; exit 42"); r.code != 42 || r.err != "words\n" {
		t.Error(r)
	}
	if r := m.run("run", "new", "--", "/bin/sh", "-c", "kill -9 $$"); r.code != 137 || r.err != "" {
		t.Error(r)
	}
	if r := m.run("run", "new", "--", "nosuch"); r.code != 127 || !strings.HasPrefix(r.err, "beadm: ") || strings.Count(r.err, "\n") != 1 {
		t.Error(r)
	}
	if r := m.run("--json", "run", "new", "--", "/bin/sh", "-c", "echo words"); r.code != 0 || !strings.HasPrefix(r.out, "{") || r.err != "words\n" {
		t.Error(r)
	}
	// Flags behind the name are beadm's, behind -- the command's.
	if out := m.ok("run", "new", "-n", "--", "/bin/sh"); out != "would run /bin/sh in new\n" {
		t.Error(out)
	}
	if out := m.ok("run", "new", "--", "/bin/busybox", "echo", "-n", "x"); out != "x" {
		t.Error(out)
	}
	if out := m.ok("history"); !strings.Contains(out, "run ") || strings.Contains(out, "words") {
		t.Error(out)
	}
}

func TestRunIsRefused(t *testing.T) {
	m := shellMachine(t)
	sh := []string{"--", "/bin/sh", "-c", "echo >/bad"}
	try := func(code int, says string, name string, flags ...string) {
		t.Helper()
		m.refused(code, says, append(append([]string{"run"}, flags...), append([]string{name}, sh...)...)...)
	}
	for _, flags := range [][]string{nil, {"-n"}} {
		try(3, "there is no boot environment nosuch", "nosuch", flags...)
		try(4, "it is the one that runs", "debian", flags...)
		try(2, "name", "a/b", flags...)
		try(2, "name", "", flags...)
	}
	m.refused(2, "give the boot environment to run", "run")
	m.ok("mount", "new")
	try(4, "it is mounted at", "new")
	m.ok("unmount", "new")
	m.ok("activate", "new")
	try(4, "armed trial", "new")
	m.comeUp()
	try(4, "during a trial", "debian")
}

// pseudoTerminal is a terminal for a command: what a person types goes to
// master, what is on the screen comes from it.
func pseudoTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	check(t, err)
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	check(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99}))
	check(t, unix.SetNonblock(fd, true)) // for SetReadDeadline
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// screen is what a person sees who types at the master of a terminal.
type screen struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	text   string // that was not looked at yet
}

// until waits for what, and has looked at all before it.
func (s *screen) until(what string) {
	s.t.Helper()
	check(s.t, s.master.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 4096)
	for !strings.Contains(s.text, what) {
		n, err := s.master.Read(b)
		s.text += string(b[:n])
		if err != nil {
			s.cmd.Process.Kill()
			s.t.Fatalf("no %q on the screen (%v): %q", what, err, s.text)
		}
	}
	_, s.text, _ = strings.Cut(s.text, what)
}

func (s *screen) keys(k string) {
	s.t.Helper()
	_, err := s.master.WriteString(k)
	check(s.t, err)
}

// TestRunAShell: somebody types.
func TestRunAShell(t *testing.T) {
	m := shellMachine(t)
	master, slave := pseudoTerminal(t)
	settings, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	check(t, err)
	cmd := exec.Command(m.beadm, "--root", m.root, "run", "new")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=dumb"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	screen := &screen{t: t, master: master, cmd: cmd}
	until, keys := screen.until, screen.keys
	until("# ")
	keys("/bin/busybox tty; echo $((6*7))\r")
	until("\n/dev/pts/0\r\n42\r\n")
	keys("/bin/busybox stty size; echo the end $?\r")
	until("\n33 99\r\nthe end 0\r\n")
	check(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 88}))
	check(t, cmd.Process.Signal(syscall.SIGWINCH)) // that the kernel sends to all of the foreground
	time.Sleep(100 * time.Millisecond)
	// Ctrl-C ends what runs in it, not beadm.
	keys("echo wai\"\"ting; sleep 100\r")
	until("waiting\r\n")
	time.Sleep(200 * time.Millisecond)
	keys("\x03")
	until("# ")
	keys("echo still $((40+4))\r")
	until("still 44\r\n")
	keys("exit 7\r")
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		t.Fatalf("the shell does not end: %q", screen.text)
	}
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit %d, not the shell's: %q", code, screen.text)
	}
	now, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	check(t, err)
	if *now != *settings {
		t.Errorf("the terminal is left as %+v, not %+v", now, settings)
	}
	m.noneOfOurs(result{args: cmd.Args, code: 7})
}

// TestHangup: who is at work when the line breaks leaves nothing mounted.
func TestHangup(t *testing.T) {
	m := shellMachine(t)
	// Under nohup(1) a program would ignore it from its start.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(m.beadm, "--root", m.root, "run", "new", "--", "/bin/sh", "-c", "echo >/ready; exec sleep 100")
		check(t, cmd.Start())
		ready := filepath.Join(m.top, "@be-new/ready")
		for i := 0; ; i++ {
			if _, err := os.Stat(ready); err == nil {
				break
			}
			if i == 1000 {
				cmd.Process.Kill()
				t.Fatal("it does not start")
			}
			time.Sleep(20 * time.Millisecond)
		}
		check(t, cmd.Process.Signal(sig))
		cmd.Wait()
		r := result{args: cmd.Args, code: cmd.ProcessState.ExitCode()}
		if r.code != 130 {
			t.Errorf("%v: %v", sig, r)
		}
		m.noneOfOurs(r)
		check(t, os.Remove(ready))
	}
	m.ok("run", "new", "--", "/bin/true")
}
