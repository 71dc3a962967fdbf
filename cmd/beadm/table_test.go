//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// The state machine as its users meet it: every command in every state, by
// exit code.
func TestEveryCommandInEveryState(t *testing.T) {
	states := []struct {
		name    string
		word    string
		running string
		reach   func(m *machine)
	}{
		{"idle", "idle", "debian", func(m *machine) {}},
		{"armed", "armed", "debian", func(m *machine) { m.ok("activate", "new") }},
		{"trying", "trying", "new", func(m *machine) { m.ok("activate", "new"); m.comeUp() }},
		{"once armed", "once", "debian", func(m *machine) { m.ok("activate", "-t", "new") }},
		{"once running", "idle", "new", func(m *machine) { m.ok("activate", "-t", "new"); m.comeUp() }},
		{"failed", "failed", "debian", func(m *machine) { m.ok("activate", "new"); m.comeUp(); m.comeUp() }},
		{"visiting", "idle", "third", func(m *machine) { m.switchTo("@be-third"); m.ok("boot") }},
	}
	commands := []struct {
		line string
		code [7]int // in the order of states
	}{
		{"list", [7]int{}},
		{"status", [7]int{}},
		{"history", [7]int{}},
		{"tree", [7]int{}},
		{"diff debian third", [7]int{}},
		{"check", [7]int{5, 5, 5, 5, 5, 5, 5}}, // the disk is small
		{"share status", [7]int{}},
		{"share undo", [7]int{0, 4, 4, 4, 0, 0, 0}},
		{"share commit", [7]int{10, 4, 4, 4, 10, 10, 10}},
		{"share list", [7]int{10, 10, 10, 10, 10, 10, 10}},
		{"sync list", [7]int{}},
		{"sync conflicts", [7]int{}},
		{"recover", [7]int{}},
		{"boot", [7]int{}},
		{"confirm", [7]int{}},
		{"create x", [7]int{}},
		{"snapshot new", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"export -n debian", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"import -n x", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"create debian@s", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"destroy -F new@kept", [7]int{0, 4, 4, 4, 0, 0, 0}},
		{"status --acknowledge", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"destroy -F new", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"destroy -F debian", [7]int{4, 4, 4, 4, 4, 4, 4}},
		{"destroy -F third", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"prune -F --keep 0", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"rollback new@kept", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"rename new other", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"rename debian other", [7]int{4, 4, 4, 4, 4, 4, 4}},
		{"rename third other", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"describe third text", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"mount new", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"mount third", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"mount -s ro third", [7]int{0, 0, 0, 0, 0, 0, 4}},
		{"upgrade new -- /bin/true", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"upgrade third -- /bin/true", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"upgrade x -- /bin/true", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"run new -- /bin/true", [7]int{0, 4, 4, 4, 4, 0, 0}},
		{"activate new", [7]int{0, 0, 4, 0, 4, 0, 0}},
		{"activate debian", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"activate third", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"activate -t third", [7]int{0, 0, 4, 0, 0, 0, 4}},
		{"activate --permanent third", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"activate -T", [7]int{0, 0, 4, 0, 0, 0, 0}},
		{"rollback", [7]int{3, 0, 0, 0, 3, 3, 3}},
		{"sync run --to third", [7]int{0, 0, 4, 0, 0, 0, 2}},
		{"share init", [7]int{0, 4, 4, 4, 0, 0, 0}},
		{"setup --loader stub --loader-dir $LOADER", [7]int{0, 0, 4, 0, 0, 0, 0}},
	}
	for i, s := range states {
		t.Run(s.name, func(t *testing.T) {
			m := newMachine(t)
			if !m.addShell() {
				t.Fatal("this needs /bin/busybox (package busybox-static)")
			}
			m.ok("create", "new")
			m.ok("create", "third")
			m.ok("snapshot", "new@kept")
			m.ok("activate", "third") // it gets a menu entry
			m.ok("activate", "-T")
			s.reach(m)
			m.is(s.word, s.running, "debian")
			start := m.shutDown()
			for _, c := range commands {
				m.powerOn(start)
				line := strings.Fields(strings.Replace(c.line, "$LOADER", m.loader, 1))
				before := m.snapshotWorld()
				r := m.run(line...)
				if r.code != c.code[i] {
					t.Errorf("%s: wanted exit %d: %v", s.name, c.code[i], r)
				}
				if r.code == 0 {
					if err := m.stands(); err != nil {
						t.Errorf("%s, then %s: %v", s.name, c.line, err)
					}
				} else if after := m.snapshotWorld(); after != before {
					t.Errorf("%s: %s was refused and changed\n%s", s.name, c.line, differ(before, after))
				}
				m.run("unmount", line[len(line)-1])
				m.kill()
			}
		})
	}
}

// stands says whether the machine, restarted, comes up in what it says boots
// next.
func (m *machine) stands() error {
	m.t.Helper()
	next := m.status().Next
	m.comeUp()
	if st := m.status(); st.Running != next {
		return fmt.Errorf("%s was to boot next, and it is %+v", next, st)
	}
	return nil
}

// An account that is locked in whatever runs is locked in whatever runs next,
// by every way from the one to the other.
func TestLockedByEveryWay(t *testing.T) {
	arm := func(m *machine) { m.ok("activate", "new") }
	try := func(m *machine) { arm(m); m.comeUp(); m.is("trying", "new", "debian") }
	pick := func(subvol string) func(m *machine) {
		return func(m *machine) { m.switchTo(subvol); m.ok("boot") }
	}
	restart := func(m *machine) { m.comeUp() }
	for _, c := range []struct {
		name  string
		steps []func(m *machine) // alice is locked before the last but one, bob before the last
		word  string
		runs  string
	}{
		{"trial", []func(*machine){arm, restart}, "trying", "new"},
		{"the old one from the menu while armed", []func(*machine){arm, pick("@debian")}, "idle", "debian"},
		{"a third one from the menu while armed", []func(*machine){arm, pick("@be-third")}, "idle", "third"},
		{"a third one from the menu, and back", []func(*machine){arm, pick("@be-third"), restart}, "idle", "debian"},
		{"a third one from the menu while trying", []func(*machine){try, pick("@be-third")}, "failed", "third"},
		{"once, and back", []func(*machine){func(m *machine) { m.ok("activate", "-t", "new") }, restart, restart}, "idle", "debian"},
		{"a third one activated while armed", []func(*machine){arm, func(m *machine) { m.ok("activate", "third") }, restart}, "trying", "third"},
		{"rolled back while trying", []func(*machine){try, func(m *machine) { m.ok("rollback") }, restart}, "failed", "debian"},
		{"failed twice", []func(*machine){try, restart, arm, restart, restart}, "failed", "debian"},
		{"confirmed and rolled back", []func(*machine){try, func(m *machine) { m.ok("confirm"); m.ok("rollback") }, restart}, "idle", "debian"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.ok("create", "new")
			m.ok("create", "third")
			for i, step := range c.steps {
				switch i {
				case len(c.steps) - 2:
					m.setPassword("alice", "!$6$s$alice")
				case len(c.steps) - 1:
					m.setPassword("bob", "!$6$s$bob")
				}
				step(m)
			}
			m.is(c.word, c.runs, "debian")
			m.locked("alice")
			m.locked("bob")
		})
	}
}
