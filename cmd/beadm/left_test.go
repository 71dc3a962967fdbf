//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/activate/left"
)

// in writes a file in the root that runs.
func (m *machine) in(path, text string) {
	m.t.Helper()
	write(m.t, filepath.Join(m.root, path), text)
}

// leaves is what an activation of name would leave behind, by the dry run's
// JSON, and whether it refuses.
func (m *machine) leaves(name string) (places []left.Place, refused bool) {
	m.t.Helper()
	r := m.run("--json", "activate", "-n", name)
	if r.code != 0 && r.code != 5 {
		m.t.Fatal(r)
	}
	var out struct {
		Left []left.Place `json:"left_behind"`
	}
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		m.t.Fatalf("%v: %v", err, r)
	}
	return out.Left, r.code == 5
}

func paths(places []left.Place) (list []string) {
	for _, p := range places {
		list = append(list, p.Path)
	}
	slices.Sort(list)
	return list
}

func (m *machine) leavesExactly(name string, refuses bool, want ...string) {
	m.t.Helper()
	places, refused := m.leaves(name)
	slices.Sort(want)
	if got := paths(places); refused != refuses || !slices.Equal(got, want) {
		m.t.Errorf("left behind of %s: %q, refused %t; wanted %q, %t", m.boots, got, refused, want, refuses)
	}
}

// refusedLeft is a refusal with the list before its sentence; nothing changes.
func (m *machine) refusedLeft(says []string, args ...string) {
	m.t.Helper()
	for _, args := range [][]string{args, append(slices.Clone(args), "-n")} {
		before, mounts := m.snapshotWorld(), m.mounts()
		r := m.run(args...)
		lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n")
		if r.code != 5 || r.out != "" || !strings.HasPrefix(lines[len(lines)-1], "beadm: cannot activate ") {
			m.t.Errorf("wanted exit 5 and a sentence at the end: %v", r)
		}
		for _, s := range says {
			if !strings.Contains(r.err, s) {
				m.t.Errorf("it does not say %q: %v", s, r)
			}
		}
		if after := m.snapshotWorld(); after != before {
			m.t.Errorf("it changed\n%s\nafter %v", differ(before, after), r)
		}
		if got := m.mounts(); !slices.Equal(got, mounts) {
			m.t.Errorf("mounted were %q, now %q, after %v", mounts, got, r)
		}
	}
}

