package reconcile

import (
	"os"
	"testing"
)

// Keys go with the file that held them, also where a key was added here.
func TestKeysGoWithTheirFile(t *testing.T) {
	const keys = "root/.ssh/authorized_keys"
	for _, failed := range []bool{false, true} {
		w := quickWorld(t)
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.switchTo("OLD", "NEW", false)
		w.write("OLD", keys, "key one\n# more\nkey two\nkey three\n") // offline
		w.ok(os.Remove(w.path("NEW", keys)))
		r := w.switchTo("NEW", "OLD", failed)
		w.want("OLD", keys, "# more\nkey three\n")
		if len(r.Items) == 0 {
			t.Error("not said")
		}
		w.open("OLD")
	}
}
