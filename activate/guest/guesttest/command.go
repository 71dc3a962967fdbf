//go:build linux

package guesttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

// run runs a shell script in root and returns what it printed.
func (s *suite) run(t *testing.T, root, input, script string, args ...string) (out, errs string, err error) {
	t.Helper()
	in, stdin, e := os.Pipe()
	check(t, e)
	_, e = stdin.WriteString(input)
	check(t, e)
	check(t, stdin.Close())
	defer in.Close()
	stdout, stderr := file(t), file(t)
	err = s.Runtime.Run(s.ctx, s.find(t), guest.Command{Root: root, Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...),
		Env: []string{"BEADM_TEST=a b\tc"}, Stdin: in, Stdout: stdout, Stderr: stderr})
	return text(t, stdout), text(t, stderr), err
}

func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func text(t *testing.T, f *os.File) string {
	t.Helper()
	_, err := f.Seek(0, io.SeekStart)
	check(t, err)
	data, err := io.ReadAll(f)
	check(t, err)
	return string(data)
}

func (s *suite) command(t *testing.T) {
	root := s.second
	out, errs, err := s.run(t, root, "a line\n", `cat; echo "$BEADM_TEST" "$1"; cat /root-is; echo words >&2; echo done >/written`, "an argument")
	if want := "a line\na b\tc an argument\n@be-second"; err != nil || out != want || !strings.Contains(errs, "words\n") {
		t.Fatalf("it printed %q and %q: %v; want %q", out, errs, err, want)
	}
	if _, err := os.Stat(filepath.Join(root, "written")); err != nil {
		t.Errorf("what it wrote is not there: %v", err)
	}
	for _, code := range []int{1, 7, 255} {
		_, _, err = s.run(t, root, "", fmt.Sprintf("exit %d", code))
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.ExitCode() != code {
			t.Errorf("it ended with %d: %v", code, err)
		} else {
			wantWords(t, err, s.Guest)
		}
	}

	// It sees the host's network, and nothing else that is the host's.
	ns, err := os.Readlink("/proc/self/ns/net")
	check(t, err)
	victim := t.TempDir()
	check(t, os.Chmod(victim, 0o777))
	mark := fmt.Sprintf("86%d", os.Getpid())
	host := exec.Command("sleep", mark+"1")
	check(t, host.Start())
	defer func() { host.Process.Kill(); host.Wait() }()
	out, errs, err = s.run(t, root, "", `readlink /proc/self/ns/net
cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -cx "[8]${1}1"
mkdir -p "$2" 2>/dev/null && echo >"$2/x"
(trap '' HUP TERM; exec setsid sleep "8${1}2") >/dev/null 2>&1 </dev/null & sleep 0.2
readlink /proc/1/root/proc/1/root
exit 0`, mark[1:], victim)
	if want := ns + "\n0\n/\n"; err != nil || out != want {
		t.Errorf("it printed %q and %q: %v; want %q", out, errs, err, want)
	}
	wantEmpty(t, victim)
	if pids := running(t, mark+"2"); len(pids) > 0 {
		t.Errorf("what it left runs: %v", pids)
	}
	if pids := running(t, mark+"1"); len(pids) != 1 {
		t.Errorf("the host's process: %v", pids)
	}

	// It is given up, and hears nothing.
	short, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	go func() { // once it has begun
		for short.Err() == nil {
			if _, err := os.Stat(filepath.Join(root, "given-up")); err == nil {
				cancel()
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	err = s.Runtime.Run(short, s.find(t), guest.Command{Root: root, Argv: []string{"/bin/sh", "-c", `trap '' HUP INT TERM; echo >/given-up; sleep "$1"; sleep "$1"`, "sh", mark + "3"}})
	if err == nil {
		t.Error("it was given up and ended well")
	}
	if _, err := os.Stat(filepath.Join(root, "given-up")); err != nil {
		t.Errorf("it did not begin: %v", err)
	}
	if pids := running(t, mark+"3"); len(pids) > 0 {
		t.Errorf("it was given up and runs: %v", pids)
	}

	// While the guest runs from another root.
	Point(t, s.Root, s.first)
	g := s.start(t)
	out, errs, err = s.run(t, root, "", "cat /root-is; ls /run/systemd/private")
	if out != "@be-second" || err == nil {
		t.Errorf("beside the guest that runs it printed %q and %q: %v", out, errs, err)
	}
	if now := s.find(t); now != g {
		t.Errorf("the guest went on: %+v, before %+v", now, g)
	}
	s.stop(t, g, time.Second)
}

func (s *suite) hostile(t *testing.T) {
	root := s.clone(t, "hostile")
	s.own(t, root)
	for _, name := range []string{"dev", "proc", "sys", "run", "etc/resolv.conf", "etc", "tmp"} {
		at := filepath.Join(root, name)
		victim := t.TempDir()
		check(t, os.Chmod(victim, 0o777))
		check(t, os.Rename(at, at+".kept"))
		check(t, os.Symlink(victim, at))
		// It may refuse, or run. Nothing may be found there.
		_, _, err := s.run(t, root, "", "echo >/tmp/x; echo >/run/x; echo >/dev/x; echo >/etc/resolv.conf; :")
		t.Logf("/%s leads out: %v", name, err)
		wantEmpty(t, victim)
		if name == "dev" || name == "run" {
			Point(t, s.Root, root)
			g := s.wantStopped(t)
			t.Logf("start: %v", s.Runtime.Start(s.ctx, g))
			end, cancel := context.WithTimeout(s.ctx, time.Second)
			check(t, s.Runtime.Stop(end, g))
			cancel()
			wantEmpty(t, victim)
		}
		if name != "tmp" {
			check(t, os.Remove(at))
			check(t, os.Rename(at+".kept", at))
		}
	}
	if out, _, err := s.run(t, filepath.Join(root, "tmp"), "", "echo ran"); err == nil || out != "" {
		t.Errorf("it ran in a root that is a link of the guest's: %q", out)
	}
}

func (s *suite) names(t *testing.T) {
	for _, name := range []string{"", "-n", "--help", "--version", "a/b", "../" + s.Guest, "..", ".", "a\nb", "a b", "a\x00b"} {
		g := guest.Guest{Name: name, Runtime: s.Runtime.Name(), Root: s.Root}
		_, herr := s.Runtime.Health(s.ctx, g)
		for verb, err := range map[string]error{
			"start":  s.Runtime.Start(s.ctx, g),
			"stop":   s.Runtime.Stop(s.ctx, g),
			"health": herr,
			"run":    s.Runtime.Run(s.ctx, g, guest.Command{Root: s.second, Argv: []string{"true"}}),
		} {
			if kind := be.KindOf(err); kind != be.Usage && kind != be.NotFound {
				t.Errorf("%s of %q: %v", verb, name, err)
			}
		}
	}
	s.wantStopped(t)
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("in the host's directory there is %v, %v", entries, err)
	}
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(w)) {
			t.Errorf("the error says nothing of %q: %v", w, err)
		}
	}
}
