//go:build linux

package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fillable are the commands of TestCuts that change the store, but for those that
// nobody gives by hand.
var fillable = []string{"create", "import", "destroy", "rename", "activate", "activate -t", "activate -T", "activate --permanent", "confirm", "rollback", "rollback to a snapshot", "status --acknowledge", "sync run", "upgrade"}

// takesSpace says of an effect that a file system on which nothing is free may refuse
// it. What is beside the disk, the loader's files and memory, is not full.
func (m *machine) takesSpace(what string) bool {
	for _, verb := range []string{"make ", "link ", "create ", "write ", "size of ", "btrfs ioctl 14", "btrfs ioctl 23", "btrfs ioctl 24"} {
		if strings.HasPrefix(what, verb) {
			return !strings.Contains(what, m.loader) && !strings.HasSuffix(what, "/lock") && (!strings.Contains(what, " /run/beadm") || strings.Contains(what, "/state/")) && !strings.Contains(what, "/stderr")
		}
	}
	return false
}

// TestFullAtEachStep: from some effect on nothing more goes onto the disk. The command
// ends with a documented status and one sentence; what it could not undo recover
// ends, as soon as there is room, and then the command can be given again.
func TestFullAtEachStep(t *testing.T) {
	if !canFailCalls {
		t.Skip("NOT RUN: no call of this processor's is made to fail")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	seen := map[string]bool{}
	for _, c := range cuts() {
		if !slices.Contains(fillable, c.name) {
			continue
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			if c.before != nil {
				c.before(m)
			}
			for i, a := range c.args {
				c.args[i] = strings.Replace(a, "$LOADER", m.loader, 1)
			}
			start := m.shutDown()
			m.powerOn(start)
			var effects []string
			m.traced(&tracer{killAt: func(_ int, what string) bool { effects = append(effects, what); return false }}, c.args...)
			m.kill()
			var places []int
			for i, what := range effects {
				if m.takesSpace(what) {
					places = append(places, i+1)
				}
			}
			if len(places) == 0 {
				t.Fatalf("it writes nothing: %q", effects)
			}
			if os.Getenv("BEADM_LONG") == "" {
				rand.New(rand.NewPCG(seed, 0)).Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
				places = places[:min(2, len(places))]
			}
			for _, n := range places {
				m.powerOn(start)
				if m.fullFrom(n, c); t.Failed() {
					t.Fatalf("%s, seed %d: full from effect %d of %d on, %s", c.name, seed, n, len(effects), effects[n-1])
				}
				m.kill()
			}
		})
	}
	for _, name := range fillable {
		if !seen[name] {
			t.Errorf("no command is called %s", name)
		}
	}
}

// fullFrom has the disk be full from the nth effect on.
func (m *machine) fullFrom(n int, c aCut) {
	t := m.t
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	check(t, err)
	defer out.Close()
	cmd := exec.Command(m.beadm, append([]string{"--root", m.root}, c.args...)...)
	cmd.Env, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, out
	tr := &tracer{failAt: func(at int, what string) bool { return at >= n && m.takesSpace(what) }}
	code, err := tr.run(cmd)
	check(t, err)
	said := read(t, out.Name())
	sentences := 0
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "beadm: ") {
			sentences++
		}
	}
	if !slices.Contains([]int{0, 12, 13}, code) || code != 0 && sentences != 1 || strings.Contains(said, "goroutine ") {
		t.Errorf("it ends with %d and says\n%s", code, said)
	}
	if r := m.run("recover"); r.code != 0 {
		t.Errorf("ended with %d, %s: with room again, %v", code, said, r)
	}
	if st := m.status(); st.Open != "" || st.Owed != "" || st.Trouble != nil {
		t.Errorf("left open: %+v", st)
	}
	m.nothingLeft(c, "full")
	if c.tryAgain == nil || c.tryAgain(m) {
		if r := m.run(c.args...); r.code != 0 && !m.isDone(c, r) {
			t.Errorf("a second try: %v", r)
		}
	}
	c.done(m)
}
