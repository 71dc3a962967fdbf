//go:build linux

package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A snapshot holds what was there, is cloned by its name, and goes when asked;
// what others were cloned from stays.
func TestSnapshots(t *testing.T) {
	m := newMachine(t)
	file := filepath.Join(m.root, "etc/hostname")
	write(t, file, "before\n")
	m.ok("create", "debian@mine")
	write(t, file, "after\n")
	byTime := strings.TrimSpace(m.ok("snapshot", "debian"))
	if !regexp.MustCompile(`^debian@\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d$`).MatchString(byTime) {
		t.Errorf("snapshot prints %q", byTime)
	}
	if again := strings.TrimSpace(m.ok("snapshot", "debian")); again == byTime {
		t.Errorf("two snapshots are %q", again)
	}
	m.ok("create", "-e", "debian@mine", "old")
	m.ok("create", "-e", byTime, "new")
	for be, want := range map[string]string{"old": "before\n", "new": "after\n"} {
		dir := strings.TrimSpace(m.ok("mount", "-s", "ro", be))
		if got := read(t, filepath.Join(dir, "etc/hostname")); got != want {
			t.Errorf("%s holds %q", be, got)
		}
		m.ok("unmount", be)
	}
	m.ok("create", "-e", "debian@mine", "older")
	m.refused(4, "it is what old, older was cloned from", "destroy", "-F", "debian@mine")
	m.ok("destroy", "-F", "old")
	m.ok("destroy", "-F", "older")
	if said := m.ok("destroy", "-n", "debian@mine"); !strings.Contains(said, "would destroy debian@mine") {
		t.Errorf("the dry run says %q", said)
	}
	m.ok("destroy", "-F", "debian@mine")
	m.refused(3, "there is no snapshot debian@mine", "create", "-e", "debian@mine", "x")
}

func TestWrongSnapshots(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("snapshot", "new@mine")
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"snapshot nosuch", 3, "nosuch"},
		{"snapshot new@", 2, "names no snapshot"},
		{"create new@", 2, "snapshot name"},
		{"snapshot new@mine", 4, "new@mine exists already"},
		{"create new@mine", 4, "new@mine exists already"},
		{"snapshot new@a/b", 2, "not valid"},
		{"snapshot new@-a", 2, "not valid"},
		{"snapshot new@a@b", 2, "not valid"},
		{"snapshot new@beadm-x", 2, "by itself"},
		{"snapshot @mine", 2, "empty"},
		{"create -a new@more", 2, "for boot environments"},
		{"create -e debian new@more", 2, "for boot environments"},
		{"create -o readonly=on new@more", 2, "for boot environments"},
		{"destroy -F new@nosuch", 3, "there is no snapshot new@nosuch"},
		{"destroy -F new@", 2, "no name of a snapshot"},
		{"destroy -F nosuch@mine", 3, "nosuch"},
		{"destroy -F ../x@mine", 2, "not valid"},
		{"destroy -F -f new@mine", 2, "never mounted"},
	} {
		m.refused(c.code, c.says, strings.Fields(c.line)...)
	}
}
