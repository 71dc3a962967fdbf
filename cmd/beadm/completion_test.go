//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
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
	if got := offers(""); !slices.Contains(got, "rollback") || slices.Contains(got, "trial-failed") {
		t.Errorf("%q", got)
	}
}
