//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sync run between boot environments, of files with names that are no man's:
// a reason for each in JSON, exit 5 with --strict and nothing done, and a
// conflict that can be shown and decided by its name.
func TestSyncRunOfHostileNames(t *testing.T) {
	m := newMachine(t)
	names := []string{"a\nb", "-n", "--take=outgoing", "#x", "\x1b[31mred", "\xff\xfe", `back\slash`, "sp ace"}
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/app MERGE\n")
	for _, name := range names {
		write(t, filepath.Join(m.root, "etc/app/clash", name), "1\n")
	}
	m.ok("create", "new")
	for _, name := range names {
		write(t, filepath.Join(m.top, "@be-new/etc/app/clash", name), "2\n")
		write(t, filepath.Join(m.root, "etc/app/clash", name), "3\n")
		write(t, filepath.Join(m.root, "etc/app/come", name), "3\n")
	}
	printed := func(text string) {
		t.Helper()
		if strings.ContainsAny(text, "\x1b\xff") {
			t.Errorf("printed raw: %q", text)
		}
	}
	r := m.run("sync", "run", "--strict", "--to", "new")
	if printed(r.err); r.code != 5 || !strings.Contains(r.err, "8 files changed on both sides") || !strings.Contains(r.err, "beadm sync resolve") {
		t.Errorf("strict: %v", r)
	}
	if _, err := os.Lstat(filepath.Join(m.top, "@be-new/etc/app/come")); !os.IsNotExist(err) {
		t.Errorf("strict did something: %v", err)
	}
	printed(m.ok("sync", "status", "--to", "new"))
	var out struct {
		Result struct {
			Items []struct{ Path, Action, Reason string }
		}
	}
	text := m.ok("--json", "sync", "run", "--to", "new")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	conflicts := 0
	for _, item := range out.Result.Items {
		if item.Reason == "" {
			t.Errorf("no reason: %+v", item)
		}
		if item.Action == "conflict" {
			conflicts++
		}
	}
	if conflicts != len(names) {
		t.Errorf("%d conflicts: %s", conflicts, text)
	}
	m.refused(5, "8 files changed on both sides", "sync", "run", "--strict", "--to", "new")
	text = m.ok("sync", "conflicts", "--to", "new")
	if printed(text); !strings.Contains(text, "beadm sync resolve --to new --take outgoing|incoming|FILE PATH decides\n") {
		t.Errorf("not said how to go on: %s", text)
	}
	for _, name := range names {
		path := "/etc/app/clash/" + name
		printed(m.ok("sync", "diff", "--to", "new", path))
		printed(m.ok("sync", "resolve", "-n", "--to", "new", "--take", "outgoing", path))
		r := m.run("sync", "resolve", "--to", "new", "--take", "outgoing", path)
		if printed(r.out + r.err); r.code != 0 {
			t.Errorf("%q: %v", name, r)
		}
		if got := read(t, filepath.Join(m.top, "@be-new", path)); got != "3\n" {
			t.Errorf("%q holds %q", name, got)
		}
		r = m.run("sync", "diff", "--to", "new", path)
		if printed(r.err); r.code != 3 {
			t.Errorf("%q: %v", name, r)
		}
	}
	m.says([]string{"nothing is in conflict"}, "sync", "conflicts", "--to", "new")
	printed(m.ok("history"))
}

// What happened to a record is said in words.
func TestSyncRunSaysRecords(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.setPassword("bob", "!$6$s$bob")
	m.says([]string{"merged    /etc/shadow: its records are merged\n          bob locked\n"}, "sync", "run", "--to", "new")
}
