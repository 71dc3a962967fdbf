//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interrupted starts a command, has it interrupted once begun says so, and
// returns how it ended.
func (m *machine) interrupted(sig os.Signal, begun func(said string) bool, args ...string) result {
	m.t.Helper()
	cmd := exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...)
	in, err := cmd.StdinPipe() // nobody answers
	check(m.t, err)
	defer in.Close()
	said := filepath.Join(m.t.TempDir(), "said")
	f, err := os.Create(said)
	check(m.t, err)
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	check(m.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); !begun(read(m.t, said)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			m.t.Fatalf("beadm %q did not begin: %s", args, read(m.t, said))
		}
	}
	check(m.t, cmd.Process.Signal(sig))
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		cmd.Process.Kill()
		<-ended
		m.t.Fatalf("%v does not end beadm %q", sig, args)
	}
	return result{args, cmd.ProcessState.ExitCode(), "", read(m.t, said)}
}

// A command that waits for one that hangs ends when it is told to.
func TestInterruptBehindOneThatHangs(t *testing.T) {
	m := newMachine(t)
	guids, _ := filepath.Glob(filepath.Join(m.top, "@beadm/*"))
	dir := filepath.Join("/run/beadm", filepath.Base(guids[0]))
	check(t, os.MkdirAll(dir, 0o700))
	f, err := os.Create(filepath.Join(dir, "change"))
	check(t, err)
	defer f.Close()
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		begun := time.Now()
		r := m.interrupted(sig, func(string) bool { return time.Since(begun) > 2*time.Second }, "status")
		if r.code != 130 {
			t.Errorf("%v: %v", sig, r)
		}
	}
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
	m.ok("status")
}

func TestInterruptAtTheQuestion(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	r := m.interrupted(os.Interrupt, func(said string) bool { return strings.Contains(said, "(y/[n])") }, "destroy", "new")
	if r.code != 130 || !strings.Contains(r.err, "new has not been destroyed") {
		t.Error(r)
	}
	m.noneOfOurs(r)
	if out := m.ok("list", "-H"); !strings.Contains(out, "new;") {
		t.Errorf("new is gone: %s", out)
	}
}

// Who does not read to the end does not stop the work in the middle.
func TestClosedPipe(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	// The pipe is closed before the first word of it.
	out := sh(t, "bash", "-c", fmt.Sprintf(`%s -v --root %s activate new 2> >(exec true) > >(exec true); echo $?; sleep 0.1`, m.beadm, m.root))
	if strings.TrimSpace(out) != "0" {
		t.Errorf("activate: exit %s", out)
	}
	m.is("armed", "debian", "debian")
	if out := sh(t, "bash", "-c", fmt.Sprintf(`%s --root %s list > >(exec true); echo $?`, m.beadm, m.root)); strings.TrimSpace(out) != "0" {
		t.Errorf("list: %s", out)
	}
}

// A copy may take hours: until the first directory is exchanged it can be given
// up, and then nothing has happened.
func TestInterruptOfShareInit(t *testing.T) {
	m := newMachine(t)
	many := filepath.Join(m.root, "var/spool/many")
	check(t, os.MkdirAll(many, 0o755))
	for i := range 8000 {
		check(t, os.WriteFile(fmt.Sprintf("%s/%d", many, i), []byte("x"), 0o644))
	}
	copying := func(string) bool {
		_, err := os.Stat(filepath.Join(m.root, "var/share/.beadm-new/spool/many"))
		return err == nil
	}
	r := m.interrupted(os.Interrupt, copying, "share", "init")
	if r.code != 130 || !strings.Contains(r.err, "interrupted") || m.linked("var/mail") || m.linked("var/spool") {
		t.Fatal(r)
	}
	if _, err := os.Stat(filepath.Join(m.top, "@varshare")); err == nil {
		t.Error("the shared dataset is left")
	}
	if st := m.status(); st.Open != "" {
		t.Errorf("open: %s", st.Open)
	}
	m.ok("share", "init")
	m.mailIs("alice", "first mail\n")
	r = m.interrupted(os.Interrupt, func(string) bool {
		_, err := os.Stat(filepath.Join(m.root, "var/.beadm-old/.back-spool/many"))
		return err == nil
	}, "share", "undo")
	if r.code != 130 || !m.linked("var/mail") || !m.linked("var/spool") {
		t.Fatal(r)
	}
	m.ok("share", "undo")
	m.mailIs("alice", "first mail\n")
}
