//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestHistoryOfOne(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "other")
	m.ok("destroy", "-F", "new")
	m.refused(2, "--last", "history", "--last", "0")
	lines := func(args ...string) []string {
		return strings.Split(strings.TrimSpace(m.ok(append([]string{"history"}, args...)...)), "\n")
	}
	if got := lines("new"); len(got) != 2 || !strings.Contains(got[0], "create") || !strings.Contains(got[1], "destroy") {
		t.Errorf("of new: %q", got)
	}
	if got := lines("--last", "1"); len(got) != 1 || !strings.Contains(got[0], "destroy") {
		t.Errorf("the last: %q", got)
	}
}
