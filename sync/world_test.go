package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"beadm/be"
)

// world is boot environments as directories on a real file system, and their
// archive.
type world struct {
	t   rapid.TB
	dir string
	a   *Archive
	ids map[string]be.UUID
}

const (
	basePasswd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\ndave:x:1002:1002::/home/dave:/bin/bash\n"
	baseShadow = "root:*:19000:0:99999:7:::\nalice:$6$alice:19000:0:99999:7:::\nbob:$6$bob:19000:0:99999:7:::\ndave:$6$dave:19000:0:99999:7:::\n"
	baseGroup  = "root:x:0:\nadm:x:4:alice,bob,dave\nshadow:x:42:\nalice:x:1000:\nbob:x:1001:\ndave:x:1002:\n"
	baseGshad  = "root:*::\nadm:*::alice,bob,dave\nshadow:*::\nalice:!::\nbob:!::\ndave:!::\n"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), ids: map[string]be.UUID{}}
	w.fill()
	return w
}

// quickWorld is newWorld in memory, for what is tried many times and asks
// nothing of a disk.
func quickWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "beadm-test-")
	if err != nil {
		return newWorld(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, ids: map[string]be.UUID{}}
	w.fill()
	return w
}

// fill makes OLD and the archive.
func (w *world) fill() {
	w.t.Helper()
	a, err := Open(filepath.Join(w.dir, "state"))
	w.ok(err)
	a.GOOS = "linux"
	w.a = a
	for path, content := range map[string]string{
		"etc/passwd": basePasswd, "etc/shadow": baseShadow, "etc/group": baseGroup, "etc/gshadow": baseGshad,
		"etc/hostname": "host\n", "etc/machine-id": "0123\n", "root/.ssh/authorized_keys": "key one\nkey two\n",
		"etc/sudoers.d/alice": "alice ALL=(ALL) ALL\n", "var/share/mail/alice": "mail\n",
	} {
		w.write("OLD", path, content)
	}
	w.ok(os.Chmod(w.path("OLD", "etc/shadow"), 0o640))
	w.ok(os.Chown(w.path("OLD", "etc/shadow"), 0, 42))
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) id(name string) be.UUID {
	if w.ids[name] == "" {
		w.ids[name] = be.NewUUID()
	}
	return w.ids[name]
}

func (w *world) root(name string) string       { return filepath.Join(w.dir, name) }
func (w *world) path(name, path string) string { return filepath.Join(w.dir, name, path) }
func (w *world) read(name, path string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name, path))
	w.ok(err)
	return string(data)
}

func (w *world) write(name, path, content string) {
	w.t.Helper()
	p := w.path(name, path)
	w.ok(os.MkdirAll(filepath.Dir(p), 0o755))
	w.ok(os.WriteFile(p, []byte(content), 0o644))
}

// edit replaces the only place of old in a file by new.
func (w *world) edit(name, path, old, new string) {
	w.t.Helper()
	s := w.read(name, path)
	if strings.Count(s, old) != 1 {
		w.t.Fatalf("%s in %s holds %q %d times:\n%s", path, name, old, strings.Count(s, old), s)
	}
	f, err := os.OpenFile(w.path(name, path), os.O_WRONLY|os.O_TRUNC, 0) // keeps mode and owner
	w.ok(err)
	_, err = f.WriteString(strings.Replace(s, old, new, 1))
	w.ok(err)
	w.ok(f.Close())
}

// copyTree is a snapshot or clone.
func (w *world) copyTree(from, to string) {
	w.t.Helper()
	out, err := exec.Command("cp", "-a", w.root(from), w.root(to)).CombinedOutput()
	if err != nil {
		w.t.Fatalf("cp: %v: %s", err, out)
	}
}

// clone makes a boot environment out of another.
func (w *world) clone(from, to string, running bool) {
	w.t.Helper()
	w.copyTree(from, to)
	w.ok(w.a.Cloned(context.Background(), w.id(to), w.id(from), Snapshot{Root: w.root(to)}, running))
}

func (w *world) begin(name string) {
	w.t.Helper()
	w.ok(w.a.BeginRun(context.Background(), w.id(name), w.root(name)))
}

// switchTo is what boot does in to after from ran.
func (w *world) switchTo(from, to string, failed bool) Report {
	w.t.Helper()
	w.ok(w.a.EndRun(context.Background(), w.id(from), w.root(from), failed))
	sound := w.unsound(from) == "" && w.unsound(to) == ""
	r, err := w.a.Reconcile(context.Background(), Switch{From: w.id(from), To: w.id(to), ToRoot: w.root(to)})
	w.ok(err)
	if sound {
		w.check(to)
	}
	again, err := w.a.Reconcile(context.Background(), Switch{From: w.id(from), To: w.id(to), ToRoot: w.root(to)})
	w.ok(err)
	for _, item := range again.Items {
		if item.Action != Shared {
			w.t.Errorf("reconciled twice, the second time: %+v", item)
		}
	}
	w.begin(to)
	return r
}

// want holds a file against its lines, in any order.
func (w *world) want(name, path, want string) {
	w.t.Helper()
	sorted := func(s string) string {
		l := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
		sort.Strings(l)
		return strings.Join(l, "\n")
	}
	if got := w.read(name, path); sorted(got) != sorted(want) {
		w.t.Errorf("%s in %s:\n%s\nwant:\n%s", path, name, got, want)
	}
}

func (w *world) has(name, path, line string) {
	w.t.Helper()
	if got := "\n" + w.read(name, path); !strings.Contains(got, "\n"+line+"\n") {
		w.t.Errorf("%s in %s has no line %q:\n%s", path, name, line, got)
	}
}

func (w *world) hasNot(name, path, text string) {
	w.t.Helper()
	if got := w.read(name, path); strings.Contains(got, text) {
		w.t.Errorf("%s in %s holds %q:\n%s", path, name, text, got)
	}
}

// check asks the owners of the formats.
func (w *world) check(name string) {
	w.t.Helper()
	if wrong := w.unsound(name); wrong != "" {
		w.t.Errorf("%s: %s", name, wrong)
	}
}

// unsound is what pwck and grpck say against the account files.
func (w *world) unsound(name string) string {
	w.t.Helper()
	var wrong string
	for _, tool := range [][]string{{"pwck", "-r", "-q"}, {"grpck", "-r"}} {
		args := append(tool[1:], "-R", w.root(name))
		out, err := exec.Command(tool[0], args...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			w.t.Fatalf("%s (Debian package passwd): %v", tool[0], err)
		}
		if err != nil {
			wrong += fmt.Sprintf("%s: %v\n%s", tool[0], err, out)
		}
	}
	return wrong
}

// tree describes a root, for comparison.
func tree(t rapid.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %v", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", data)
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %q", target)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
