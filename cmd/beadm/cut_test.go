//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
)

// Every command is cut before each of its steps, and behind its last one while
// the journal still stands; then the machine starts again.

// cutter ends the program, as a power cut does, when it says its nth step. It
// keeps what the journal was at the last one.
type cutter struct {
	m       *machine
	n, seen int
	journal []byte
}

type cutHere struct{ step string }

func (c *cutter) Levels() []logrus.Level { return []logrus.Level{logrus.InfoLevel} }

func (c *cutter) Fire(e *logrus.Entry) error {
	c.seen++
	c.journal, _ = os.ReadFile(c.m.journal())
	if c.seen == c.n {
		panic(cutHere{e.Message})
	}
	return nil
}

func (m *machine) journal() string {
	found, err := filepath.Glob(filepath.Join(m.top, "@beadm/*/state.json"))
	if err != nil || len(found) != 1 {
		m.t.Fatalf("%q %v", found, err)
	}
	return filepath.Join(filepath.Dir(found[0]), "journal.json")
}

var oneCut sync.Mutex

// cutAt runs a command in this process and cuts it before its nth step, and
// says where. Where there are only n-1 steps the cut is behind the last.
func (m *machine) cutAt(n int, args ...string) (where string, last bool) {
	m.t.Helper()
	oneCut.Lock() // the program's log is one for the process
	defer oneCut.Unlock()
	c := &cutter{m: m, n: n}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(c)
	defer logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	defer func() {
		switch v := recover().(type) {
		case nil:
		case cutHere:
			where = "before " + v.step
		default:
			panic(v)
		}
	}()
	var out, errs bytes.Buffer
	code := run(append([]string{"beadm", "-v", "--root", m.root}, args...), streams{in: os.Stdin, out: &out, err: &errs})
	if code != 0 {
		m.t.Fatalf("%q: exit %d: %s", args, code, errs.String())
	}
	if c.seen == 0 {
		m.t.Fatalf("%q says no step", args)
	}
	check(m.t, os.WriteFile(m.journal(), c.journal, 0o600))
	return "behind the last step", true
}

func TestCutAtEveryStep(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	leftovers := func() []string {
		t.Helper()
		left, err := filepath.Glob(filepath.Join(m.top, "@beadm-snapshots/*/beadm-[^f]*"))
		check(t, err)
		partial, err := filepath.Glob(filepath.Join(m.top, "@beadm-partial*"))
		check(t, err)
		return append(left, partial...)
	}
	origin := len(leftovers()) // the snapshot that new was cloned from
	quiet := func(where string) {
		t.Helper()
		if r := m.run("recover"); r.code != 0 {
			t.Fatalf("%s: %v", where, r)
		}
		if st := m.status(); st.Open != "" || st.Owed != "" || st.Trouble != nil {
			t.Errorf("%s: left open: %+v", where, st)
		}
		if left := leftovers(); len(left) != origin {
			t.Errorf("%s: left over: %q", where, left)
		}
	}
	// home is debian, idle and the default.
	home := func(where string) {
		t.Helper()
		if st := m.status(); st.State == "trying" {
			m.comeUp()
		}
		if m.status().State == "failed" {
			m.ok("status", "--acknowledge")
		}
		if m.status().Default != "debian" {
			m.ok("activate", "--permanent", "debian")
		}
		m.comeUp()
		m.is("idle", "debian", "debian")
		quiet(where)
	}
	for _, c := range []struct {
		name   string
		before func()
		args   []string
		after  func(where string)
	}{
		{
			name: "create",
			args: []string{"create", "made"},
			after: func(where string) {
				quiet(where)
				m.is("idle", "debian", "debian")
				if strings.Contains(m.ok("list"), "made") {
					m.ok("destroy", "-F", "made")
				}
				m.ok("create", "made")
				m.ok("destroy", "-F", "made")
			},
		},
		{
			name:   "destroy",
			before: func() { m.ok("create", "made") },
			args:   []string{"destroy", "-F", "made"},
			after: func(where string) {
				m.ok("recover")
				m.is("idle", "debian", "debian")
				if strings.Contains(m.ok("list"), "made") {
					m.ok("destroy", "-F", "made")
				}
				quiet(where)
			},
		},
		{
			name: "activate",
			args: []string{"activate", "new"},
			after: func(where string) {
				st := m.status()
				switch st.State {
				case "idle":
					m.is("idle", "debian", "debian")
				case "trying":
					m.is("trying", "new", "debian")
					// A command of the trial ends the activation's journal,
					// and does not arm a second one.
					m.ok("create", "made")
					m.is("trying", "new", "debian")
					m.comeUp()
					m.is("failed", "debian", "debian")
					m.ok("destroy", "-F", "made")
				default:
					t.Errorf("%s: %+v", where, st)
				}
				home(where)
				m.ok("activate", "new")
				m.ok("activate", "-T")
			},
		},
		{
			name: "activate --permanent",
			args: []string{"activate", "--permanent", "new"},
			after: func(where string) {
				st := m.status()
				if st.State != "idle" || st.Running != st.Default {
					t.Errorf("%s: %+v", where, st)
				}
				m.is("idle", st.Running, st.Running)
				home(where)
			},
		},
		{
			name:   "confirm",
			before: func() { m.ok("activate", "new"); m.comeUp(); m.is("trying", "new", "debian") },
			args:   []string{"confirm"},
			after: func(where string) {
				if st := m.status(); st.Running == "new" {
					m.is("idle", "new", "new")
					if st.Failure != nil {
						t.Errorf("%s: confirmed, and failed: %+v", where, st.Failure)
					}
				} else {
					m.is("failed", "debian", "debian")
				}
				home(where)
			},
		},
		{
			name:   "rollback",
			before: func() { m.ok("activate", "--permanent", "new"); m.comeUp(); m.is("idle", "new", "new") },
			args:   []string{"rollback"},
			after: func(where string) {
				st := m.status()
				m.is("idle", st.Running, st.Running)
				home(where)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.t = t
			for n, last := 1, false; !last; n++ {
				if c.before != nil {
					c.before()
				}
				var where string
				where, last = m.cutAt(n, c.args...)
				m.comeUp()
				c.after(where)
				if t.Failed() {
					t.Fatalf("%s, cut %s", c.name, where)
				}
				t.Logf("cut %s", where)
			}
		})
	}
}
