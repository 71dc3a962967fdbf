package reconcile

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"beadm/be"
	"beadm/sync/account"
)

// prepare is the story up to the reboot: OLD runs, NEW is cloned and patched
// offline, OLD's administrator goes on meanwhile.
func prepare(t *testing.T) *world {
	w := newWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)

	// A package in NEW, offline.
	w.edit("NEW", "etc/passwd", "dave:x", "nullmail:x:101:101::/var/lib/nullmail:/usr/sbin/nologin\ndave:x")
	w.edit("NEW", "etc/shadow", "dave:$6", "nullmail:!:19001::::::\ndave:$6")
	w.edit("NEW", "etc/group", "adm:x:4:alice,bob,dave", "nullmail:x:101:\nadm:x:4:alice,bob,dave,nullmail")
	w.edit("NEW", "etc/gshadow", "adm:*::alice,bob,dave", "nullmail:!::\nadm:*::alice,bob,dave,nullmail")

	// The administrator, in the running OLD.
	w.edit("OLD", "etc/shadow", "alice:$6$alice:", "alice:!$6$alice:")  // usermod -L alice
	w.edit("OLD", "etc/shadow", "bob:$6$bob:19000", "bob:$6$new:19100") // passwd bob
	w.edit("OLD", "etc/passwd", "dave:x:1002:1002::/home/dave:/bin/bash\n", "carol:x:1003:1003::/home/carol:/bin/sh\n")
	w.edit("OLD", "etc/shadow", "dave:$6$dave:19000:0:99999:7:::\n", "carol:$6$carol:19100:0:99999:7:::\n")
	w.edit("OLD", "etc/group", "dave:x:1002:\n", "carol:x:1003:\n")
	w.edit("OLD", "etc/group", "adm:x:4:alice,bob,dave", "adm:x:4:bob,carol")
	w.edit("OLD", "etc/gshadow", "dave:!::\n", "carol:!::\n")
	w.edit("OLD", "etc/gshadow", "adm:*::alice,bob,dave", "adm:*::bob,carol")
	w.edit("OLD", "root/.ssh/authorized_keys", "key one\n", "key three\n")
	w.write("OLD", "etc/hostname", "renamed\n")
	w.ok(os.Remove(w.path("OLD", "etc/sudoers.d/alice")))
	return w
}

func wantCarried(w *world, name string) {
	w.t.Helper()
	w.want(name, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\ncarol:x:1003:1003::/home/carol:/bin/sh\nnullmail:x:101:101::/var/lib/nullmail:/usr/sbin/nologin\n")
	w.want(name, "etc/shadow", "root:*:19000:0:99999:7:::\nalice:!$6$alice:19000:0:99999:7:::\nbob:$6$new:19100:0:99999:7:::\ncarol:$6$carol:19100:0:99999:7:::\nnullmail:!:19001::::::\n")
	w.want(name, "etc/group", "root:x:0:\nadm:x:4:bob,nullmail,carol\nshadow:x:42:\nalice:x:1000:\nbob:x:1001:\ncarol:x:1003:\nnullmail:x:101:\n")
	w.want(name, "etc/gshadow", "root:*::\nadm:*::bob,nullmail,carol\nshadow:*::\nalice:!::\nbob:!::\ncarol:!::\nnullmail:!::\n")
	w.want(name, "root/.ssh/authorized_keys", "key two\nkey three\n")
	w.want(name, "etc/hostname", "renamed\n")
	if _, err := os.Lstat(w.path(name, "etc/sudoers.d/alice")); !os.IsNotExist(err) {
		w.t.Error("alice is in sudoers.d still")
	}
	info, err := os.Stat(w.path(name, "etc/shadow"))
	w.ok(err)
	if info.Mode() != 0o640 {
		w.t.Errorf("shadow has mode %v", info.Mode())
	}
	w.check(name)
}

func TestPatchOfflineWhileTheAdministratorWorks(t *testing.T) {
	w := prepare(t)
	r := w.switchTo("OLD", "NEW", false)
	wantCarried(w, "NEW")
	text, err := json.MarshalIndent(r, "", " ")
	w.ok(err)
	if strings.Contains(string(text), "$6$") {
		t.Errorf("a password in the report:\n%s", text)
	}
	for _, want := range []account.Event{
		{File: "shadow", Name: "alice", What: account.LockedBy}, {File: "shadow", Name: "bob", What: account.Password},
		{File: "passwd", Name: "carol", What: account.Added}, {File: "passwd", Name: "dave", What: account.Removed},
		{File: "group", Name: "adm", What: account.Revoked, Detail: "alice"},
	} {
		found := false
		for _, item := range r.Items {
			for _, e := range item.Records {
				found = found || e == want
			}
		}
		if !found {
			t.Errorf("not reported: %+v in\n%s", want, text)
		}
	}

	// NEW runs; its user changes a password; the administrator goes back.
	w.edit("NEW", "etc/shadow", "bob:$6$new:19100", "bob:$6$newer:19200")
	w.edit("NEW", "etc/shadow", "root:*:", "root:$6$root:")
	w.switchTo("NEW", "OLD", false)
	w.has("OLD", "etc/shadow", "bob:$6$newer:19200:0:99999:7:::")
	w.hasNot("OLD", "etc/passwd", "nullmail") // NEW's package, not the administrator
	w.hasNot("OLD", "etc/group", "nullmail")
	w.check("OLD")
}

// The reconcile of activate, up to a mark, then that of boot.
func TestMarkThenEnd(t *testing.T) {
	w := prepare(t)
	ctx := context.Background()
	w.copyTree("OLD", "snap")
	sw := Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("snap"), ToRoot: w.root("NEW"), Upto: Mark}
	dry := sw
	dry.DryRun = true
	before := tree(t, w.root("NEW")) + tree(t, w.root("state"))
	planned, err := w.a.Reconcile(ctx, dry)
	w.ok(err)
	if after := tree(t, w.root("NEW")) + tree(t, w.root("state")); after != before {
		t.Error("a dry run changed something")
	}
	done, err := w.a.Reconcile(ctx, sw)
	w.ok(err)
	planned.DryRun = false
	p, _ := json.Marshal(planned)
	d, _ := json.Marshal(done)
	if string(p) != string(d) {
		t.Errorf("planned %s\ndone %s", p, d)
	}
	wantCarried(w, "NEW")
	// More in NEW, offline, and in OLD, until the reboot.
	w.edit("NEW", "etc/passwd", "nullmail:x:101:101::", "nullmail:x:101:101:Null Mail:")
	w.edit("OLD", "etc/shadow", "carol:$6$carol:", "carol:!$6$carol:")
	w.write("OLD", "etc/hostname", "again\n")
	r := w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "carol:!$6$carol:19100:0:99999:7:::")
	w.has("NEW", "etc/passwd", "nullmail:x:101:101:Null Mail:/var/lib/nullmail:/usr/sbin/nologin")
	w.want("NEW", "etc/hostname", "again\n")
	if c := r.Conflicts(); len(c) > 0 {
		t.Errorf("conflicts: %+v", c)
	}
	w.check("NEW")
}

