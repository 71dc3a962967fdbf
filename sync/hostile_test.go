package reconcile

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A guest does what it likes to its own tree: links that lead out at every
// level, FIFOs where files were, names of odd bytes. Nothing outside changes,
// nothing blocks, and what can be carried is.
func TestHostileTrees(t *testing.T) {
	w := newWorld(t)
	outside := w.root("outside")
	w.write("outside", "victim", "mine\n")
	w.write("outside", "dir/victim", "mine\n")
	w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n/etc/plain\n/etc/fifo APPEND\n/srv/* MERGE\n/loop/x\n/etc/hostname/below\n")
	for _, f := range []string{"a", "b", "c/d/file", "odd\xff\n\\name", ".beadm-new-00"} {
		w.write("OLD", "etc/tree/"+f, "1\n")
	}
	w.write("OLD", "etc/plain", "1\n")
	w.write("OLD", "etc/fifo", "1\n")
	w.ok(os.Symlink("loop", w.path("OLD", "loop")))
	w.begin("OLD")
	w.clone("OLD", "NEW", true)

	for _, f := range []string{"a", "b", "c/d/file", "odd\xff\n\\name", "new/deep/er/file"} {
		w.write("OLD", "etc/tree/"+f, "2\n")
	}
	w.write("OLD", "etc/plain", "2\n")
	w.write("OLD", "etc/fifo", "1\n2\n")
	w.write("OLD", "srv/a/file", "2\n")
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.ok(unix.Mkfifo(w.path("OLD", "etc/tree/pipe"), 0o644))
	w.ok(os.Symlink(outside, w.path("OLD", "etc/tree/out")))

	w.ok(os.Remove(w.path("NEW", "etc/tree/a")))
	w.ok(os.Symlink(outside+"/victim", w.path("NEW", "etc/tree/a")))
	w.ok(os.Remove(w.path("NEW", "etc/tree/b")))
	w.ok(unix.Mkfifo(w.path("NEW", "etc/tree/b"), 0o644))
	w.ok(os.RemoveAll(w.path("NEW", "etc/tree/c")))
	w.ok(os.Symlink(outside, w.path("NEW", "etc/tree/c")))
	w.ok(os.Symlink("../../../../../../../../../../"+outside+"/dir", w.path("NEW", "etc/tree/new")))
	w.ok(os.Symlink(outside, w.path("NEW", "srv"))) // not on the list itself: followed, inside NEW
	w.ok(os.Remove(w.path("NEW", "etc/fifo")))
	w.ok(unix.Mkfifo(w.path("NEW", "etc/fifo"), 0o644))
	before := tree(t, outside)

	done := make(chan struct{})
	var r Report
	go func() {
		defer close(done)
		w.ok(w.a.EndRun(context.Background(), w.id("OLD"), w.root("OLD"), false))
		var err error
		r, err = w.a.Reconcile(context.Background(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")})
		w.ok(err)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("blocked")
	}
	if after := tree(t, outside); after != before {
		t.Errorf("outside changed:\n%s", diffLines(before, after))
	}
	w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	w.want("NEW", "etc/plain", "2\n")
	w.want("NEW", "etc/tree/odd\xff\n\\name", "2\n")
	if target, _ := os.Readlink(w.path("NEW", "etc/tree/out")); target != outside {
		t.Errorf("a link is carried as a link: %q", target)
	}
	actions := map[string]Action{}
	for _, item := range r.Items {
		actions[string(item.Path)] = item.Action
	}
	if _, err := os.Lstat(w.root("NEW") + outside + "/dir"); !os.IsNotExist(err) {
		t.Errorf("something was written through a link: %v", err)
	}
	for _, path := range []string{"/etc/tree/c/d/file", "/etc/tree/new/deep/er/file", "/etc/tree/a", "/etc/tree/b", "/etc/fifo"} {
		if actions[path] != Conflict {
			t.Errorf("%s: %q, want a conflict", path, actions[path])
		}
	}
}

// Account files that are links or odd are not read as account files, and
// nothing of them is lost.
func TestOddAccountFiles(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.ok(os.Rename(w.path("NEW", "etc/passwd"), w.path("NEW", "etc/real")))
	w.ok(os.Symlink("real", w.path("NEW", "etc/passwd")))
	w.ok(os.Remove(w.path("NEW", "etc/gshadow")))
	w.edit("OLD", "etc/passwd", "alice:x:1000:1000:", "alice:x:1000:1000:Alice")
	w.edit("OLD", "etc/shadow", "bob:$6", "bob:!$6")
	w.edit("OLD", "etc/gshadow", "adm:*::alice,bob,dave", "adm:*::alice,bob")
	w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "bob:!$6$bob:19000:0:99999:7:::")
	if target, _ := os.Readlink(w.path("NEW", "etc/passwd")); target != "real" {
		t.Error("a link that NEW made of passwd is gone")
	}
}

// A list that cannot be read does not keep a lock from being carried.
func TestBrokenListFallsBack(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("OLD", "etc/shadow", "bob:$6", "bob:!$6")
	w.write("OLD", "etc/beadm/synclist", "nonsense\n")
	r := w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "bob:!$6$bob:19000:0:99999:7:::")
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "synclist:1:1") {
		t.Errorf("not said: %q", r.Notes)
	}
}

func TestStateIsRootsAlone(t *testing.T) {
	w := prepare(t)
	w.switchTo("OLD", "NEW", false)
	w.switchTo("NEW", "OLD", false)
	for _, line := range strings.Split(tree(t, w.root("state")), "\n") {
		if line == "" {
			continue
		}
		var name, mode string
		fmt.Sscan(line, &name, &mode)
		if !strings.HasSuffix(mode, "------") {
			t.Errorf("others can look into the state: %.80s", line)
		}
	}
}

// A key that a newer version wrote into the index survives.
func TestUnknownKeysAndNewerFormats(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.edit("state", "index.json", `"version": 1`, `"version": 1, "later": [1]`)
	w.ok(os.Mkdir(w.root("NEWER"), 0o755))
	w.begin("NEWER")
	if !strings.Contains(w.read("state", "index.json"), `"later"`) {
		t.Error("an unknown key is gone")
	}
	w.edit("state", "index.json", `"version": 1`, `"version": 2`)
	if err := w.a.BeginRun(context.Background(), w.id("X"), w.root("OLD")); err == nil || !strings.Contains(err.Error(), "newer beadm") {
		t.Errorf("a newer format: %v", err)
	}
}

// What nobody needs any more is not kept.
func TestSweep(t *testing.T) {
	w := prepare(t)
	w.switchTo("OLD", "NEW", false)
	w.ok(w.a.Forget(w.id("NEW")))
	w.ok(w.a.EndRun(context.Background(), w.id("OLD"), w.root("OLD"), false))
	files, err := os.ReadDir(w.path("state", "manifests"))
	w.ok(err)
	if len(files) != 1 {
		t.Errorf("%d manifests are left for one boot environment", len(files))
	}
}
