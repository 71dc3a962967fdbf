//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every command that changes something is killed before each of its effects,
// which is behind the one before. Then either the machine loses its power: it
// starts again from what the disk held at that moment, with nothing flushed
// for the purpose; or only the command is gone, and the next one finds what it
// left.

// aCut is one command.
type aCut struct {
	name     string
	bare     bool                  // beadm is not set up yet
	shares   bool                  // it runs with the shared data mounted
	before   func(m *machine)      // what the command finds
	args     []string              // $LOADER is the stub's directory
	done     func(m *machine)      // what holds at the end
	tryAgain func(m *machine) bool // whether the command can be given again; nil: always
	states   []string              // that may be found after a power cut; none: idle
}

func cuts() []aCut {
	armed := func(m *machine) { m.ok("create", "new"); m.ok("activate", "new") }
	onTrial := func(m *machine) { armed(m); m.comeUp(); m.is("trying", "new", "debian") }
	// home: the power cut, if there was one, has not led into new.
	home := func(m *machine) bool { return m.status().Running == "debian" }
	has := func(want ...string) func(m *machine) {
		return func(m *machine) {
			m.t.Helper()
			out := m.ok("list", "-H", "--dialect", "bectl")
			var got []string
			for line := range strings.Lines(out) {
				got = append(got, strings.Fields(line)[0])
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				m.t.Errorf("there are %q, not %q", got, want)
			}
		}
	}
	idle := func(running, def string) func(m *machine) {
		return func(m *machine) { m.t.Helper(); m.is("idle", running, def) }
	}
	return []aCut{
		{name: "setup", bare: true, args: []string{"setup", "--loader", "stub", "--loader-dir", "$LOADER"}, done: idle("debian", "debian")},
		{
			name: "setup --move-boot", bare: true, before: func(m *machine) { m.addBoot() },
			args: []string{"setup", "--move-boot", "--loader", "stub", "--loader-dir", "$LOADER"},
			done: func(m *machine) { m.bootMoved(); m.is("idle", "debian", "debian") },
		},
		{name: "create", args: []string{"create", "made"}, done: has("debian", "made")},
		{
			name: "import",
			before: func(m *machine) {
				bash(m.t, m.root, "tar -cf "+filepath.Join(m.loader, "system.tar")+" etc sbin usr/lib/os")
			},
			args: []string{"import", "-f", "$LOADER/system.tar", "made"},
			done: func(m *machine) {
				m.t.Helper()
				has("debian", "made")(m)
				dir := strings.TrimSpace(m.ok("mount", "-s", "ro", "made"))
				if got, want := read(m.t, filepath.Join(dir, "etc/passwd")), read(m.t, filepath.Join(m.root, "etc/passwd")); got != want {
					m.t.Errorf("what was imported has %q in etc/passwd", got)
				}
				m.ok("unmount", "made")
			},
		},
		{name: "destroy", before: func(m *machine) { m.ok("create", "made") }, args: []string{"destroy", "-F", "made"}, done: has("debian")},
		{
			name:   "rename",
			before: func(m *machine) { armed(m); m.ok("activate", "-T") }, // it has a menu entry
			args:   []string{"rename", "new", "other"},
			done: func(m *machine) {
				has("debian", "other")(m)
				m.ok("activate", "other")
				m.comeUp()
				m.is("trying", "other", "debian")
			},
		},
		{
			name: "rollback to a snapshot",
			before: func(m *machine) {
				armed(m)
				m.ok("activate", "-T")
				m.ok("snapshot", "new@good")
				dir := strings.TrimSpace(m.ok("mount", "new"))
				write(m.t, filepath.Join(dir, "usr/bad"), "bad\n")
				m.ok("unmount", "new")
			},
			args: []string{"rollback", "new@good"},
			done: func(m *machine) {
				m.t.Helper()
				bad := 0
				for line := range strings.Lines(m.ok("list", "-H", "--dialect", "bectl")) {
					name := strings.Fields(line)[0]
					if name == "debian" {
						continue
					}
					dir := strings.TrimSpace(m.ok("mount", "-s", "ro", name))
					if _, err := os.Stat(filepath.Join(dir, "usr/bad")); err == nil {
						bad++
					} else if name != "new" {
						m.t.Errorf("%s holds what the snapshot does", name)
					}
					m.ok("unmount", name)
				}
				if bad != 1 {
					m.t.Errorf("what was replaced is there %d times", bad)
				}
				m.ok("activate", "new")
				m.comeUp()
				m.is("trying", "new", "debian")
			},
		},
		{name: "describe", before: func(m *machine) { m.ok("create", "new") }, args: []string{"describe", "new", "text"}, done: has("debian", "new")},
		{
			name: "activate", before: func(m *machine) { m.ok("create", "new"); m.setPassword("alice", "!$6$s$alice") },
			args: []string{"activate", "new"}, states: []string{"trying"}, tryAgain: home,
			done: func(m *machine) {
				if home(m) {
					m.comeUp()
				}
				m.is("trying", "new", "debian")
				m.locked("alice")
			},
		},
		{
			name: "activate -t", before: func(m *machine) { m.ok("create", "new") },
			args: []string{"activate", "-t", "new"}, tryAgain: home,
			done: func(m *machine) {
				if home(m) {
					m.comeUp()
				}
				m.is("idle", "new", "debian")
			},
		},
		{
			name: "activate -T", before: armed, args: []string{"activate", "-T"}, states: []string{"trying"},
			tryAgain: home,
			done: func(m *machine) {
				if home(m) {
					m.is("idle", "debian", "debian")
				}
			},
		},
		{
			name: "activate --permanent", before: func(m *machine) { m.ok("create", "new") },
			args: []string{"activate", "--permanent", "new"},
			done: func(m *machine) { m.comeUp(); m.is("idle", "new", "new") },
		},
		{
			// The commit looks done before it is.
			name: "activate --permanent again", before: func(m *machine) { m.ok("create", "new"); m.ok("activate", "--permanent", "new") },
			args: []string{"activate", "--permanent", "new"},
			done: func(m *machine) { m.comeUp(); m.is("idle", "new", "new") },
		},
		{
			name: "boot of a trial", before: func(m *machine) { armed(m); m.setPassword("bob", "!$6$s$bob"); m.loads() },
			args: []string{"boot"}, states: []string{"failed"},
			done: func(m *machine) { m.locked("bob") },
		},
		{
			name: "boot after a failed trial", before: func(m *machine) { onTrial(m); m.setPassword("alice", "!$6$s$alice"); m.loads() },
			args: []string{"boot"}, states: []string{"failed"},
			done: func(m *machine) { m.locked("alice") },
		},
		{
			name: "boot after a rollback",
			before: func(m *machine) {
				onTrial(m)
				m.ok("confirm")
				m.setPassword("dave", "$6$t$second")
				m.ok("rollback")
				m.loads()
			},
			args: []string{"boot"},
			done: func(m *machine) {
				m.is("idle", "debian", "debian")
				if p := m.password("dave"); p != "$6$t$second" {
					m.t.Errorf("dave's password is lost: %q", p)
				}
			},
		},
		{
			name: "boot after a rollback with --share",
			before: func(m *machine) {
				write(m.t, filepath.Join(m.root, "var/mail/alice"), letter("old"))
				m.ok("share", "init")
				onTrial(m)
				m.ok("confirm")
				write(m.t, filepath.Join(m.root, "var/mail/alice"), letter("new"))
				m.ok("rollback", "--share=/var/mail")
				m.loads()
			},
			args: []string{"boot"},
			done: func(m *machine) {
				m.is("idle", "debian", "debian")
				m.mailIs("alice", letter("old")+letter("new"))
			},
		},
		{name: "confirm", before: onTrial, args: []string{"confirm"}, states: []string{"idle", "failed"}, done: func(m *machine) {}},
		{
			name: "rollback", before: func(m *machine) { onTrial(m); m.ok("confirm") }, args: []string{"rollback"},
			tryAgain: func(m *machine) bool { return m.status().Default == "new" },
			done:     func(m *machine) { m.comeUp(); m.is("idle", "debian", "debian") },
		},
		{
			name: "share init", args: []string{"share", "init"},
			done: func(m *machine) {
				m.mailIs("alice", "first mail\n")
				if to, err := os.Readlink(filepath.Join(m.root, "var/mail")); err != nil || to != "share/mail" {
					m.t.Errorf("/var/mail: %q %v", to, err)
				}
			},
		},
		{
			name: "share add of deep ones", args: []string{"share", "add", "--outside-var", "/var/lib/list/data", "/srv/www"},
			before: func(m *machine) {
				write(m.t, filepath.Join(m.root, "var/lib/list/data/one"), "one\n")
				write(m.t, filepath.Join(m.root, "srv/www/page"), "page\n")
				check(m.t, os.Symlink("../../var/lib/list/data/one", filepath.Join(m.root, "srv/www/one")))
			},
			done: func(m *machine) {
				for file, want := range map[string]string{"var/lib/list/data/one": "one\n", "srv/www/page": "page\n", "srv/www/one": "one\n"} {
					if got, err := os.ReadFile(filepath.Join(m.root, file)); err != nil || string(got) != want {
						m.t.Errorf("/%s: %q %v", file, got, err)
					}
				}
				if !m.linked("var/lib/list/data") || !m.linked("srv/www") {
					m.t.Error("they are not shared")
				}
			},
		},
		{
			name: "share undo of deep ones", shares: true, args: []string{"share", "undo"},
			before: func(m *machine) {
				write(m.t, filepath.Join(m.root, "var/lib/list/data/one"), "one\n")
				m.ok("create", "new")
				m.ok("share", "add", "/var/lib/list/data")
				m.ok("activate", "new")
				m.ok("activate", "-T")
			},
			done: func(m *machine) {
				if m.linked("var/lib/list/data") {
					m.t.Error("it is still shared")
				}
				for _, at := range []string{m.root, filepath.Join(m.top, "@be-new")} {
					if got, err := os.ReadFile(filepath.Join(at, "var/lib/list/data/one")); err != nil || string(got) != "one\n" {
						m.t.Errorf("%s: %q %v", at, got, err)
					}
				}
			},
		},
		{
			name: "share undo", shares: true, args: []string{"share", "undo"},
			before: func(m *machine) {
				m.ok("create", "new")
				m.ok("share", "init")
				m.ok("activate", "new")
				m.ok("activate", "-T")
			},
			done: func(m *machine) {
				m.mailIs("alice", "first mail\n")
				if m.linked("var/mail") {
					m.t.Error("/var/mail is still shared")
				}
				if got, err := os.ReadFile(filepath.Join(m.top, "@be-new/var/mail/alice")); err != nil || string(got) != "first mail\n" {
					m.t.Errorf("alice's mail in new: %q %v", got, err)
				}
			},
		},
		{
			name: "share commit", shares: true, before: func(m *machine) { m.ok("share", "init"); m.ok("create", "new") }, args: []string{"share", "commit"},
			done: func(m *machine) {
				m.mailIs("alice", "first mail\n")
				for _, at := range []string{m.root, filepath.Join(m.top, "@be-new")} {
					if _, err := os.Lstat(filepath.Join(at, "var/.beadm-old")); !os.IsNotExist(err) {
						m.t.Errorf("%s keeps what was before: %v", at, err)
					}
				}
			},
		},
		{
			name: "share restore", shares: true, args: []string{"share", "restore", "then", "/var/mail"},
			before: func(m *machine) {
				write(m.t, filepath.Join(m.root, "var/mail/alice"), letter("1")+letter("2"))
				m.ok("share", "init")
				m.ok("share", "snapshot", "then")
				write(m.t, filepath.Join(m.root, "var/mail/alice"), letter("3"))
			},
			done: func(m *machine) { m.mailIs("alice", letter("1")+letter("2")+letter("3")) },
		},
		{
			name: "sync run", before: func(m *machine) { m.ok("create", "new"); m.setPassword("alice", "!$6$s$alice") },
			args: []string{"sync", "run", "--to", "new"},
			done: func(m *machine) {
				if shadow := read(m.t, filepath.Join(m.top, "@be-new/etc/shadow")); !strings.Contains(shadow, "alice:!") {
					m.t.Errorf("alice is not locked in new: %s", shadow)
				}
			},
		},
		{
			// So many that they are made durable all at once.
			name: "sync run of many", before: func(m *machine) {
				write(m.t, filepath.Join(m.root, "etc/beadm/synclist"), "/etc/many\n")
				m.ok("create", "new")
				for i := range 20 {
					write(m.t, filepath.Join(m.root, "etc/many", fmt.Sprint(i)), fmt.Sprint("setting ", i, "\n"))
				}
			},
			args: []string{"sync", "run", "--to", "new"},
			done: func(m *machine) {
				for i := range 20 {
					if got, err := os.ReadFile(filepath.Join(m.top, "@be-new/etc/many", fmt.Sprint(i))); string(got) != fmt.Sprint("setting ", i, "\n") {
						m.t.Errorf("file %d came as %q (%v)", i, got, err)
					}
				}
				m.ok("sync", "run", "--to", "new") // its records can be read
			},
		},
		{
			name: "sync resolve", before: func(m *machine) { inConflict(m); m.ok("activate", "-T") }, args: []string{"sync", "resolve", "--to", "new", "--take", "outgoing", "/etc/app.conf"},
			tryAgain: func(m *machine) bool { return strings.Contains(m.ok("sync", "conflicts", "--to", "new"), "app.conf") },
			done: func(m *machine) {
				if got := read(m.t, filepath.Join(m.top, "@be-new/etc/app.conf")); got != "3\ncommon\n" {
					m.t.Errorf("app.conf: %q", got)
				}
			},
		},
		{
			name: "upgrade", before: func(m *machine) { m.addShell(); m.ok("create", "new") },
			args: []string{"upgrade", "new", "--", "/bin/sh", "-c", "echo 2 >/usr/lib/os"},
			done: func(m *machine) { m.ok("activate", "new") },
		},
		{
			name: "status --acknowledge", before: func(m *machine) { onTrial(m); m.comeUp(); m.is("failed", "debian", "debian") },
			args: []string{"status", "--acknowledge"}, states: []string{"idle", "failed"},
			done: idle("debian", "debian"),
		},
		{
			name: "recover of another default",
			before: func(m *machine) {
				m.ok("create", "new")
				m.ok("activate", "--permanent", "new")
				m.anotherTool("debian")
			},
			args: []string{"recover"},
			done: func(m *machine) { m.comeUp(); m.is("idle", "new", "new") },
		},
		{name: "mount", before: func(m *machine) { m.ok("create", "new") }, args: []string{"mount", "new"}, done: func(m *machine) { m.ok("unmount", "new"); has("debian", "new")(m) }},
	}
}

func TestCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, c := range cuts() {
		t.Run(c.name, func(t *testing.T) {
			m := newBareMachine(t)
			if !c.bare {
				m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
			}
			if c.before != nil {
				c.before(m)
			}
			for i, a := range c.args {
				c.args[i] = strings.Replace(a, "$LOADER", m.loader, 1)
			}
			start := m.shutDown()
			begin := func() {
				m.powerOn(start)
				if c.shares {
					m.ok("boot")
				}
			}
			// Once to its end, to know what effects there are.
			var effects []string
			begin()
			m.traced(&tracer{killAt: func(_ int, what string) bool { effects = append(effects, what); return false }}, c.args...)
			m.kill()
			if len(effects) < 3 {
				t.Fatalf("only these effects were seen: %q", effects)
			}
			which := c.choose(effects, rand.New(rand.NewPCG(seed, 0)))
			for _, cut := range which {
				begin()
				if m.cutAt(cut.n, cut.power, c); t.Failed() {
					t.Fatalf("%s, seed %d: cut %d of %d", c.name, seed, cut.n, len(effects))
				}
				m.kill()
			}
			t.Logf("%d effects, %d cuts", len(effects), len(which))
		})
	}
}

type place struct {
	n     int // of the effect that is not done any more
	power bool
}

// choose says where to cut: at every step of the journal, and at a few other
// places; with BEADM_LONG everywhere.
func (c aCut) choose(effects []string, rnd *rand.Rand) (places []place) {
	all := os.Getenv("BEADM_LONG") != ""
	killed := c.args[0] != "boot" // who would kill that?
	for i := range effects {
		step := i > 0 && strings.HasSuffix(effects[i-1], "/journal.json") && strings.HasPrefix(effects[i-1], "rename ")
		if killed && (all || step) {
			places = append(places, place{i + 1, false})
		}
		if all {
			places = append(places, place{i + 1, true})
		}
	}
	if !all {
		for i, n := range rnd.Perm(len(effects))[:min(5, len(effects))] {
			places = append(places, place{n + 1, !killed || i%4 != 0})
		}
	}
	return places
}

