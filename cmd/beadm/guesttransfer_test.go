//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A tarball of a whole Debian becomes a boot environment of several guests at
// once, one starts from it, and what is exported of one is imported by another.
func TestGuestsImport(t *testing.T) {
	h := newGuests(t, "gx", 2)
	one, two := h.names[0], h.names[1]
	h.run("guest", "init", "gx*")
	tar := strings.TrimSpace(sh(t, "sh", "../../testdata/demo/cached.sh"))
	h.run("-g", "gx*", "import", "-f", tar, "fresh")
	for _, name := range h.names {
		got := sh(t, "sh", "-c", "cd "+h.be(name, "fresh")+" && find . -xdev | wc -l")
		if want := sh(t, "sh", "-c", "cd "+filepath.Join(h.dir, ".template")+" && find . -xdev | wc -l"); got != want {
			t.Errorf("%s: %s names, and %s were in the tarball", name, got, want)
		}
	}
	write(t, filepath.Join(h.be(one, "fresh"), "etc/issue"), "imported\n")
	h.up()
	h.run("-g", one, "activate", "--leave-behind", "fresh")
	if got := read(t, filepath.Join(h.root(one), "etc/issue")); got != "imported\n" {
		t.Errorf("it runs with %q", got)
	}

	cmd := exec.Command(h.beadm, "--config", h.conf, "-g", one, "export", "fresh")
	var stream, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stream, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("export: %v: %s", err, errs.String())
	}
	file := filepath.Join(t.TempDir(), "stream")
	check(t, os.WriteFile(file, stream.Bytes(), 0o600))
	in, err := os.Open(file)
	check(t, err)
	defer in.Close()
	cmd = exec.Command(h.beadm, "--config", h.conf, "-g", two, "import", "taken")
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("import: %v: %s", err, out)
	}
	if got := read(t, filepath.Join(h.be(two, "taken"), "etc/issue")); got != "imported\n" {
		t.Errorf("what was taken holds %q", got)
	}
	for _, args := range [][]string{{"-g", "gx*", "export", "fresh"}, {"-g", "gx*", "import", "more"}} {
		out, err := exec.Command(h.beadm, append([]string{"--config", h.conf}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "a stream is of one guest") {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}
