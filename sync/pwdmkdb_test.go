package reconcile

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// standIn is in the place of FreeBSD's pwd_mkdb(8), which cannot run here: it
// takes the options that its manual page names, leaves the same files, and is
// as strict about lines that it cannot read. What it writes into the databases
// is only to be recognised.
const standIn = `#!/bin/sh
set -e
[ "$#" = 4 ] && [ "$1" = -p ] && [ "$2" = -d ] && [ "$4" = "$3/master.passwd" ] || { echo "called $*"; exit 1; }
stat -c %a "$3" "$4" >> "$0.modes"
awk -F: '/^#/ || /^$/ {next} NF != 10 {exit 1}' "$4" || { echo "pwd_mkdb: corrupted entry"; exit 1; }
awk -F: '{print $1":*:"$3":"$4":"$8":"$9":"$10}' "$4" > "$3/passwd"
{ echo db; cut -d: -f1 "$4"; } > "$3/pwd.db"
umask 077
{ echo sdb; cat "$4"; } > "$3/spwd.db"
`

const (
	baseMaster = "# $FreeBSD$\nroot:$6$root:0:0::0:0:Charlie:/root:/bin/csh\nalice:$6$alice:1001:1001::0:0::/home/alice:/bin/sh\nbroken\n"
)

func freebsd(t *testing.T) *world {
	w := newWorld(t)
	w.a.GOOS, w.a.pwdMkdb = "freebsd", w.path("tools", "pwd_mkdb")
	w.write("tools", "pwd_mkdb", standIn)
	w.ok(os.Chmod(w.a.pwdMkdb, 0o755))
	for _, f := range []string{"etc/shadow", "etc/gshadow", "etc/passwd"} {
		w.ok(os.Remove(w.path("OLD", f)))
	}
	w.write("OLD", "etc/master.passwd", baseMaster)
	w.ok(os.Chmod(w.path("OLD", "etc/master.passwd"), 0o600))
	w.write("OLD", "etc/passwd", "stale\n")
	w.write("OLD", "etc/spwd.db", "stale\n")
	w.ok(os.Chmod(w.path("OLD", "etc/spwd.db"), 0o600))
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("OLD", "etc/master.passwd", "alice:$6$", "alice:*LOCKED*$6$") // pw lock alice
	return w
}

// A lock on FreeBSD is none until the databases hold it.
func TestFreeBSDDatabases(t *testing.T) {
	w := freebsd(t)
	w.edit("NEW", "etc/master.passwd", "broken\n", "svc:*:80:80::0:0::/:/usr/sbin/nologin\nbroken\n") // a package's
	w.switchTo("OLD", "NEW", false)
	w.has("NEW", "etc/master.passwd", "alice:*LOCKED*$6$alice:1001:1001::0:0::/home/alice:/bin/sh")
	for _, file := range []string{"etc/spwd.db"} {
		w.has("NEW", file, "alice:*LOCKED*$6$alice:1001:1001::0:0::/home/alice:/bin/sh")
		w.has("NEW", file, "svc:*:80:80::0:0::/:/usr/sbin/nologin")
	}
	w.has("NEW", "etc/passwd", "svc:*:80:80::/:/usr/sbin/nologin")
	w.has("NEW", "etc/pwd.db", "svc")
	for file, mode := range map[string]fs.FileMode{"etc/spwd.db": 0o600, "etc/pwd.db": 0o644, "etc/passwd": 0o644, "etc/master.passwd": 0o600} {
		info, err := os.Stat(w.path("NEW", file))
		w.ok(err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	if got := w.read("tools", "pwd_mkdb.modes"); got != "700\n600\n" {
		t.Errorf("made once, in a directory of root's alone: modes %q", got)
	}
	if left := tree(t, w.root("state")); strings.Contains(left, "pwd-") {
		t.Errorf("left in the state:\n%s", left)
	}
}

// A guest's link in the place of a database leads nowhere.
func TestFreeBSDDatabasesFollowNoLink(t *testing.T) {
	w := freebsd(t)
	w.write("outside", "victim", "mine\n")
	for _, f := range []string{"etc/spwd.db", "etc/pwd.db.tmp", "etc/spwd.db.tmp"} {
		os.Remove(w.path("NEW", f))
		w.ok(os.Symlink(w.path("outside", "victim"), w.path("NEW", f)))
	}
	w.switchTo("OLD", "NEW", false)
	w.want("outside", "victim", "mine\n")
	w.has("NEW", "etc/spwd.db", "alice:*LOCKED*$6$alice:1001:1001::0:0::/home/alice:/bin/sh")
}

// Without the databases the switch is not done: it is owed, not thought done.
func TestFreeBSDDatabasesCannotBeMade(t *testing.T) {
	w := freebsd(t)
	w.write("tools", "pwd_mkdb", "#!/bin/sh\necho no room; exit 1\n")
	before := tree(t, w.root("NEW"))
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	sw := Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")}
	if _, err := w.a.Reconcile(t.Context(), sw); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
	if after := tree(t, w.root("NEW")); after != before {
		t.Errorf("half done:\n%s", diffLines(before, after))
	}
	// And cut between the text and the databases, they are made all the same.
	w.write("tools", "pwd_mkdb", standIn)
	w.a.cut = func(what string) error {
		if what == "rename /etc/spwd.db" {
			return errCut
		}
		return nil
	}
	if _, err := w.a.Reconcile(t.Context(), sw); err == nil {
		t.Fatal("not cut")
	}
	w.a.cut = nil
	w.has("NEW", "etc/spwd.db", "stale")
	_, err := w.a.Reconcile(t.Context(), sw)
	w.ok(err)
	w.has("NEW", "etc/spwd.db", "alice:*LOCKED*$6$alice:1001:1001::0:0::/home/alice:/bin/sh")
}
