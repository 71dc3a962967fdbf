package reconcile

import (
	"os"
	"testing"
)

// Guests are made from a template, and made again from a newer one: what was
// changed in the guest comes along each time, from the day it was made on; the
// template's news stay; and going back brings none of them.
func TestMadeFromATemplate(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc MERGE\n")
	const conf = "one\n--\ntwo\n--\nthree\n--\nfour\n"
	for _, name := range []string{"app.conf", "clash.conf", "dropped.conf", "plain.conf"} {
		w.write("OLD", "etc/app/"+name, conf)
	}
	w.copyTree("OLD", "T1") // templates never run
	made := func(template, guest string) {
		t.Helper()
		w.copyTree(template, guest)
		w.ok(w.a.FromTemplate(t.Context(), w.id(guest), Snapshot{Root: w.root(guest)}))
	}
	is := func(guest, path, want string) {
		t.Helper()
		if got := w.read(guest, path); got != want {
			t.Errorf("%s in %s: %q, wanted %q", path, guest, got, want)
		}
	}

	// The guest is set up before it runs, and goes on being changed.
	made("T1", "web1")
	w.write("web1", "etc/hostname", "web1\n")
	w.edit("web1", "etc/app/app.conf", "one", "web1's")
	w.begin("web1")
	w.edit("web1", "etc/shadow", "alice:$6$alice:", "alice:!$6$alice:")
	w.ok(os.Remove(w.path("web1", "etc/app/dropped.conf")))
	w.edit("web1", "etc/app/clash.conf", "two", "web1's")

	// The next template has news.
	w.copyTree("T1", "T2")
	w.edit("T2", "etc/app/app.conf", "four", "news")
	w.edit("T2", "etc/app/clash.conf", "two", "news")
	w.edit("T2", "etc/app/plain.conf", "one", "news")
	w.write("T2", "etc/app/new.conf", "new\n")
	made("T2", "web2")
	r := w.switchTo("web1", "web2", false)
	for path, want := range map[string]string{
		"etc/hostname": "web1\n", "etc/app/app.conf": "web1's\n--\ntwo\n--\nthree\n--\nnews\n", "etc/app/new.conf": "new\n",
		"etc/app/plain.conf": "news\n--\ntwo\n--\nthree\n--\nfour\n", "etc/app/clash.conf": "one\n--\nnews\n--\nthree\n--\nfour\n",
	} {
		is("web2", path, want)
	}
	w.has("web2", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	if _, err := os.Lstat(w.path("web2", "etc/app/dropped.conf")); !os.IsNotExist(err) {
		t.Errorf("dropped.conf is there again: %v", err)
	}
	if c := r.Conflicts(); len(c) != 1 || c[0].Path != "/etc/app/clash.conf" {
		t.Errorf("conflicts: %+v", c)
	}

	// A third one, with what was changed in the first and in the second.
	w.edit("web2", "etc/app/app.conf", "three", "later")
	w.ok(w.a.EndRun(t.Context(), w.id("web2"), w.root("web2"), false)) // nothing is kept for its own sake
	w.ok(w.a.Forget(w.id("web1")))
	w.copyTree("T2", "T3")
	w.edit("T3", "etc/app/plain.conf", "four", "more news")
	made("T3", "web3")
	w.switchTo("web2", "web3", false)
	is("web3", "etc/hostname", "web1\n")
	is("web3", "etc/app/app.conf", "web1's\n--\ntwo\n--\nlater\n--\nnews\n")
	is("web3", "etc/app/plain.conf", "news\n--\ntwo\n--\nthree\n--\nmore news\n")
	w.has("web3", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")

	// Back: what was changed there comes, the template's news do not.
	w.edit("web3", "etc/shadow", "bob:$6$bob:", "bob:!$6$bob:")
	w.switchTo("web3", "web2", false)
	w.has("web2", "etc/shadow", "bob:!$6$bob:19000:0:99999:7:::")
	is("web2", "etc/app/plain.conf", "news\n--\ntwo\n--\nthree\n--\nfour\n")
}

// Of a trial that failed in the guest the next one made has only what takes
// rights away; the rest can be asked for.
func TestFailedRunOfATemplatesGuest(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc MERGE\n")
	w.write("OLD", "etc/motd", "template's\n")
	w.copyTree("OLD", "web1")
	w.ok(w.a.FromTemplate(t.Context(), w.id("web1"), Snapshot{Root: w.root("web1")}))
	w.write("web1", "etc/hostname", "web1\n")
	w.begin("web1")
	w.write("web1", "etc/motd", "broken\n")
	w.edit("web1", "etc/shadow", "alice:$6$alice:", "alice:!$6$alice:")
	w.copyTree("OLD", "web2")
	w.ok(w.a.FromTemplate(t.Context(), w.id("web2"), Snapshot{Root: w.root("web2")}))
	w.switchTo("web1", "web2", true)
	w.want("web2", "etc/hostname", "web1\n")
	w.want("web2", "etc/motd", "template's\n")
	w.has("web2", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
	_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("web1"), To: w.id("web2"), ToRoot: w.root("web2"), Mode: Aside})
	w.ok(err)
	w.want("web2", "etc/motd", "broken\n")
}

// What came from elsewhere has no template in common: then the rule for no base
// holds, and it is said.
func TestTemplateOfAnother(t *testing.T) {
	w := quickWorld(t)
	w.begin("OLD")
	w.write("OLD", "etc/hostname", "old\n")
	w.copyTree("OLD", "NEW")
	w.write("NEW", "etc/hostname", "template\n")
	w.ok(w.a.FromTemplate(t.Context(), w.id("NEW"), Snapshot{Root: w.root("NEW")}))
	r := w.switchTo("OLD", "NEW", false)
	if got := w.read("NEW", "etc/hostname"); got != "old\n" || len(r.Notes) == 0 {
		t.Errorf("hostname %q, notes %q", got, r.Notes)
	}
}
