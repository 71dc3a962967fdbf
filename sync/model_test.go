package reconcile

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"beadm/be"
	"beadm/sync/account"
	"beadm/sync/manifest"
)

// cell is what changes by itself: a file's content, its owner, a line of it, a
// user's shell. Every change puts a word there that is nowhere else.
type cell struct{ file, part string }

const absent = "absent"

// key is a word as the sets of the model hold it: absence is no word.
func key(c cell, word string) string {
	if word == absent {
		return absent + " " + c.file + " " + c.part
	}
	return word
}

// model says what every boot environment must hold. Only one runs at a time,
// so the administrator's changes have an order: of each cell the last counts.
type model struct {
	*world
	rt      *rapid.T
	bes     []string
	running string
	before  string // ran before running
	trial   bool
	n       int // words given
	log     []string

	last    map[cell]string            // the administrator's last word
	start   map[cell]string            // last when this run began
	packed  map[string]bool            // words of packages, and of failed trials
	own     map[string]map[string]bool // by boot environment: of those, the ones it may hold
	had     map[string]map[string]bool // by boot environment: words of the administrator that it once held, or that were decided there
	gone    map[cell]bool              // removed by the administrator at some time
	began   map[cell]string            // what is in the one that runs since its run began
	nothing map[cell]bool              // done and taken back in one run, or never done
	locked  map[string]bool            // users that were locked while something ran
}

var modelCells = []cell{
	{"etc/over/a", "content"}, {"etc/over/a", "owner"}, {"etc/over/b", "content"},
	{"etc/tree/a", "content"}, {"etc/tree/a", "owner"}, {"etc/tree/deep/b", "content"},
	{"etc/tree/lines", "1"}, {"etc/tree/lines", "2"}, {"etc/tree/lines", "3"}, {"etc/tree/lines", "owner"},
	{"etc/passwd", "alice"}, {"etc/passwd", "bob"}, {"etc/passwd", "dave"},
}

func (m *model) word() string {
	m.n++
	return fmt.Sprintf("word%d.", 100+m.n)
}