func TestDataIsNotLeftBehindUnsaid(t *testing.T) {
	m := newMachine(t)
	for path, text := range map[string]string{
		"srv/site/index": "old", "root/untouched": "x", "var/lib/db/table": "1", "home/alice/letter": "dear",
	} {
		m.in(path, text)
	}
	m.ok("create", "new")
	m.leavesExactly("new", false)
	m.in("var/lib/db/table", "22") // a database goes on
	m.in("var/lib/db/log", strings.Repeat("x", 3000))
	m.in("home/carol/.profile", "x") // a user comes
	m.in("root/notes", "remember")
	m.in("etc/app.conf", "setting")
	m.leavesExactly("new", true, "/var/lib/db", "/home/carol/.profile", "/root/notes", "/etc/app.conf")
	for _, how := range [][]string{{"activate", "new"}, {"activate", "-t", "new"}, {"activate", "--permanent", "new"}} {
		m.refusedLeft([]string{
			"left behind, in debian and not in new:\n", "2.93K  /var/lib/db (2 files)\n", "8B  /root/notes\n", "7B  /etc/app.conf\n",
			"data that debian wrote would be left behind: /var/lib/db (2 files), /root/notes, /home/carol/.profile; give it a dataset of its own", "synclist", "--leave-behind",
		}, how...)
	}
	// An armed trial is not taken back by what is refused.
	m.ok("create", "third")
	m.ok("activate", "third", "--leave-behind")
	if r := m.run("activate", "new"); r.code != 5 {
		t.Error(r)
	}
	if st := m.status(); st.State != "armed" || st.Trial.BE != "third" {
		t.Errorf("%+v", st)
	}
	m.ok("activate", "-T")

	r := m.run("activate", "--leave-behind", "new")
	if r.code != 0 || !strings.Contains(r.err, "/var/lib/db (2 files)") {
		t.Error(r)
	}
	m.is("armed", "debian", "debian")
	if out := m.ok("history"); !strings.Contains(out, "left behind") || !strings.Contains(out, "in debian: /var/lib/db (2 files), /root/notes, /home/carol/.profile, /etc/app.conf") {
		t.Errorf("history: %s", out)
	}
	// Written when nobody could be asked any more.
	time.Sleep(50 * time.Millisecond)
	m.in("srv/late", "late")
	m.comeUp()
	m.is("trying", "new", "debian")
	st := m.status()
	if st.Left == nil || !slices.Equal(st.Left.Places, []string{"/srv/late"}) || st.Left.From != "debian" {
		t.Errorf("%+v", st.Left)
	}
	if out := m.ok("status"); !strings.Contains(out, "LEFT:     what debian wrote last is not in this one: /srv/late\n") || !strings.Contains(out, "beadm mount -s ro debian") {
		t.Error(out)
	}
	m.ok("confirm")

	// Back: what new wrote since it runs is said, and stops nothing.
	m.in("srv/new-work", "work")
	if r := m.run("rollback", "-n"); r.code != 0 || !strings.Contains(r.err, "/srv/new-work") {
		t.Error(r)
	}
	if r := m.run("rollback"); r.code != 0 || !strings.Contains(r.err, "left behind, in new and not in debian:\n") || !strings.Contains(r.err, "/srv/new-work") || strings.Contains(r.err, "/srv/late") {
		t.Error(r)
	}
	m.refusedLeft([]string{"/srv/new-work"}, "activate", "--permanent", "third")
	m.comeUp()
	m.is("idle", "debian", "debian")
	if st := m.status(); st.Left == nil || !slices.Equal(st.Left.Places, []string{"/srv/new-work"}) {
		t.Errorf("%+v", st.Left)
	}
	m.ok("status", "--acknowledge")
	if st := m.status(); st.Left != nil {
		t.Errorf("%+v", st.Left)
	}
	// And forth again: nothing is new since new ran.
	m.leavesExactly("new", false)
}

// A trial that fails, and one that is ended: what it wrote is said in the old
// one; what was left before it is asked for again.
func TestDataOfAFailedTrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.in("srv/old", "x")
	m.ok("activate", "new", "--leave-behind")
	m.comeUp()
	m.in("var/lib/db/table", "of the trial")
	m.comeUp()
	m.is("failed", "debian", "debian")
	if st := m.status(); st.Left == nil || !slices.Equal(st.Left.Places, []string{"/var/lib/db/table"}) || st.Left.From != "new" {
		t.Errorf("%+v", st.Left)
	}
	m.leavesExactly("new", true, "/srv/old")
	m.ok("activate", "new", "--leave-behind")
	m.comeUp()
	if r := m.run("rollback"); r.code != 0 || strings.Contains(r.err, "left behind") {
		t.Errorf("nothing was written: %v", r)
	}
}

