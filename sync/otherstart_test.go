package reconcile

import (
	"os"
	"testing"
)

// marked is activate's reconcile into the boot environments named.
func (w *world) marked(from string, to ...string) {
	w.t.Helper()
	w.copyTree(from, "snap")
	for _, name := range to {
		_, err := w.a.Reconcile(w.t.(*testing.T).Context(), Switch{From: w.id(from), To: w.id(name), FromRoot: w.root("snap"), ToRoot: w.root(name), Upto: Mark})
		w.ok(err)
	}
	w.ok(os.RemoveAll(w.root("snap")))
}

// A mode or owner that was changed of what only the outgoing side has does not
// bring along the content, which nobody changed there.
func TestMetadataOfWhatIsNotHere(t *testing.T) {
	for _, list := range []string{"/etc/tree\n", "/etc/tree MERGE\n"} {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", list)
		w.write("OLD", "etc/tree/a", "first\n")
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.write("NEW", "etc/tree/package", "a package's\n")
		w.switchTo("OLD", "NEW", false)
		w.ok(os.Chmod(w.path("NEW", "etc/tree/package"), 0o600))
		w.switchTo("NEW", "OLD", false)
		if _, err := os.Lstat(w.path("OLD", "etc/tree/package")); err == nil {
			t.Errorf("%q: a package's file is in the other boot environment", list)
		}
		w.open("OLD", "/etc/tree/package")
	}
}

// A second conflict at a path, made of less, does not push out what the first
// one holds.
func TestSecondConflictKeepsTheFirst(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
	w.write("OLD", "etc/motd", "first\n")
	w.begin("OLD")
	w.clone("OLD", "A", true)
	w.ok(os.Chown(w.path("A", "etc/motd"), 10, 0)) // a package
	w.clone("A", "B", false)
	w.write("OLD", "etc/motd", "by hand\n")
	w.marked("OLD", "A", "B")
	w.open("A", "/etc/motd")
	w.open("B", "/etc/motd")
	w.switchTo("OLD", "B", false)
	w.ok(os.Chown(w.path("B", "etc/motd"), 20, 0))
	w.switchTo("B", "A", false)
	w.open("A", "/etc/motd")
	w.decide("A", "/etc/motd", TakeOutgoing, "")
	w.want("A", "etc/motd", "by hand\n")
}

// What an administrator made in one boot environment is a change there, also
// where another one that ran before had it from a package.
func TestSameFromAnotherStart(t *testing.T) {
	t.Run("lines", func(t *testing.T) {
		w := quickWorld(t)
		text := func(one, two string) string { return "1=" + one + "\n--\n--\n2=" + two + "\n" }
		w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n")
		w.write("OLD", "etc/tree/a", text("first", "first"))
		w.begin("OLD")
		w.clone("OLD", "A", true)
		w.write("A", "etc/tree/a", text("first", "package"))
		w.switchTo("OLD", "A", false)
		w.clone("OLD", "B", false)
		w.write("A", "etc/tree/a", text("hand", "package"))
		w.write("B", "etc/tree/a", text("other", "first"))
		w.switchTo("A", "B", false)
		w.open("B", "/etc/tree/a")
		w.decide("B", "/etc/tree/a", TakeOutgoing, "")
		w.want("B", "etc/tree/a", text("hand", "package"))
		w.switchTo("B", "OLD", false)
		w.want("OLD", "etc/tree/a", text("hand", "package"))
		w.open("OLD")
	})
	t.Run("a file", func(t *testing.T) {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
		w.write("OLD", "etc/motd", "first\n")
		w.begin("OLD")
		w.clone("OLD", "A", true)
		w.write("A", "etc/motd", "package\n")
		w.switchTo("OLD", "A", false)
		w.clone("OLD", "B", false)
		w.ok(os.Chmod(w.path("A", "etc/motd"), 0o600))
		w.switchTo("A", "B", false)
		w.want("B", "etc/motd", "first\n")
		w.write("B", "etc/motd", "package\n")
		w.switchTo("B", "OLD", false)
		w.want("OLD", "etc/motd", "package\n")
		if info, err := os.Stat(w.path("OLD", "etc/motd")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	})
}
