package reconcile

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Directories that the list does not name are made as they are on the other
// side, never more open, whatever is in them.
func TestUnlistedDirectoriesAreAsThere(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/srv/app/conf/*.conf MERGE\n/opt/[a]/b/c APPEND\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("OLD", "srv/app/conf/a.conf", "for all\n") // 0644
	w.write("OLD", "opt/a/b/c", "for all\n")
	w.ok(os.Chmod(w.path("OLD", "srv/app"), 0o750))
	w.ok(os.Chown(w.path("OLD", "srv/app"), 0, 42))
	w.ok(os.Chmod(w.path("OLD", "srv/app/conf"), 0o2711))
	w.ok(os.Chown(w.path("OLD", "srv/app/conf"), 7, 42))
	w.ok(os.Chmod(w.path("OLD", "srv/app/conf"), os.ModeSetgid|0o711))
	w.ok(unix.Setxattr(w.path("OLD", "opt/a"), "user.note", []byte("x"), 0))
	w.ok(os.Chmod(w.path("OLD", "opt/a/b"), 0o700))
	w.switchTo("OLD", "NEW", false)
	w.want("NEW", "srv/app/conf/a.conf", "for all\n")
	same := func(dirs ...string) {
		t.Helper()
		for _, dir := range dirs {
			var there, here unix.Stat_t
			w.ok(unix.Stat(w.path("OLD", dir), &there))
			w.ok(unix.Stat(w.path("NEW", dir), &here))
			if there.Mode != here.Mode || there.Uid != here.Uid || there.Gid != here.Gid {
				t.Errorf("%s: %o %d:%d, there %o %d:%d", dir, here.Mode, here.Uid, here.Gid, there.Mode, there.Uid, there.Gid)
			}
		}
	}
	same("srv/app", "srv/app/conf", "opt/a", "opt/a/b")
	if n, err := unix.Getxattr(w.path("NEW", "opt/a"), "user.note", make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("attributes: %d %v", n, err)
	}
	w.switchTo("NEW", "OLD", false)
	// What is there stays as it is.
	w.ok(os.Chmod(w.path("NEW", "srv/app"), 0o700))
	w.write("OLD", "srv/app/conf/b.conf", "more\n")
	w.switchTo("OLD", "NEW", false)
	if info, err := os.Stat(w.path("NEW", "srv/app")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// So does what sync resolve has to make.
	w.switchTo("NEW", "OLD", false)
	w.write("OLD", "srv/app/conf/a.conf", "by hand\n")
	w.ok(os.RemoveAll(w.path("NEW", "srv")))
	w.switchTo("OLD", "NEW", false)
	w.open("NEW", "/srv/app/conf/a.conf")
	w.ok(os.RemoveAll(w.path("NEW", "srv")))
	w.decide("NEW", "/srv/app/conf/a.conf", TakeOutgoing, "")
	w.want("NEW", "srv/app/conf/a.conf", "by hand\n")
	same("srv/app", "srv/app/conf")
	// What is removed needs none.
	w.switchTo("NEW", "OLD", false)
	w.ok(os.Remove(w.path("OLD", "srv/app/conf/a.conf")))
	w.write("NEW", "srv/app/conf/a.conf", "a package's\n")
	w.switchTo("OLD", "NEW", false)
	w.open("NEW", "/srv/app/conf/a.conf")
	w.ok(os.RemoveAll(w.path("NEW", "srv")))
	w.decide("NEW", "/srv/app/conf/a.conf", TakeOutgoing, "")
	if _, err := os.Lstat(w.path("NEW", "srv")); err == nil {
		t.Error("a directory was made for what is removed")
	}
}
