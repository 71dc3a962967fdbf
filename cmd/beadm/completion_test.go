//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestCompletionInBash types words into a real bash.
func TestCompletionInBash(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "patched")
	m.ok("create", "pristine")
	dir := t.TempDir()
	check(t, os.Symlink(m.beadm, filepath.Join(dir, "beadm")))
	offers := func(words ...string) []string {
		t.Helper()
		cmd := exec.Command("bash", "-c", `source <(beadm completion bash)
COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
_beadm
printf '%s\n' "${COMPREPLY[@]}"`, "bash", "beadm")
		cmd.Args = append(cmd.Args, words...)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "BEADM_ROOT=" + m.root}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Fields(string(out))
	}
	for _, c := range []struct {
		words, want []string
	}{
		{[]string{"act"}, []string{"activate"}},
		{[]string{"share", "st"}, []string{"status"}},
		{[]string{"activate", "p"}, []string{"patched", "pristine"}},
		{[]string{"activate", "-t", "pa"}, []string{"patched"}},
		{[]string{"activate", "--conf"}, []string{"--confirm-within"}},
		{[]string{"create", "-e", "deb"}, []string{"debian"}},
		{[]string{"create", "p"}, nil}, // a new name
		{[]string{"list", "-k", "s"}, []string{"space"}},
		{[]string{"--root", m.root, "mount", "pr"}, []string{"pristine"}},
		{[]string{"--root", "/nonesuch", "mount", "pr"}, nil},
		{[]string{"completion", "z"}, []string{"zsh"}},
		{[]string{"upgrade", "patched", "--", "a"}, nil},
	} {
		if got := offers(c.words...); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, not %q", c.words, got, c.want)
		}
	}
	m.ok("create", "a:b:one")
	if got := offers("mount", "a:b:"); !slices.Equal(got, []string{"one"}) {
		t.Errorf("%q", got)
	}
	if got := offers(""); !slices.Contains(got, "rollback") || slices.Contains(got, "trial-failed") {
		t.Errorf("%q", got)
	}
}

// TestTab presses the key.
func TestTab(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "patched")
	m.ok("create", "a:b:one")
	dir := t.TempDir()
	check(t, os.Symlink(m.beadm, filepath.Join(dir, "beadm")))
	master, slave := pseudoTerminal(t)
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "TERM=dumb", "PS1=> ", "BEADM_ROOT=" + m.root, "HISTFILE="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	screen := &screen{t: t, master: master, cmd: cmd}
	screen.until("> ")
	screen.keys("source <(beadm completion bash); echo rea\"\"dy\r")
	screen.until("\nready\r\n")
	for typed, want := range map[string]string{
		"beadm mount pat\t":             "beadm mount patched ",
		"beadm mount a:b\t":             "beadm mount a:b:one ",
		"beadm activate -t a:\t":        "beadm activate -t a:b:one ",
		"beadm create -e pat\t ne\t":    "beadm create -e patched  ne",
		"beadm sha\t st\t":              "beadm share  status ",
		"beadm activate pat\t --perm\t": "beadm activate patched  --permanent ",
	} {
		// To the front of the line, and have it said.
		screen.keys(typed + "$\x01echo '\x05'\r")
		screen.until("\n" + want + "$\r\n")
	}
	screen.keys("exit\r")
	cmd.Wait()
}
