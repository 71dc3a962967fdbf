package reconcile

import (
	"os"
	"testing"
	"time"

	"beadm/sync/synclist"
)

// shippedList is /etc/lu/synclist as Solaris 10 shipped it: synclist(4),
// "Examples", and the Live Upgrade guide (Oracle, 820-7013), "Synchronizing
// Files Between Boot Environments".
const shippedList = `/var/mail                    OVERWRITE
/var/spool/mqueue            OVERWRITE
/var/spool/cron/crontabs     OVERWRITE
/var/dhcp                    OVERWRITE
/etc/passwd                  OVERWRITE
/etc/shadow                  OVERWRITE
/etc/opasswd                 OVERWRITE
/etc/oshadow                 OVERWRITE
/etc/group                   OVERWRITE
/etc/pwhist                  OVERWRITE
/etc/default/passwd          OVERWRITE
/etc/dfs                     OVERWRITE
/var/log/syslog              APPEND
/var/adm/messages            APPEND
`

// solaris is a machine that comes from Live Upgrade with its list.
func solaris(t *testing.T, more string) *world {
	w := newWorld(t)
	w.a.GOOS = "illumos"
	w.write("OLD", "etc/lu/synclist", shippedList+more)
	for path, content := range map[string]string{
		"etc/dfs/dfstab": "share /a\n", "etc/dfs/sharetab": "/a\n", "etc/default/passwd": "MAXWEEKS=\n",
		"var/mail/alice": "From a\n", "var/adm/messages": "boot\n", "var/log/syslog": "one\n",
		"var/dhcp/net": "lease\n", "etc/issue": "hello\n", "etc/first": "1\n",
	} {
		w.write("OLD", path, content)
	}
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	return w
}

func TestLiveUpgradeListIsReadAsItIs(t *testing.T) {
	w := solaris(t, "")
	list, err := List(w.root("OLD"), "illumos")
	w.ok(err)
	for path, want := range map[string]synclist.Action{
		"/var/mail/alice": synclist.Overwrite, "/etc/dfs/dfstab": synclist.Overwrite, "/etc/passwd": synclist.Overwrite,
		"/var/adm/messages": synclist.Append, "/var/log/syslog": synclist.Append, "/var/spool/cron/crontabs/root": synclist.Overwrite,
	} {
		if r, ok := list.Match(path); !ok || r.Action != want || r.Source != synclist.LiveUpgradePath {
			t.Errorf("%s: %+v %v, wanted %s of its file", path, r, ok, want)
		}
	}
}

// The four cases of OVERWRITE, for a file and for what a directory on the list
// holds.
func TestLiveUpgradeOverwrite(t *testing.T) {
	w := solaris(t, "/etc/issue\n")
	// Changed here, or there, or on both sides.
	w.write("OLD", "etc/dfs/dfstab", "share /a\nshare /b\n")
	w.write("NEW", "etc/default/passwd", "MAXWEEKS=8\n")
	w.write("OLD", "etc/issue", "theirs\n")
	w.write("NEW", "etc/issue", "ours\n")
	// Added, with all that a file has; removed.
	w.write("OLD", "etc/dfs/deep/er/new", "new\n")
	at := time.Date(2009, 3, 1, 12, 0, 0, 123456789, time.UTC)
	added := w.path("OLD", "etc/dfs/deep/er/new")
	w.ok(os.Chown(added, 7, 8))
	w.ok(os.Chmod(added, 0o2640))
	w.ok(os.Chmod(added, 0o640|os.ModeSetgid))
	w.ok(os.Chtimes(added, at, at))
	w.ok(os.Remove(w.path("OLD", "etc/dfs/sharetab")))
	r := w.switchTo("OLD", "NEW", false)

	w.want("NEW", "etc/dfs/dfstab", "share /a\nshare /b\n")
	w.want("NEW", "etc/default/passwd", "MAXWEEKS=8\n")
	w.want("NEW", "etc/issue", "ours\n")
	w.want("NEW", "etc/dfs/sharetab", "/a\n") // it never deletes
	w.want("NEW", "etc/dfs/deep/er/new", "new\n")
	info, err := os.Stat(w.path("NEW", "etc/dfs/deep/er/new"))
	w.ok(err)
	if info.Mode() != 0o640|os.ModeSetgid || !info.ModTime().Equal(at) {
		t.Errorf("mode %v, time %v", info.Mode(), info.ModTime())
	}
	if c := r.Conflicts(); len(c) != 1 || c[0].Path != "/etc/issue" {
		t.Errorf("conflicts: %+v", c)
	}
}

