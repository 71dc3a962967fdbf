//go:build linux

package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestIncompleteInLists: people see what is incomplete; who splits fields would
// take it for a whole one, and finds it in no dialect and no form.
func TestIncompleteInLists(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "whole")
	sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@beadm-partial-half"))
	m.says([]string{"half", "!"}, "list")
	m.says([]string{`"name": "half"`, `"incomplete": true`}, "--json", "list")
	for dialect, split := range map[string]string{"illumos": ";", "bectl": "\t"} {
		for _, more := range [][]string{{}, {"-d"}, {"-s"}, {"-a"}} {
			out := m.ok(append([]string{"list", "-H", "--dialect", dialect}, more...)...)
			if strings.Contains(out, "half") || !strings.Contains(out, "whole") && !slices.Contains(more, "-s") {
				t.Errorf("list -H %q of %s says\n%s", more, dialect, out)
			}
			if len(more) == 0 {
				for line := range strings.Lines(out) {
					if n := len(strings.Split(strings.TrimSuffix(line, "\n"), split)); n != map[string]int{";": 7, "\t": 5}[split] {
						t.Errorf("%q has %d fields", line, n)
					}
				}
			}
		}
		m.refused(4, "boot environment half is incomplete: run beadm recover, or beadm destroy half", "list", "-H", "--dialect", dialect, "half")
	}
	if r := m.bectl("list", "-H"); r.code != 0 || strings.Contains(r.out, "half") || !strings.Contains(r.out, "whole") {
		t.Error(r)
	}
	// It is in the way of its own name, and destroy ends that.
	m.refused(4, "half exists already, and is incomplete: beadm recover or beadm destroy ends that", "create", "half")
	m.ok("destroy", "-F", "half")
	m.ok("create", "half")
	if out := m.ok("list", "-H"); !strings.Contains(out, "half") {
		t.Errorf("whole, it is not listed:\n%s", out)
	}
}
