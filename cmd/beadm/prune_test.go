//go:build linux

package main

import (
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestPruneAsksWithoutTheLock: while it waits for an answer others work on, and it
// destroys nothing but what it asked about.
func TestPruneAsksWithoutTheLock(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "a")
	m.ok("create", "b")
	for _, c := range []struct {
		meanwhile []string
		code      int
		says      string
		left      string
	}{
		{[]string{"prune", "--pin", "a"}, 5, "what would go became b; run it again", "a b debian"},
		{[]string{"describe", "b", "still the same"}, 0, "", "a debian"},
	} {
		cmd := exec.Command(m.beadm, "--root", m.root, "prune", "--keep", "0")
		in, err := cmd.StdinPipe()
		check(t, err)
		errs, err := cmd.StderrPipe()
		check(t, err)
		check(t, cmd.Start())
		said := ""
		for b := make([]byte, 1); !strings.HasSuffix(said, "(y/[n]): "); said += string(b) {
			if _, err := errs.Read(b); err != nil {
				t.Fatalf("it does not ask: %q", said)
			}
		}
		m.ok(c.meanwhile...)
		_, err = io.WriteString(in, "y\n")
		check(t, err)
		rest, err := io.ReadAll(errs)
		check(t, err)
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(string(rest), c.says) {
			t.Errorf("after %q it ends with %d and says %q", c.meanwhile, got, rest)
		}
		var left []string
		for line := range strings.Lines(m.ok("list", "-H", "-k", "name")) {
			left = append(left, strings.SplitN(line, ";", 2)[0])
		}
		if strings.Join(left, " ") != c.left {
			t.Errorf("after %q left are %q", c.meanwhile, left)
		}
	}
}

// prune destroys the oldest of those that nobody needs, and says of all others
// why they stay.
func TestPrune(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		m.ok("create", name)
	}
	m.ok("activate", "a")
	m.ok("prune", "--pin", "b")
	m.ok("prune", "--pin", "b") // again
	names := func() (list []string) {
		for _, line := range strings.Split(strings.TrimSpace(m.ok("list", "-H", "-k", "name")), "\n") {
			list = append(list, strings.SplitN(line, ";", 2)[0])
		}
		return list
	}
	said := m.ok("prune", "--keep", "1", "-n")
	for _, want := range []string{"would destroy c\nwould destroy d\n", "keeps e: it is one of the newest 1\n", "keeps debian: it is running\n", "keeps a: it is part of a trial\n", "keeps b: it is pinned\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, said)
		}
	}
	if m.ok("prune", "--older", "1d", "-F") != "nothing to prune\n" || m.ok("prune", "--until-free", "1K", "-F") != "nothing to prune\n" {
		t.Error("something was pruned that is younger than a day, or though there is room")
	}
	if said := m.ok("prune", "--keep", "1", "-F"); said != "destroyed c\ndestroyed d\n" {
		t.Errorf("it says %q", said)
	}
	if got := names(); !slices.Equal(got, []string{"a", "b", "debian", "e"}) {
		t.Errorf("left are %v", got)
	}
	m.ok("activate", "-T")
	m.ok("prune", "--unpin", "b")
	if r := m.run("prune", "--older", "1d", "--until-free", "900T", "-F"); r.code != 12 {
		t.Error(r)
	}
	// It ends when nothing else may go, and says that this was not enough.
	if r := m.run("prune", "--until-free", "900T", "-F"); r.code != 12 || !strings.Contains(r.err, "nothing else may go") || strings.Count(r.err, "\n") != 1 {
		t.Error(r)
	}
	if got := names(); !slices.Equal(got, []string{"debian"}) {
		t.Errorf("left are %v", got)
	}
}

func TestWrongPrunes(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	for line, says := range map[string]string{
		"prune -F":                       "say which may go",
		"prune -F --keep x":              "--keep takes a number",
		"prune -F --keep -1":             "--keep takes a number",
		"prune -F --older 3":             "--older takes an age",
		"prune -F --older -3d":           "--older takes an age",
		"prune -F --older 99999999d":     "--older takes an age",
		"prune -F --until-free 10X":      "--until-free takes a size",
		"prune -F --until-free 9999999P": "--until-free takes a size",
		"prune -F --keep 0 new":          "takes no argument",
		"prune --pin new --keep 0":       "destroy nothing",
		"prune --pin new --unpin new":    "exclude each other",
		"prune --pin ../x":               "not valid",
		"prune --unpin -x":               "not valid",
	} {
		m.refused(2, says, strings.Fields(line)...)
	}
	m.refused(3, "nosuch", "prune", "--pin", "nosuch")
}
