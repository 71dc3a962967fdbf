package reconcile

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Names of one file there are names of one file here, at whatever moment it was
// cut; what only is alike is not made one.
func TestHardLinksStay(t *testing.T) {
	make := func(t *testing.T) (*world, Switch) {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n/etc/one\n/etc/alone\n")
		w.write("OLD", "etc/tree/a", "1\n")
		w.ok(os.Link(w.path("OLD", "etc/tree/a"), w.path("OLD", "etc/tree/b")))
		w.write("OLD", "etc/one", "1\n")
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.write("OLD", "etc/tree/a", "two\n")
		w.ok(os.Mkdir(w.path("OLD", "etc/tree/new"), 0o755))
		w.ok(os.Link(w.path("OLD", "etc/tree/a"), w.path("OLD", "etc/tree/new/c")))
		w.write("OLD", "etc/tree/alike", "two\n")
		w.write("OLD", "etc/one", "two\n")
		// One of them is linked to what the list does not name.
		w.ok(os.Link(w.path("OLD", "etc/one"), w.path("OLD", "etc/other")))
		w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
		return w, Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")}
	}
	check := func(t *testing.T, w *world) {
		t.Helper()
		links := map[string]uint64{}
		for name, n := range map[string]uint64{"etc/tree/a": 3, "etc/tree/b": 3, "etc/tree/new/c": 3, "etc/tree/alike": 1, "etc/one": 1} {
			var st unix.Stat_t
			w.ok(unix.Lstat(w.path("NEW", name), &st))
			if uint64(st.Nlink) != n {
				t.Errorf("%s has %d names, not %d", name, st.Nlink, n)
			}
			w.want("NEW", name, "two\n")
			links[name] = st.Ino
		}
		if links["etc/tree/a"] != links["etc/tree/b"] || links["etc/tree/a"] != links["etc/tree/new/c"] {
			t.Errorf("%v", links)
		}
	}
	w, sw := make(t)
	effects := 0
	w.a.cut = func(string) error { effects++; return nil }
	_, err := w.a.Reconcile(t.Context(), sw)
	w.ok(err)
	check(t, w)
	for i := range effects {
		w, sw := make(t)
		n := 0
		w.a.cut = func(string) error {
			if n++; n > i {
				return errCut
			}
			return nil
		}
		if _, err := w.a.Reconcile(t.Context(), sw); err == nil {
			t.Fatal("not cut")
		}
		w.a.cut = nil
		_, err := w.a.Reconcile(t.Context(), sw)
		w.ok(err)
		check(t, w)
	}
}