func TestFailedTrialCarriesOnlyWhatTakesRightsAway(t *testing.T) {
	w := prepare(t)
	w.switchTo("OLD", "NEW", false)
	w.edit("NEW", "etc/shadow", "carol:$6$carol:", "carol:!$6$other:")     // locked, and another password
	w.edit("NEW", "etc/shadow", "bob:$6$new:19100", "bob:$6$stolen:19100") // a password
	w.edit("NEW", "etc/group", "adm:x:4:bob,nullmail,carol", "adm:x:4:nullmail,carol,mallory")
	w.edit("NEW", "etc/gshadow", "adm:*::bob,nullmail,carol", "adm:*::nullmail,carol,mallory")
	w.write("NEW", "root/.ssh/authorized_keys", "key three\nkey evil\n")
	w.write("NEW", "etc/hostname", "broken\n")

	w.ok(w.a.EndRun(context.Background(), w.id("NEW"), w.root("NEW"), true))
	r, err := w.a.Reconcile(context.Background(), Switch{From: w.id("NEW"), To: w.id("OLD"), ToRoot: w.root("OLD"), Mode: SecurityOnly})
	w.ok(err)
	w.has("OLD", "etc/shadow", "carol:!$6$carol:19100:0:99999:7:::")
	w.has("OLD", "etc/shadow", "bob:$6$new:19100:0:99999:7:::")
	w.has("OLD", "etc/group", "adm:x:4:carol")
	w.want("OLD", "root/.ssh/authorized_keys", "key three\n")
	w.want("OLD", "etc/hostname", "renamed\n")
	w.check("OLD")
	left := false
	for _, item := range r.Items {
		left = left || item.Path == "/etc/hostname" && item.Action == Left
	}
	if !left {
		t.Errorf("what was set aside is not listed: %+v", r.Items)
	}
	w.begin("OLD")
	// The rest, on demand.
	_, err = w.a.Reconcile(context.Background(), Switch{From: w.id("NEW"), To: w.id("OLD"), ToRoot: w.root("OLD"), Mode: Aside})
	w.ok(err)
	w.want("OLD", "etc/hostname", "broken\n")
	w.has("OLD", "etc/shadow", "bob:$6$stolen:19100:0:99999:7:::")
}

