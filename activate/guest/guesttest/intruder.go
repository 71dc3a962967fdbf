//go:build linux

package guesttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
)

// Confined is the part of the contract that keeps a command from the host.
func Confined(t *testing.T, scene Scene) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s := &suite{Scene: scene, ctx: ctx}
	first := s.clone(t, "first")
	s.own(t, first)
	Point(t, s.Root, first)
	s.intruder(t)
}

// intruder runs a program that looks for ways to the host.
func (s *suite) intruder(t *testing.T) {
	if s.Unconfined {
		return
	}
	bytes, err := os.ReadFile(s.Disk.intruder)
	check(t, err)

	var disk unix.Stat_t
	check(t, unix.Stat(s.Disk.device, &disk))
	mark := fmt.Sprintf("87%d1", os.Getpid())
	host := exec.Command("sleep", mark)
	check(t, host.Start())
	defer func() { host.Process.Kill(); host.Wait() }()
	socket := fmt.Sprintf("beadm-test-%d", os.Getpid())
	listener, err := net.Listen("unix", "@"+socket)
	check(t, err)
	defer listener.Close()
	private := filepath.Join(t.TempDir(), "private")
	check(t, os.WriteFile(private, []byte("the host keeps this\n"), 0o644))

	root := s.clone(t, "intruder")
	check(t, os.WriteFile(filepath.Join(root, "intruder"), bytes, 0o755))
	s.own(t, root)
	check(t, os.Mkdir(filepath.Join(root, "var/share"), 0o755))
	s.own(t, filepath.Join(root, "var/share"))
	input := filepath.Join(t.TempDir(), "input")
	check(t, os.WriteFile(input, []byte("the host keeps this\n"), 0o644))
	in, err := os.Open(input)
	check(t, err)
	defer in.Close()
	stdout, stderr := file(t), file(t)
	err = s.Runtime.Run(s.ctx, s.find(t), guest.Command{Root: root, Stdin: in, Stdout: stdout, Stderr: stderr,
		Argv: []string{"/intruder", fmt.Sprintf("%d:%d", unix.Major(disk.Rdev), unix.Minor(disk.Rdev)), mark, socket, private}})
	said := text(t, stdout)
	if err != nil || !strings.HasSuffix(said, "tried all\n") {
		t.Fatalf("it did not come to its end: %v\n%s%s", err, said, text(t, stderr))
	}
	for _, line := range strings.Split(said, "\n") {
		if strings.HasPrefix(line, "open: ") {
			t.Error(line)
		}
	}
	for _, path := range []string{private, input} {
		if data, err := os.ReadFile(path); err != nil || string(data) != "the host keeps this\n" {
			t.Errorf("%s holds %q, %v", path, data, err)
		}
	}
	if pids := running(t, mark); len(pids) != 1 {
		t.Errorf("the host's process: %v", pids)
	}
}

// buildIntruder makes the program, and returns where it is.
func buildIntruder(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "intruder")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "beadm/activate/guest/guesttest/intruder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
