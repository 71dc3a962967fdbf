package reconcile

import (
	"os"
	"strings"
	"testing"

	"beadm/be"
)

// One file that cannot be written, because somebody made it immutable, holds
// up no lock and no other file, and is reported. An account file holds up all,
// and it is said what to do.
func TestImmutable(t *testing.T) {
	w := newWorld(t) // tmpfs has no such flag everywhere
	w.write("OLD", "etc/beadm/synclist", "/etc/resolv.conf\n/etc/motd\n")
	w.write("OLD", "etc/resolv.conf", "nameserver 192.0.2.1\n")
	w.write("OLD", "etc/motd", "one\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("OLD", "etc/resolv.conf", "nameserver 192.0.2.2\n")
	w.write("OLD", "etc/motd", "two\n")
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.sh("chattr +i %s", w.path("NEW", "etc/resolv.conf"))
	t.Cleanup(func() { w.sh("chattr -i %s %s", w.path("NEW", "etc/resolv.conf"), w.path("NEW", "etc/shadow")) })
	w.sh("chattr +i %s", w.path("NEW", "etc/shadow"))
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	sw := Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")}
	if _, err := w.a.Reconcile(t.Context(), sw); err == nil || !strings.Contains(err.Error(), "chattr -i") || be.KindOf(err) != be.Other {
		t.Errorf("with an immutable shadow: %v", err)
	}
	w.sh("chattr -i %s", w.path("NEW", "etc/shadow"))
	r, err := w.a.Reconcile(t.Context(), sw)
	w.ok(err)
	w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	w.want("NEW", "etc/motd", "two\n")
	if c := r.Conflicts(); len(c) != 1 || c[0].Path != "/etc/resolv.conf" || !strings.Contains(c[0].Reason, "not permitted") {
		t.Errorf("%+v", c)
	}
	w.open("NEW", "/etc/resolv.conf")
	w.sh("chattr -i %s", w.path("NEW", "etc/resolv.conf"))
	w.decide("NEW", "/etc/resolv.conf", TakeOutgoing, "")
	w.want("NEW", "etc/resolv.conf", "nameserver 192.0.2.2\n")
}

// Directories that are made for what comes are no more open than they are
// there.
func TestMissingDirectoriesAreAsThere(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n")
	w.write("OLD", "etc/tree/a", "1\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.ok(os.MkdirAll(w.path("NEW", "etc/tree/private/deep"), 0o700)) // a package's
	w.switchTo("OLD", "NEW", false)
	w.write("NEW", "etc/tree/private/deep/file", "secret\n")
	w.switchTo("NEW", "OLD", false)
	w.want("OLD", "etc/tree/private/deep/file", "secret\n")
	for _, dir := range []string{"etc/tree/private", "etc/tree/private/deep"} {
		if info, err := os.Stat(w.path("OLD", dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info.Mode(), err)
		}
	}
	// And are in step from then on.
	w.ok(os.Chmod(w.path("OLD", "etc/tree/private"), 0o750))
	w.switchTo("OLD", "NEW", false)
	if info, err := os.Stat(w.path("NEW", "etc/tree/private")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	w.ok(os.Chmod(w.path("NEW", "etc/tree/private"), 0o700))
	w.switchTo("NEW", "OLD", false)
	w.open("OLD")
	if info, err := os.Stat(w.path("OLD", "etc/tree/private")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// Without a common state outgoing's file comes only where incoming's can be
// kept.
func TestNothingIsReplacedThatCannotBeKept(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
	w.write("OLD", "etc/motd", "one\n")
	w.begin("OLD")
	w.copyTree("OLD", "NEW")
	w.write("NEW", "etc/motd", "mine\n")
	const hash = "fcbc800d" // begins the SHA-256 of "mine\n"
	w.ok(os.MkdirAll(w.path("NEW", "etc/.beadm-kept-"+hash+"-motd/full"), 0o755))
	r := w.switchTo("OLD", "NEW", false)
	w.want("NEW", "etc/motd", "mine\n")
	if len(r.Conflicts()) == 0 {
		t.Errorf("not said: %+v", r.Items)
	}
}