// cutAt kills the command before its nth effect and goes on from there.
func (m *machine) cutAt(n int, power bool, c aCut) {
	t := m.t
	t.Helper()
	tr := &tracer{killAt: func(at int, _ string) bool { return at == n }}
	code := m.traced(tr, c.args...)
	where := "killed before: " + tr.killed
	if code == 0 && tr.killed != "" {
		t.Fatalf("it ended well, although it was %s", where)
	}
	if power {
		where = "power cut before: " + tr.killed
	}
	if code == 0 {
		where = "at the end" // there is one effect less now and then
	}
	defer func() {
		if t.Failed() {
			t.Log(where)
		}
	}()
	if power {
		disk := m.copyDisk()
		m.kill()
		m.powerOn(disk)
		os.RemoveAll(filepath.Dir(disk.image))
		if c.bare {
			m.ok("boot") // the loader is still the one from before
		} else {
			m.comeUp()
		}
	}
	if !c.bare {
		if r := m.run("recover"); r.code != 0 {
			t.Fatalf("%s: %v", where, r)
		}
		st := m.status()
		if power && !slices.Contains(append(c.states, "idle"), st.State) && !(st.State == "trying") {
			t.Errorf("%s: %+v", where, st)
		}
		if st.Open != "" || st.Owed != "" || st.Trouble != nil {
			t.Errorf("%s: left open: %+v", where, st)
		}
		m.nothingLeft(c, where)
	}
	if c.tryAgain == nil || c.tryAgain(m) {
		if r := m.run(c.args...); r.code != 0 && !m.isDone(c, r) {
			t.Errorf("%s: a second try: %v", where, r)
		}
	}
	c.done(m)
	m.nothingLeft(c, where+", and tried again")
}