// APPEND and PREPEND, without Live Upgrade's doubling.
func TestLiveUpgradeAppendPrepend(t *testing.T) {
	w := solaris(t, "/etc/first PREPEND\n")
	w.write("OLD", "var/adm/messages", "boot\npanic\n")
	w.write("NEW", "var/adm/messages", "boot\npatched\n")
	w.write("OLD", "var/log/syslog", "one\ntwo\n")
	w.write("OLD", "etc/first", "1\n2\n")
	w.write("NEW", "etc/first", "0\n1\n")
	w.switchTo("OLD", "NEW", false)
	for path, want := range map[string]string{
		"var/adm/messages": "boot\npatched\npanic\n", "var/log/syslog": "one\ntwo\n", "etc/first": "2\n0\n1\n",
	} {
		if got := w.read("NEW", path); got != want {
			t.Errorf("%s: %q, wanted %q", path, got, want)
		}
	}
	// And back: only what is new.
	w.write("NEW", "var/adm/messages", "boot\npatched\npanic\nrun\n")
	w.switchTo("NEW", "OLD", false)
	if got := w.read("OLD", "var/adm/messages"); got != "boot\npanic\nrun\n" {
		t.Errorf("messages: %q", got)
	}
}

// A keyword on a directory holds for the files below it; those that only files
// can have do nothing to what is no file.
func TestLiveUpgradeKeywordsOnDirectories(t *testing.T) {
	w := solaris(t, "/var/dhcp APPEND\n")
	w.write("OLD", "var/dhcp/net", "lease\nlease 2\n")
	w.write("NEW", "var/dhcp/net", "lease\nother\n")
	w.write("OLD", "var/dhcp/sub/more", "lease 3\n")
	r := w.switchTo("OLD", "NEW", false)
	w.want("NEW", "var/dhcp/net", "lease\nother\nlease 2\n")
	w.want("NEW", "var/dhcp/sub/more", "lease 3\n")
	if c := r.Conflicts(); len(c) != 0 {
		t.Errorf("conflicts: %+v", c)
	}
}

// What Live Upgrade lost: whole account files won, and with them a lock, or a
// package's user, was gone.
func TestLiveUpgradeUnlocksNobody(t *testing.T) {
	w := solaris(t, "")
	w.edit("OLD", "etc/shadow", "alice:$6$alice:", "alice:*LK*$6$alice:")
	w.edit("OLD", "etc/shadow", "bob:$6$bob:", "bob:$6$newbob:")
	w.edit("NEW", "etc/shadow", "dave:$6", "pkguser:NP:6445::::::\ndave:$6")
	w.edit("NEW", "etc/passwd", "dave:x", "pkguser:x:80:80::/:/bin/false\ndave:x")
	w.edit("NEW", "etc/shadow", "bob:$6$bob:", "bob:*LK*$6$bob:")
	w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/shadow", "alice:*LK*$6$alice:19000:0:99999:7:::")
	w.has("NEW", "etc/shadow", "pkguser:NP:6445::::::")
	w.hasNot("NEW", "etc/shadow", "\nbob:$6$newbob:")
}

// What is in flight is in the shared dataset and no boot environment's.
func TestLiveUpgradeLosesNothingInFlight(t *testing.T) {
	w := solaris(t, "")
	for _, name := range []string{"OLD", "NEW"} {
		w.ok(os.RemoveAll(w.path(name, "var/mail")))
		w.ok(os.Symlink("share/mail", w.path(name, "var/mail")))
	}
	w.write("NEW", "var/share/mail/alice", "From a\nFrom b, just now\n")
	w.write("OLD", "var/share/mail/alice", "From a\n")
	r := w.switchTo("OLD", "NEW", false)
	w.want("NEW", "var/share/mail/alice", "From a\nFrom b, just now\n")
	shared := false
	for _, item := range r.Items {
		shared = shared || item.Path == "/var/mail" && item.Action == Shared
	}
	if !shared {
		t.Errorf("not said that it is shared: %+v", r.Items)
	}
}