func TestWhatIsNotLeftBehind(t *testing.T) {
	m := newMachine(t)
	m.ok("share", "init")
	outside := t.TempDir()
	write(t, filepath.Join(outside, "of-the-host"), "x")
	for path, text := range map[string]string{
		"srv/kept": "same", "srv/moved": "m", "srv/dir/in/it": "deep", "srv/tree/file": "t", "srv/rewritten": "was",
		"usr/bin/tool": "1", "etc/tool.conf": "shipped", "etc/mine.conf": "shipped",
		"var/lib/dpkg/info/tool.list":   "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/lib/tool\n/var/lib/tool/shipped\n/etc/tool.conf\n/etc/mine.conf\n",
		"var/lib/dpkg/diversions":       "/usr/bin/sh\n/usr/bin/sh.distrib\ndash\n",
		"var/lib/dpkg/status":           "Package: tool\nConffiles:\n /etc/tool.conf 9c1b4d2e7a9f3f8e5c6d7b8a9f0e1d2c\n /etc/mine.conf cf5d8b9dd1e8b5e2a2dbf0d7be5d6a3e\nDescription: x\n y\n",
		"etc/beadm/synclist":            "/srv/listed\n/srv/scratch KEEP\n/web/pages\n",
		"var/lib/postgresql/untouched":  "x",
		"var/cache/made-again":          "1",
		"home/alice/.bash_history":      "ls\n",
		"var/lib/NetworkManager/leases": "1",
	} {
		m.in(path, text)
	}
	sum := strings.Fields(sh(t, "md5sum", filepath.Join(m.root, "etc/tool.conf")))[0]
	write(t, filepath.Join(m.root, "var/lib/dpkg/status"), strings.Replace(read(t, filepath.Join(m.root, "var/lib/dpkg/status")), "9c1b4d2e7a9f3f8e5c6d7b8a9f0e1d2c", sum, 1))
	check(t, os.Symlink("srv/web", filepath.Join(m.root, "web")))
	m.ok("create", "new")

	// Packages', with a merged /usr, diversions, and a conffile as shipped.
	for _, path := range []string{"usr/bin/tool", "usr/lib/tool", "var/lib/tool/shipped", "usr/bin/sh.distrib"} {
		m.in(path, "2")
	}
	m.in("var/lib/dpkg/status-old", "x")
	check(t, os.Remove(filepath.Join(m.root, "etc/tool.conf")))
	m.in("etc/tool.conf", "shipped")
	// What is carried, or is on the list to stay.
	m.in("srv/listed/file", "x")
	m.in("srv/scratch/file", "x")
	m.in("srv/web/pages/file", "x")
	m.setPassword("bob", "!$6$s$bob")
	// What is shared, a link to it, what is temporary or made again.
	m.in("var/mail/bob", "mail\n")
	m.in("var/log/app.log", "line\n")
	check(t, os.Symlink("../var/share/mail/bob", filepath.Join(m.root, "root/mbox")))
	for _, path := range []string{"var/cache/made-again", "var/cache/x/y", "tmp/x", "var/tmp/x", "run/x", "home/alice/.bash_history", "home/alice/.cache/x",
		"var/lib/NetworkManager/leases", "var/lib/systemd/random-seed", "var/lib/apt/lists/x", "boot/initrd.img-1", "usr/lib/python3/x/__pycache__/x.pyc"} {
		m.in(path, "22")
	}
	// The same again, a second name, a link out of the root, a directory.
	for _, path := range []string{"srv/kept", "srv/rewritten"} {
		check(t, os.Remove(filepath.Join(m.root, path)))
	}
	m.in("srv/kept", "same")
	check(t, os.MkdirAll(filepath.Join(m.root, "srv/empty/dir"), 0o755))
	sh(t, "chown", "0:0", filepath.Join(m.root, "srv/dir/in/it"))
	m.leavesExactly("new", false)

	// And what is: recreated otherwise, by another owner, under another name,
	// in a directory that was moved, a link.
	m.in("srv/rewritten", "now")
	m.leavesExactly("new", true, "/srv/rewritten")
	check(t, os.Chown(filepath.Join(m.root, "srv/kept"), 1000, 1000))
	check(t, os.Link(filepath.Join(m.root, "srv/moved"), filepath.Join(m.root, "srv/second")))
	check(t, os.Rename(filepath.Join(m.root, "srv/tree"), filepath.Join(m.root, "srv/grown")))
	check(t, os.Rename(filepath.Join(m.root, "srv/dir/in/it"), filepath.Join(m.root, "srv/dir/in/that")))
	check(t, os.Symlink(outside, filepath.Join(m.root, "srv/out")))
	m.in("srv/new\nline/\x1b[31mred", "x")
	m.in("srv/bad\xff", "x")
	m.in("etc/mine.conf", "edited")
	m.in("data/table", "x")
	m.in("home/alice/.ssh/known_hosts", "x")
	m.leavesExactly("new", true, "/srv/rewritten", "/srv/kept", "/srv/second", "/srv/grown/file", "/srv/dir/in/that", "/srv/out", `/srv/new\x0aline/\x1b[31mred`, `/srv/bad\xff`,
		"/etc/mine.conf", "/data/table", "/home/alice/.ssh/known_hosts")
	for _, path := range []string{"srv/rewritten", "srv/kept", "srv/second", "srv/grown", "srv/dir", "srv/out", "srv/new\nline", "srv/bad\xff", "data"} {
		check(t, os.RemoveAll(filepath.Join(m.root, path)))
	}
	// These alone are said and refuse nothing.
	m.leavesExactly("new", false, "/etc/mine.conf", "/home/alice/.ssh/known_hosts")
	if r := m.run("activate", "new"); r.code != 0 || !strings.Contains(r.err, "6B  /etc/mine.conf\n") {
		t.Error(r)
	}
}

