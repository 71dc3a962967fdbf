package reconcile

import (
	"os"
	"testing"
)

// A sync that was cut while it made a directory above a file of the list leaves
// nothing of it: neither when it is given up, nor when it is done again.
func TestCutWhileADirectoryIsMade(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", "/opt/app/etc/app.conf\n")
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.write("OLD", "opt/app/etc/app.conf", "by hand\n")
		left := w.path("NEW", "opt/.beadm-new-0123456789abcdef")
		w.ok(os.MkdirAll(left, 0o700))
		if again {
			w.switchTo("OLD", "NEW", false)
			w.want("NEW", "opt/app/etc/app.conf", "by hand\n")
		} else {
			w.ok(w.a.Tidy(w.id("NEW"), w.root("NEW"), w.root("OLD")))
		}
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("done again %v: it is left: %v", again, err)
		}
	}
}
