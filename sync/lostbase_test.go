package reconcile

import (
	"os"
	"strings"
	"testing"
)

// What the records lose is said, and the rule for it holds: outgoing's files
// are taken, incoming's are kept beside them, locks of either side hold.
func TestLostRecords(t *testing.T) {
	manifestOf := func(w *world, id string) string { return w.path("state", "manifests/"+id+".json") }
	for name, lose := range map[string]func(w *world){
		"the base is gone": func(w *world) {
			x, err := w.a.load()
			w.ok(err)
			w.ok(os.Remove(manifestOf(w, string(x.BEs[w.id("NEW")].Base))))
		},
		"the base is damaged": func(w *world) {
			x, err := w.a.load()
			w.ok(err)
			w.ok(os.Truncate(manifestOf(w, string(x.BEs[w.id("NEW")].Base)), 100))
		},
		"the index is damaged": func(w *world) { w.ok(os.Truncate(w.path("state", "index.json"), 30)) },
		"the run's start and NEW's mark on it are gone": func(w *world) {
			x, err := w.a.load()
			w.ok(err)
			mark, ok := x.BEs[w.id("NEW")].Had[x.present(w.id("OLD")).ID].mark()
			if !ok {
				t.Fatal("no mark")
			}
			w.ok(os.Remove(manifestOf(w, string(mark))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := quickWorld(t)
			w.write("OLD", "etc/beadm/synclist", "/etc/motd\n/etc/tree MERGE\n")
			w.write("OLD", "etc/motd", "shipped\n")
			w.write("OLD", "etc/tree/same", "same\n")
			w.begin("OLD")
			w.clone("OLD", "NEW", true)
			w.write("NEW", "etc/motd", "a package's\n")
			w.write("NEW", "etc/tree/more", "a package's\n")
			w.edit("NEW", "etc/shadow", "bob:$6", "bob:!$6")
			w.write("OLD", "etc/motd", "by hand\n")
			w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
			lose(w)
			r := w.switchTo("OLD", "NEW", false)
			if len(r.Notes) == 0 || !strings.Contains(strings.Join(r.Notes, " "), "kept beside") {
				t.Errorf("not said: %q", r.Notes)
			}
			w.want("NEW", "etc/motd", "by hand\n")
			w.want("NEW", "etc/tree/more", "a package's\n")
			w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
			w.has("NEW", "etc/shadow", "bob:!$6$bob:19000:0:99999:7:::")
			kept := ""
			for _, item := range r.Items {
				if item.Path == "/etc/motd" {
					kept = string(item.Saved)
				}
				if item.Path == "/etc/tree/same" {
					t.Errorf("what is alike is reported: %+v", item)
				}
			}
			if kept == "" || w.read("NEW", kept) != "a package's\n" {
				t.Errorf("what stood there is not kept: %q", kept)
			}
			w.check("NEW")
			// From here on there is a base again.
			w.write("NEW", "etc/motd", "by hand, in NEW\n")
			r = w.switchTo("NEW", "OLD", false)
			w.want("OLD", "etc/motd", "by hand, in NEW\n")
			if c := r.Conflicts(); len(c) > 0 {
				t.Errorf("conflicts on the way back: %+v", c)
			}
		})
	}
}

// The end of a run whose record is lost is read again where it stands.
func TestLostEndOfRun(t *testing.T) {
	w := quickWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	x, err := w.a.load()
	w.ok(err)
	w.ok(os.Remove(w.path("state", "manifests/"+string(x.Runs[0].End)+".json")))
	_, err = w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("OLD"), ToRoot: w.root("NEW")})
	w.ok(err)
	w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
}

// A file of the same size whose time was put back was changed all the same.
func TestSameSizeAndTime(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
	w.write("OLD", "etc/motd", "one\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	info, err := os.Stat(w.path("OLD", "etc/motd"))
	w.ok(err)
	w.write("OLD", "etc/motd", "two\n")
	w.ok(os.Chtimes(w.path("OLD", "etc/motd"), info.ModTime(), info.ModTime()))
	w.switchTo("OLD", "NEW", false)
	w.want("NEW", "etc/motd", "two\n")
}
