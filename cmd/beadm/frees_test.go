//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a destroy gives back is in the list, and said before, by the question
// and at the end: as exactly as it is known.
func TestFrees(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "one")
	dir := strings.TrimSpace(m.ok("mount", "one"))
	if err := os.WriteFile(filepath.Join(dir, "big"), []byte(strings.Repeat("beadm", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	m.ok("unmount", "one")
	m.ok("create", "-e", "one", "two")

	bytes := func(argv ...string) int64 {
		t.Helper()
		var v struct {
			Frees  *int64 `json:"frees_bytes"`
			Result struct {
				Frees *int64 `json:"frees_bytes"`
			} `json:"result"`
		}
		if err := json.Unmarshal([]byte(m.ok(append([]string{"--json"}, argv...)...)), &v); err != nil {
			t.Fatal(err)
		}
		if v.Frees == nil {
			v.Frees = v.Result.Frees
		}
		if v.Frees == nil {
			t.Fatalf("%v does not say what it frees", argv)
		}
		return *v.Frees
	}
	const big = 5 << 20
	if one, two := bytes("destroy", "-n", "one"), bytes("destroy", "-n", "two"); one > big/2 || two > big/2 {
		t.Errorf("what they share would be freed by each: %d and %d", one, two)
	}
	if both := bytes("prune", "--keep", "0", "-n"); both < big || both > big+big/2 {
		t.Errorf("both together would free %d", both)
	}
	if said := m.ok("prune", "--keep", "0", "-n"); !strings.Contains(said, "would free 5.") {
		t.Errorf("prune says %q", said)
	}
	m.ok("snapshot", "two@s1")
	if snap := bytes("destroy", "-n", "two@s1"); snap > big/2 {
		t.Errorf("the snapshot, which shares all, would free %d", snap)
	}
	m.ok("destroy", "-F", "one")
	cmd := exec.Command(m.beadm, "--root", m.root, "destroy", "two")
	cmd.Stdin = strings.NewReader("n\n")
	if r := start(t, cmd); r.code != 5 || !strings.HasPrefix(r.err, "This frees 5.") {
		t.Errorf("the question is %q", r.err)
	}
	for _, line := range strings.Split(m.ok("list", "-H"), "\n") {
		f := strings.Split(line, ";")
		if f[0] == "two" && (len(f[4]) != 7 || f[4][0] != '5') {
			t.Errorf("it is listed as %q", line)
		}
	}
	if r := m.run("destroy", "-F", "two"); r.code != 0 || !strings.HasPrefix(r.err, "two is destroyed: 5.") {
		t.Errorf("the end is %q", r.err)
	}
}