func (m *model) say(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// value reads a cell.
func (m *model) value(name string, c cell) string {
	var st unix.Stat_t
	err := unix.Lstat(m.path(name, c.file), &st)
	if err == unix.ENOENT {
		return absent
	}
	m.ok(err)
	if c.part == "owner" {
		return "owner" + strconv.Itoa(int(st.Uid))
	}
	return inText(m.read(name, c.file), c)
}

// inText is the cell in a version of its file.
func inText(text string, c cell) string {
	if c.part == "content" {
		return strings.TrimSpace(text)
	}
	for _, line := range strings.Split(text, "\n") {
		if c.file == "etc/passwd" {
			if f := strings.Split(line, ":"); f[0] == c.part {
				return strings.TrimPrefix(f[6], "/bin/")
			}
		} else if rest, ok := strings.CutPrefix(line, c.part+"="); ok {
			return rest
		}
	}
	return absent
}

// put changes a cell and returns its new word.
func (m *model) put(name string, c cell) string {
	path := m.path(name, c.file)
	old, word := m.value(name, c), m.word()
	switch {
	case c.file == "etc/passwd" && old == absent:
		return ""
	case c.file == "etc/passwd":
		text := m.read(name, c.file)
		var out []string
		for _, line := range strings.Split(text, "\n") {
			if f := strings.Split(line, ":"); f[0] == c.part {
				f[6] = "/bin/" + word
				line = strings.Join(f, ":")
			}
			out = append(out, line)
		}
		m.rewrite(name, c.file, strings.Join(out, "\n"))
	case c.part == "owner":
		if old == absent {
			return ""
		}
		m.ok(os.Lchown(path, 10000+m.n, 0))
		word = "owner" + strconv.Itoa(10000+m.n)
	case c.part == "content":
		m.rewrite(name, c.file, word+"\n")
	default:
		if old == absent {
			return ""
		}
		m.rewrite(name, c.file, strings.Replace(m.read(name, c.file), c.part+"="+old+"\n", c.part+"="+word+"\n", 1))
	}
	return word
}

// rewrite keeps the owner of what is there.
func (m *model) rewrite(name, file, text string) {
	m.ok(os.MkdirAll(filepath.Dir(m.path(name, file)), 0o755))
	f, err := os.OpenFile(m.path(name, file), os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o644)
	m.ok(err)
	_, err = f.WriteString(text)
	m.ok(err)
	m.ok(f.Close())
}

// decided follows what a file holds after the administrator touched it.
func (m *model) decided(name, file string, take Take) {
	for _, c := range modelCells {
		if c.file != file {
			continue
		}
		m.had[name][key(c, m.last[c])] = true
		m.had[name][key(c, m.start[c])] = true // what stays, if this run fails
		v := m.value(name, c)
		switch {
		case name != m.running || take == TakeIncoming: // it stays this one's
			m.own[name][key(c, v)], m.had[name][key(c, v)] = true, true
		case v != m.last[c]:
			delete(m.packed, v) // taken over by the administrator
			m.last[c] = v
		}
		if v == absent {
			m.gone[c] = true
			m.own[name][key(c, absent)] = true
		}
	}
}

func (m *model) names(t *rapid.T, label string, which func(string) bool) string {
	var list []string
	for _, name := range m.bes {
		if which(name) {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return rapid.SampledFrom(list).Draw(t, label)
}

// edit is the administrator's, in what runs.
func (m *model) edit(t *rapid.T) {
	c := rapid.SampledFrom(modelCells).Draw(t, "cell")
	if c.file == "etc/tree/a" && c.part == "content" && rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
		if os.Remove(m.path(m.running, c.file)) == nil {
			m.say("%s: removes %s", m.running, c.file)
			for _, c := range []cell{c, {c.file, "owner"}} {
				m.last[c], m.gone[c] = absent, true
				// What a run does and takes back is no change of it.
				m.nothing[c] = m.began[c] == absent
				m.had[m.running][key(c, absent)] = true
			}
		}
		return
	}
	if c.part == "owner" && c.file == "etc/tree/a" && m.last[cell{c.file, "content"}] == absent {
		return // removed elsewhere: whose owner would it be
	}
	made, again := m.value(m.running, c) == absent, m.last[c] == absent
	if word := m.put(m.running, c); word != "" {
		m.say("%s: %s of %s is %s", m.running, c.part, c.file, word)
		m.last[c], m.nothing[c] = word, false
		m.had[m.running][word] = true
		if made || again { // anew, and so its owner is the administrator's
			o := cell{c.file, "owner"}
			// Where it was removed elsewhere and is here still, or again, its
			// owner is what it is here, and nobody changed it.
			m.last[o], m.nothing[o] = m.value(m.running, o), !made
			delete(m.packed, m.last[o])
		}
	}
}

// pack is a package's change, in what does not run.
func (m *model) pack(t *rapid.T) {
	name := m.names(t, "where", func(n string) bool { return n != m.running })
	if name == "" {
		return
	}
	c := rapid.SampledFrom(modelCells).Draw(t, "cell")
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0: // a system user
		word := m.word()
		m.rewrite(name, "etc/passwd", m.read(name, "etc/passwd")+fmt.Sprintf("sys%d:x:%d:1::/:/bin/%s\n", m.n, 2000+m.n, word))
		m.rewrite(name, "etc/shadow", m.read(name, "etc/shadow")+fmt.Sprintf("sys%d:!:19000::::::\n", m.n))
		m.packed[word], m.own[name][word] = true, true
		m.say("%s: a package adds sys%d", name, m.n)
		return
	case 1:
		if c.file == "etc/tree/a" && os.Remove(m.path(name, c.file)) == nil {
			m.say("%s: a package removes %s", name, c.file)
			m.own[name][key(cell{c.file, "content"}, absent)], m.own[name][key(cell{c.file, "owner"}, absent)] = true, true
			return
		}
	}
	made := m.value(name, c) == absent
	if word := m.put(name, c); word != "" {
		m.say("%s: a package's %s of %s is %s", name, c.part, c.file, word)
		m.packed[word], m.own[name][word] = true, true
		if made {
			m.own[name][m.value(name, cell{c.file, "owner"})] = true
		}
	}
}

// lock is usermod -L.
func (m *model) lock(t *rapid.T) {
	user := rapid.SampledFrom([]string{"alice", "bob", "dave"}).Draw(t, "user")
	text := m.read(m.running, "etc/shadow")
	if !strings.Contains(text, user+":$6$") {
		return
	}
	m.say("%s: locks %s", m.running, user)
	m.rewrite(m.running, "etc/shadow", strings.Replace(text, user+":$6$", user+":!$6$", 1))
	m.locked[user] = true
}

func (m *model) makeClone(t *rapid.T) {
	if len(m.bes) >= 4 {
		return
	}
	from := m.names(t, "from", func(string) bool { return true })
	name := fmt.Sprintf("BE%d", len(m.bes))
	m.say("%s is cloned from %s", name, from)
	m.clone(from, name, from == m.running)
	m.bes = append(m.bes, name)
	m.own[name], m.had[name] = maps.Clone(m.own[from]), maps.Clone(m.had[from])
	for _, c := range modelCells { // the run may fail: it is its own then
		m.own[name][key(c, m.value(name, c))] = true
	}
}

// mark is activate's reconcile.
func (m *model) mark(t *rapid.T) {
	to := m.names(t, "to", func(n string) bool { return n != m.running })
	if to == "" || m.trial {
		return
	}
	m.say("%s is activated in %s", to, m.running)
	m.copyTree(m.running, "snap")
	m.newOwners(m.running, to)
	r, err := m.a.Reconcile(context.Background(), Switch{From: m.id(m.running), To: m.id(to), FromRoot: m.root("snap"), ToRoot: m.root(to), Upto: Mark})
	m.ok(err)
	m.again(Switch{From: m.id(m.running), To: m.id(to), FromRoot: m.root("snap"), ToRoot: m.root(to), Upto: Mark}, to)
	m.ok(os.RemoveAll(m.root("snap")))
	m.holds(to, r)
}

// newOwners: a file that is not there at all comes with the owner that it has.
func (m *model) newOwners(from, to string) {
	for _, c := range modelCells {
		if c.part == "owner" && m.value(to, c) == absent {
			m.own[to][m.value(from, c)] = true
		}
	}
}

// again: done twice, the second does nothing.
func (m *model) again(sw Switch, to string) {
	before := tree(m.rt, m.root(to))
	r, err := m.a.Reconcile(context.Background(), sw)
	m.ok(err)
	if after := tree(m.rt, m.root(to)); after != before || len(r.Items) > 0 {
		m.fail("the second time it did %+v\n%s", r.Items, diffLines(before, after))
	}
}

func (m *model) reboot(t *rapid.T) {
	failed := m.trial && rapid.IntRange(0, 2).Draw(t, "fails") == 0
	from, to := m.running, ""
	if failed {
		to = m.before
	} else {
		to = m.names(t, "to", func(n string) bool { return n != from })
	}
	if to == "" {
		return
	}
	m.say("from %s to %s, failed: %v", from, to, failed)
	if failed {
		for _, c := range modelCells {
			m.own[from][key(c, m.value(from, c))] = true
			m.own[from][key(c, absent)] = true
			if word := m.last[c]; word != m.start[c] {
				m.packed[word] = word != absent && !slices.ContainsFunc(m.bes, func(n string) bool { return n != from && m.had[n][word] })
				m.last[c] = m.start[c]
			}
		}
	}
	m.newOwners(from, to)
	m.ok(m.a.EndRun(context.Background(), m.id(from), m.root(from), failed))
	sw := Switch{From: m.id(from), To: m.id(to), ToRoot: m.root(to)}
	if failed {
		sw.Mode = SecurityOnly
	}
	r, err := m.a.Reconcile(context.Background(), sw)
	m.ok(err)
	m.again(sw, to)
	m.begin(to)
	m.before, m.running = from, to
	m.trial = !failed && rapid.Bool().Draw(t, "trial")
	m.start = maps.Clone(m.last)
	m.runBegins()
	m.holds(to, r)
}

// resolve decides a conflict.
func (m *model) resolve(t *rapid.T) {
	name := m.names(t, "where", func(string) bool { return true })
	open, err := m.a.Conflicts(m.id(name))
	m.ok(err)
	if len(open) == 0 {
		return
	}
	c := open[rapid.IntRange(0, len(open)-1).Draw(t, "conflict")]
	take := TakeIncoming
	if !c.Account() && rapid.Bool().Draw(t, "outgoing") {
		take = TakeOutgoing
	}
	m.say("%s: of %s %s is taken", name, c.Path, take)
	_, err = m.a.Resolve(Decision{BE: m.id(name), Root: m.root(name), Path: string(c.Path), Take: take})
	m.ok(err)
	m.decided(name, strings.TrimPrefix(string(c.Path), "/"), take)
}

func (m *model) runBegins() {
	m.began = map[cell]string{}
	for _, c := range modelCells {
		m.began[c] = m.value(m.running, c)
	}
}

func (m *model) fail(format string, args ...any) {
	m.rt.Helper()
	m.rt.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(m.log, "\n"))
}

