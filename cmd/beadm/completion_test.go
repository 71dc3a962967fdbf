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
	m.ok("snapshot", "patched@kept")
	m.ok("snapshot", "patched@2026-01-02-03:04:05")
	m.ok("share", "init")
	m.ok("share", "snapshot", "mails")
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
		{[]string{"create", "-e", "patched@k"}, []string{"@kept"}},
		{[]string{"destroy", "patched@2026-01-02-03:0"}, []string{"04:05"}}, // the line keeps what stands before the last colon
		{[]string{"destroy", "patched@"}, []string{"@kept", "@2026-01-02-03:04:05"}},
		{[]string{"export", "patched@k"}, []string{"@kept"}},
		{[]string{"export", "pr"}, []string{"pristine"}},
		{[]string{"import", "p"}, nil}, // a new name
		{[]string{"activate", "patched@"}, nil},
		{[]string{"destroy", "nosuch@"}, nil},
		{[]string{"share", "restore", "m"}, []string{"mails"}},
		{[]string{"recover", "--give-up", "pr"}, []string{"pristine"}},
		{[]string{"help", "act"}, []string{"activate"}},
		{[]string{"help", "share", "res"}, []string{"restore"}},
		{[]string{"help", "activate", "p"}, nil},
		{[]string{"schema", "sync", "con"}, []string{"conflicts"}},
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
	m.ok("snapshot", "patched@kept")
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
		"beadm destroy patched@k\t":     "beadm destroy patched@kept ",
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

// otherShell types words into a real shell of another kind, once for each, and
// says what it makes of the line.
func otherShell(t *testing.T, m *machine, shell string, args []string, begin string, check func(screen *screen)) {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Fatalf("%v: install %s", err, shell)
	}
	dir := t.TempDir()
	if err := os.Symlink(m.beadm, filepath.Join(dir, "beadm")); err != nil {
		t.Fatal(err)
	}
	master, slave := pseudoTerminal(t)
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "TERM=dumb", "PS1=> ", "BEADM_ROOT=" + m.root, "HOME=" + dir, "HISTFILE="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	screen := &screen{t: t, master: master, cmd: cmd}
	screen.until("> ")
	screen.keys(begin)
	check(screen)
	screen.keys("exit\r")
	cmd.Wait()
}

func TestCompletionInZsh(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "patched")
	m.ok("create", "a:b:one")
	m.ok("snapshot", "patched@kept")
	otherShell(t, m, "zsh", []string{"-f", "-i"}, "autoload -U compinit; compinit -u -D; source <(beadm completion zsh); unsetopt zle_bracketed_paste; print rea''dy\r", func(screen *screen) {
		screen.until("\nready\r\n")
		for typed, want := range map[string]string{
			"beadm mount pat\t":         "beadm mount patched ",
			"beadm mount a:b\t":         "beadm mount a:b:one ",
			"beadm destroy patched@k\t": "beadm destroy patched@kept ",
			"beadm create -e pat\t":     "beadm create -e patched ",
			"beadm help share resto\t":  "beadm help share restore ",
		} {
			screen.keys(typed + "$\x01print -r '\x05'\r")
			screen.until("\n" + want + "$\r\n")
		}
	})
}

// TestCompletionInFish asks fish what it would offer.
func TestCompletionInFish(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Fatalf("%v: install fish", err)
	}
	m := newMachine(t)
	m.ok("create", "patched")
	m.ok("create", "a:b:one")
	m.ok("snapshot", "patched@kept")
	dir := t.TempDir()
	check(t, os.Symlink(m.beadm, filepath.Join(dir, "beadm")))
	for typed, want := range map[string]string{
		"beadm mount pat":          "patched",
		"beadm mount a:b":          "a:b:one",
		"beadm destroy patched@":   "patched@kept",
		"beadm create -e pat":      "patched",
		"beadm share resto":        "restore",
		"beadm help share resto":   "restore",
		"beadm activate --perman":  "--permanent",
		"beadm create pat":         "",
		"beadm completion z":       "zsh",
		"beadm mount none-of-this": "",
	} {
		cmd := exec.Command(fish, "--no-config", "-c", "beadm completion fish | source; complete -C $argv[1]", "--", typed)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "BEADM_ROOT=" + m.root, "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, not %q (%v)", typed, got, want, err)
		}
	}
}