// A → B → C → A loses nothing, though no two of them part from one another.
func TestChain(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.clone("OLD", "B", true)
	w.clone("OLD", "C", true)
	w.write("OLD", "etc/hostname", "by a\n")
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.switchTo("OLD", "B", false)
	w.write("B", "etc/timezone", "by b\n")
	w.edit("B", "etc/shadow", "bob:$6$bob:", "bob:$6$b:")
	w.switchTo("B", "C", false)
	w.want("C", "etc/hostname", "by a\n")
	w.want("C", "etc/timezone", "by b\n")
	w.has("C", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	w.write("C", "etc/machine-id", "by c\n")
	w.ok(w.a.Forget(w.id("B"))) // its run is still owed to A
	r := w.switchTo("C", "OLD", false)
	w.want("OLD", "etc/timezone", "by b\n")
	w.want("OLD", "etc/machine-id", "by c\n")
	w.has("OLD", "etc/shadow", "bob:$6$b:19000:0:99999:7:::")
	w.has("OLD", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	if c := r.Conflicts(); len(c) > 0 {
		t.Errorf("conflicts: %+v", c)
	}
	if a, c := tree(t, w.root("OLD")), tree(t, w.root("C")); a != c {
		t.Errorf("A is not as C:\n%s\n%s", a, c)
	}
}

func TestNoBase(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.copyTree("OLD", "IMPORT")
	w.edit("IMPORT", "etc/shadow", "bob:$6$bob", "bob:!$6$import")
	w.edit("IMPORT", "etc/passwd", "dave:x:1002:1002::/home/dave:/bin/bash", "erin:x:1005:1002::/home/erin:/bin/bash")
	w.edit("IMPORT", "etc/shadow", "dave:$6$dave", "erin:$6$erin")
	w.write("IMPORT", "etc/hostname", "imported\n")
	w.switchTo("OLD", "IMPORT", false)
	w.has("IMPORT", "etc/shadow", "bob:!$6$bob:19000:0:99999:7:::")
	w.has("IMPORT", "etc/passwd", "erin:x:1005:1002::/home/erin:/bin/bash")
	w.has("IMPORT", "etc/passwd", "dave:x:1002:1002::/home/dave:/bin/bash")
	w.want("IMPORT", "etc/hostname", "host\n")
	kept, err := os.ReadDir(w.path("IMPORT", "etc"))
	w.ok(err)
	found := ""
	for _, f := range kept {
		if strings.HasSuffix(f.Name(), "-hostname") {
			found = w.read("IMPORT", "etc/"+f.Name())
		}
	}
	if found != "imported\n" {
		t.Errorf("incoming's hostname is not kept beside: %q", found)
	}
	w.check("IMPORT")
}

func TestAppendOnceThroughMarkEndAndRotation(t *testing.T) {
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/log APPEND\n")
	w.write("OLD", "etc/log", strings.Repeat("old line\n", 200000)) // more than is stored inline
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("NEW", "etc/log", w.read("NEW", "etc/log")+"new's\n")
	w.write("OLD", "etc/log", w.read("OLD", "etc/log")+"one\n")
	w.copyTree("OLD", "snap")
	_, err := w.a.Reconcile(context.Background(), Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("snap"), ToRoot: w.root("NEW"), Upto: Mark})
	w.ok(err)
	w.write("OLD", "etc/log", w.read("OLD", "etc/log")+"two\n")
	w.switchTo("OLD", "NEW", false)
	if got := strings.ReplaceAll(w.read("NEW", "etc/log"), "old line\n", ""); got != "new's\none\ntwo\n" {
		t.Errorf("appended: %q", got)
	}
	w.write("NEW", "etc/log", "rotated\n")
	w.switchTo("NEW", "OLD", false)
	if got := strings.ReplaceAll(w.read("OLD", "etc/log"), "old line\n", ""); got != "one\ntwo\nrotated\n" {
		t.Errorf("after a rotation: %q", got)
	}
}

func TestStrictAndShared(t *testing.T) {
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/var/mail\n/etc/x\n")
	w.ok(os.Symlink("share/mail", w.path("OLD", "var/mail")))
	w.write("OLD", "etc/x", "x\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("OLD", "etc/x", "old's\n")
	w.write("NEW", "etc/x", "new's\n")
	w.write("OLD", "var/share/mail/alice", "more mail\n")
	w.ok(w.a.EndRun(context.Background(), w.id("OLD"), w.root("OLD"), false))
	sw := Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW"), Strict: true}
	if _, err := w.a.Reconcile(context.Background(), sw); be.KindOf(err) != be.Decision {
		t.Errorf("strict: %v", err)
	}
	sw.Strict = false
	r, err := w.a.Reconcile(context.Background(), sw)
	w.ok(err)
	actions := map[string]Action{}
	for _, item := range r.Items {
		actions[string(item.Path)] = item.Action
	}
	if actions["/var/mail"] != Shared || actions["/etc/x"] != Conflict {
		t.Errorf("items: %+v", r.Items)
	}
	w.want("NEW", "etc/x", "new's\n")
	w.want("NEW", "var/share/mail/alice", "mail\n")
	// Nothing has come since, but it is undecided.
	sw.Strict = true
	if _, err := w.a.Reconcile(context.Background(), sw); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "/etc/x") {
		t.Errorf("strict, with an open conflict: %v", err)
	}
	w.decide("NEW", "/etc/x", TakeIncoming, "")
	_, err = w.a.Reconcile(context.Background(), sw)
	w.ok(err)
}