// holds is what must be so in a boot environment after a switch into it.
func (m *model) holds(name string, r Report) {
	m.rt.Helper()
	list, err := m.a.Conflicts(m.id(name))
	m.ok(err)
	for _, item := range r.Items {
		if item.Reason == "" {
			m.fail("no reason: %+v", item)
		}
	}
	open := map[string]OpenConflict{}
	for _, c := range list {
		open[strings.TrimPrefix(string(c.Path), "/")] = c
	}
	for _, c := range modelCells {
		v, want := m.value(name, c), m.last[c]
		if m.packed[v] && !m.own[name][v] {
			m.fail("%s of %s in %s is %s, which a package of another boot environment wrote; report %+v", c.part, c.file, name, v, r.Items)
		}
		if v == absent && want != absent && !m.gone[c] && !m.own[name][key(c, absent)] {
			m.fail("%s is gone from %s, which nobody did here", c.file, name)
		}
		conflict, isOpen := open[c.file]
		switch {
		case v == want:
		case m.nothing[c]:
			if !isOpen {
				m.last[c] = v
			}
		case !isOpen && m.had[name][key(c, want)] && (m.own[name][key(c, v)] || m.own[name][key(c, absent)]):
			// A package of this one's changed it again.
		case !isOpen:
			m.fail("%s of %s in %s is %s; the administrator's is %s, and no conflict is open; report %+v", c.part, c.file, name, v, want, r.Items)
		case conflict.Account() || m.had[name][key(c, want)]:
		case want == absent && conflict.Outgoing == nil:
		case c.part == "owner" && conflict.Outgoing != nil && "owner"+strconv.Itoa(int(conflict.Outgoing.UID)) == want:
		case c.part != "owner" && m.beside(name, c, want):
		default:
			m.fail("%s of %s in %s is %s; the administrator's %s is not beside it: %+v", c.part, c.file, name, v, want, conflict)
		}
		m.had[name][key(c, v)] = true
	}
	shadow := account.Parse(account.Shadow, []byte(m.read(name, "etc/shadow")))
	for user := range m.locked {
		if rec := shadow.Get(user); rec != nil && !account.Locked(rec[1]) {
			m.fail("%s is not locked in %s", user, name)
		}
	}
	for _, line := range strings.Split(m.read(name, "etc/passwd"), "\n") {
		if f := strings.Split(line, ":"); strings.HasPrefix(f[0], "sys") && !m.own[name][strings.TrimPrefix(f[6], "/bin/")] {
			m.fail("%s is in %s, where no package added it", f[0], name)
		}
	}
}

