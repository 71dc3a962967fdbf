package reconcile

import "testing"

// The first boot environment, which never ended a run, is not taken back to what
// a clone had of it: what runs since then is known by its beginning.
func TestNothingComesFromACloneThatNeverRan(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
	w.write("OLD", "etc/motd", "1\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("NEW", "etc/motd", "a package's\n")
	w.write("OLD", "etc/motd", "by hand\n")
	w.edit("OLD", "etc/shadow", "bob:$6$bob:19000", "bob:$6$new:19500")
	before := tree(t, w.root("OLD"))
	r, err := w.a.Reconcile(t.Context(), Switch{From: w.id("NEW"), To: w.id("OLD"), ToRoot: w.root("OLD"), Mode: Aside})
	w.ok(err)
	if len(r.Items)+len(r.Notes) > 0 {
		t.Errorf("%+v %q", r.Items, r.Notes)
	}
	if after := tree(t, w.root("OLD")); after != before {
		t.Errorf("taken back:\n%s", diffLines(before, after))
	}
	// What came since is still its own.
	w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "bob:$6$new:19500:0:99999:7:::")
	w.open("NEW", "/etc/motd")
}
