package reconcile

import "testing"

// A sync that did not come to its end before the next boot environment ran: what
// the first locked is locked in the third, though the second changed the password
// of an account that was open there.
func TestLockOfARunThatTheNextDidNotHave(t *testing.T) {
	w := quickWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.clone("OLD", "THIRD", true)
	w.edit("OLD", "etc/shadow", "alice:$6$alice", "alice:!$6$alice")
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	w.begin("NEW") // without what OLD changed: it is owed
	w.edit("NEW", "etc/shadow", "alice:$6$alice:19000", "alice:$6$new:19500")
	w.switchTo("NEW", "THIRD", false)
	w.has("THIRD", "etc/shadow", "alice:!$6$new:19500:0:99999:7:::")
	w.switchTo("THIRD", "OLD", false)
	w.has("OLD", "etc/shadow", "alice:!$6$new:19500:0:99999:7:::")
	w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "alice:!$6$new:19500:0:99999:7:::")
}