// beside says whether the word stands in a version that was kept.
func (m *model) beside(name string, c cell, want string) bool {
	dir := m.path(name, filepath.Dir(c.file))
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if strings.HasPrefix(f.Name(), manifest.OurPrefix+"kept-") && strings.HasSuffix(f.Name(), "-"+filepath.Base(c.file)) {
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			m.ok(err)
			if inText(string(data), c) == want {
				return true
			}
		}
	}
	return false
}

// Whatever order the administrator, packages, clones, activations, trials that
// fail and decisions come in, over up to four boot environments: no change of
// the administrator's is lost, none of a package's turns up elsewhere, done
// twice is done once, and a conflict has both its sides.
//
// Each time it goes other ways; which, a failure says, and -rapid.seed goes them
// again. With BEADM_LONG more of them.
func TestModel(t *testing.T) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	set := map[string]string{"rapid.checks": "100", "rapid.nofailfile": "true"}
	if os.Getenv("BEADM_LONG") != "" {
		set["rapid.checks"] = "1000"
	}
	for name, value := range set {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("/dev/shm", "beadm-model-") // no disk to wait for
		if err != nil {
			if dir, err = os.MkdirTemp("", "beadm-model-"); err != nil {
				rt.Fatal(err)
			}
		}
		defer os.RemoveAll(dir)
		w := &world{t: rt, dir: dir, ids: map[string]be.UUID{}}
		w.fill()
		w.write("OLD", "etc/beadm/synclist", "/etc/over\n/etc/tree MERGE\n")
		for file, text := range map[string]string{
			"etc/over/a": "first\n", "etc/over/b": "first\n", "etc/tree/a": "first\n", "etc/tree/deep/b": "first\n",
			"etc/tree/lines": "--\n1=first\n--1\n--\n2=first\n--2\n--\n3=first\n--3\n",
		} {
			w.write("OLD", file, text)
		}
		m := &model{world: w, rt: rt, bes: []string{"OLD"}, running: "OLD", last: map[cell]string{}, packed: map[string]bool{},
			own: map[string]map[string]bool{"OLD": {}}, had: map[string]map[string]bool{"OLD": {}},
			gone: map[cell]bool{}, locked: map[string]bool{}}
		for _, c := range modelCells {
			m.last[c] = m.value("OLD", c)
			m.had["OLD"][key(c, m.last[c])] = true
		}
		m.start = maps.Clone(m.last)
		m.nothing = map[cell]bool{}
		m.begin("OLD")
		m.runBegins()
		m.makeClone(rt)
		for range rapid.IntRange(4, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 13).Draw(rt, "step") {
			case 0, 1, 2, 3:
				m.edit(rt)
			case 4, 5, 6:
				m.pack(rt)
			case 7:
				m.lock(rt)
			case 8:
				m.makeClone(rt)
			case 9:
				m.mark(rt)
			case 10, 11:
				m.reboot(rt)
			case 12, 13:
				m.resolve(rt)
			}
		}
		for _, name := range slices.Clone(m.bes) {
			if name != m.running {
				m.trial = false
				m.reboot(rt)
				break
			}
		}
		for _, name := range m.bes {
			if wrong := m.unsound(name); wrong != "" {
				m.fail("%s: %s", name, wrong)
			}
		}
	})
}