// isDone says of a second try that was refused whether that is because the
// first one had come to its end.
func (m *machine) isDone(c aCut, r result) bool {
	switch c.name {
	case "create", "import":
		return strings.Contains(r.err, "made exists already")
	case "destroy":
		return strings.Contains(r.err, "there is no boot environment made")
	case "mount":
		return strings.Contains(r.err, "already")
	case "rollback to a snapshot":
		return strings.Contains(r.err, "there is no snapshot new@good")
	case "rename":
		return strings.Contains(r.err, "there is no boot environment new")
	}
	return false
}

// nothingLeft looks for what no command may leave.
func (m *machine) nothingLeft(c aCut, where string) {
	m.t.Helper()
	for _, at := range m.mounts() {
		if strings.HasPrefix(at, "/run/beadm/") && !strings.Contains(at, "/be/") {
			m.t.Errorf("%s: still mounted: %s", where, at)
		}
	}
	err := filepath.WalkDir(m.top, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(m.top, path)
		name := d.Name()
		dir := filepath.Dir(rel)
		if c.args[0] == "boot" && strings.HasPrefix(rel, "@be-new/") {
			return err // of a trial that failed; the next reconcile into it tidies up
		}
		temporary := strings.HasPrefix(name, "@beadm-partial") || strings.HasPrefix(dir, "@beadm-snapshots") && (strings.HasPrefix(name, "beadm-activate-") || strings.HasPrefix(name, "beadm-sync-") || strings.HasPrefix(name, "beadm-undo-")) ||
			strings.HasPrefix(dir, "@beadm/") && (strings.HasPrefix(name, ".") || name == "journal.json" || name == "share.json") || strings.Contains(name, ".beadm-") && name != ".beadm-staged" && name != ".beadm-old" && name != ".beadm-layout" && name != ".beadm-back" && !strings.HasPrefix(name, ".beadm-kept-")
		if temporary && !(strings.HasPrefix(c.name, "share undo") && rel == "@varshare/.beadm-undone") {
			m.t.Errorf("%s: left over: %s", where, rel)
		}
		return err
	})
	check(m.t, err)
	found, err := filepath.Glob(filepath.Join(m.loader, "*.new"))
	check(m.t, err)
	more, err := filepath.Glob(filepath.Join(m.loader, "*/*.new"))
	check(m.t, err)
	if found = append(found, more...); len(found) > 0 {
		m.t.Errorf("%s: left over: %q", where, found)
	}
}

func (m *machine) traced(tr *tracer, args ...string) int {
	m.t.Helper()
	cmd := exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	code, err := tr.run(cmd)
	check(m.t, err)
	return code
}