// Somebody at two in the morning reads twenty lines.
func TestLongListOfWhatIsLeftBehind(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	for i := range 30 {
		m.in(fmt.Sprintf("srv/site%02d/a", i), strings.Repeat("x", 100*i))
		m.in(fmt.Sprintf("srv/site%02d/b", i), "x")
	}
	r := m.run("activate", "new")
	lines := strings.Split(strings.TrimSpace(r.err), "\n")
	if r.code != 5 || len(lines) != 23 || strings.TrimSpace(lines[1]) != "2.83K  /srv/site29 (2 files)" || lines[21] != "  and 10 more" || !strings.Contains(lines[22], "and 27 more") {
		t.Errorf("%d lines: %v", len(lines), r)
	}
}

// A clone of what does not run lacks what was written since that ran, and
// nobody knows of what an older beadm made.
func TestCloneOfWhatDoesNotRun(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "old")
	m.in("srv/work", "x")
	m.ok("create", "copy", "-e", "old")
	m.leavesExactly("copy", true, "/srv/work")
	m.ok("create", "now")
	m.leavesExactly("now", false)

	dir := strings.TrimSpace(m.ok("mount", "old"))
	write(t, filepath.Join(dir, "usr/lib/os"), "2\n") // nobody's loss
	m.ok("unmount", "old")
	files, err := filepath.Glob(filepath.Join(m.top, "@beadm/*/state.json"))
	check(t, err)
	var state map[string]any
	check(t, json.Unmarshal([]byte(read(t, files[0])), &state))
	for _, known := range state["bes"].(map[string]any) {
		delete(known.(map[string]any), "up_to")
		delete(known.(map[string]any), "ran_from")
	}
	data, err := json.Marshal(state)
	check(t, err)
	check(t, os.WriteFile(files[0], data, 0o600))
	// The store wrote the clone's own.
	m.leavesExactly("copy", true, "/srv/work", "/etc/fstab")
	m.leavesExactly("now", false, "/etc/fstab")
}

// What is nested and belongs to no boot environment stays where it is, however
// old it is; an empty one, as systemd makes them, is nothing.
func TestNestedSubvolumeOfItsOwn(t *testing.T) {
	m := newMachine(t)
	for _, dir := range []string{"var/lib/machines", "var/lib/docker", "opt/part"} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(m.root, dir)), 0o755))
		sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.root, dir))
	}
	m.in("opt/part/file", "x")
	m.in("var/lib/docker/image", "x")
	time.Sleep(50 * time.Millisecond)
	m.ok("create", "new")
	m.leavesExactly("new", true, "/var/lib/docker/image")
	m.in("opt/part/file", "22")
	m.leavesExactly("new", true, "/var/lib/docker/image", "/opt/part/file")
	// Mounted there, it is no boot environment's.
	sh(t, "mount", "-o", "subvol=@debian/var/lib/docker", m.device, filepath.Join(m.root, "var/lib/docker"))
	m.leavesExactly("new", false, "/opt/part/file")
}
