//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/be/state"
)

// What a program printed, or called a file, neither fills the state nor reaches
// a terminal as it is.
func TestPrintedByOthers(t *testing.T) {
	m := newMachine(t)
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app.d MERGE\n")
	name := "etc/app.d/\x1b]0;owned\x07x"
	write(t, filepath.Join(m.root, name), "1\n")
	m.ok("create", "new")
	write(t, filepath.Join(m.top, "@be-new", name), "2\n")
	m.ok("activate", "new")
	write(t, filepath.Join(m.root, name), "3\n")
	m.comeUp()
	target, err := m.opens()
	check(t, err)
	check(t, target.FailTrial(t.Context(), state.ReasonCheck, "x: evil \x1b[2J "+strings.Repeat("x", 2<<20), nil))
	clean := func(args ...string) string {
		t.Helper()
		r := m.run(args...)
		if r.code != 0 || len(r.out) > 20<<10 || strings.ContainsAny(r.out, "\x1b\x07") {
			t.Errorf("%q: exit %d, %d bytes: %.300q %.300q", args, r.code, len(r.out), r.out, r.err)
		}
		return r.out
	}
	if out := clean("status"); !strings.Contains(out, `CONFLICT: /etc/app.d/\x1b]0;owned\x07x was changed`) {
		t.Error(out)
	}
	m.comeUp()
	clean("status")
	if out := clean("history"); !strings.Contains(out, "evil") {
		t.Error(out)
	}

	// What an earlier one wrote without a measure is skipped.
	files, _ := filepath.Glob(filepath.Join(m.top, "@beadm/*/history.jsonl"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteString("\n{\"what\":\"failed\",\"detail\":\"" + strings.Repeat("x", 3<<20) + "\"}\n{\"what\":\"fai")
	check(t, err)
	check(t, f.Close())
	m.ok("status", "--acknowledge")
	m.ok("create", "later")
	if out := clean("history"); !strings.Contains(out, "evil") || !strings.Contains(out, "later") {
		t.Error(out)
	}
}

// A notify command that goes on in the background has told, once.
func TestNotifyInTheBackground(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	heard := filepath.Join(t.TempDir(), "heard")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	write(t, conf, "notify = (sleep 3; echo told >>"+heard+") &\n") // it holds standard error
	m.ok("activate", "new")
	m.comeUp()
	m.comeUp()
	for range 2 {
		if r := m.run("--config", conf, "trial-notify"); r.code != 0 {
			t.Error(r)
		}
	}
	time.Sleep(4 * time.Second)
	if got := read(t, heard); got != "told\n" {
		t.Errorf("heard was %q", got)
	}
}
