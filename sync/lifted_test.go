package reconcile

import "testing"

// passwd -u where passwd -l was said reaches the other boot environment also
// where that has a password of its own; a lock of its own stays.
func TestUnlockedWhereItWasLocked(t *testing.T) {
	for why, row := range map[string]struct{ here, want string }{
		"the same password":      {"alice:$6$alice:", "alice:$6$alice:19000:0:99999:7:::"},
		"one of its own":         {"alice:$6$own:", "alice:$6$own:19000:0:99999:7:::"},
		"one of its own, locked": {"alice:!$6$own:", "alice:!$6$own:19000:0:99999:7:::"},
	} {
		t.Run(why, func(t *testing.T) {
			w := quickWorld(t)
			w.begin("OLD")
			w.clone("OLD", "NEW", true)
			if row.here != "alice:$6$alice:" {
				w.edit("NEW", "etc/shadow", "alice:$6$alice:", row.here)
			}
			w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
			w.marked("OLD", "NEW")
			w.hasNot("NEW", "etc/shadow", "alice:$6")
			w.edit("OLD", "etc/shadow", "alice:!$6", "alice:$6")
			w.switchTo("OLD", "NEW", false)
			w.has("NEW", "etc/shadow", row.want)
		})
	}
}
