package reconcile

import (
	"os"
	"testing"
)

// The example of synclist(5): all of /etc is merged file by file, and in a file
// line by line. What was changed by hand comes, what the new one brings stays,
// what both changed is a conflict of that file alone.
func TestWholeEtc(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc MERGE\n!/etc/ld.so.cache\n")
	const conf = "one\n--\ntwo\n--\nthree\n--\nfour\n"
	for _, name := range []string{"app.conf", "clash.conf", "theirs.conf", "ours.conf", "dropped.conf", "obsolete.conf"} {
		w.write("OLD", "etc/app/"+name, conf)
	}
	w.write("OLD", "etc/ld.so.cache", "\x00old")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	// By hand.
	w.edit("OLD", "etc/app/app.conf", "one", "by hand")
	w.edit("OLD", "etc/app/clash.conf", "two", "by hand")
	w.edit("OLD", "etc/app/ours.conf", "three", "by hand")
	w.ok(os.Remove(w.path("OLD", "etc/app/dropped.conf")))
	w.write("OLD", "etc/app/conf.d/local", "by hand\n")
	w.ok(os.Symlink("../app.conf", w.path("OLD", "etc/app/conf.d/link")))
	w.ok(os.Chmod(w.path("OLD", "etc/app/theirs.conf"), 0o600))
	w.write("OLD", "etc/ld.so.cache", "\x00old, made anew")
	// By the new one's packages.
	w.edit("NEW", "etc/app/app.conf", "four", "news")
	w.edit("NEW", "etc/app/clash.conf", "two", "news")
	w.edit("NEW", "etc/app/theirs.conf", "one", "news")
	w.ok(os.Remove(w.path("NEW", "etc/app/obsolete.conf")))
	w.write("NEW", "etc/app/conf.d/default", "news\n")
	w.write("NEW", "etc/ld.so.cache", "\x00new")
	w.edit("NEW", "etc/passwd", "dave:x", "daemon:x:101:4::/:/usr/sbin/nologin\ndave:x")
	w.edit("NEW", "etc/shadow", "dave:$6", "daemon:!:19001::::::\ndave:$6")
	w.switchTo("OLD", "NEW", false)
	for name, want := range map[string]string{
		"app/app.conf":       "by hand\n--\ntwo\n--\nthree\n--\nnews\n",
		"app/clash.conf":     "one\n--\nnews\n--\nthree\n--\nfour\n",
		"app/ours.conf":      "one\n--\ntwo\n--\nby hand\n--\nfour\n",
		"app/theirs.conf":    "news\n--\ntwo\n--\nthree\n--\nfour\n",
		"app/conf.d/local":   "by hand\n",
		"app/conf.d/default": "news\n",
		"ld.so.cache":        "\x00new",
	} {
		if got := w.read("NEW", "etc/"+name); got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
	for _, name := range []string{"dropped.conf", "obsolete.conf"} {
		if _, err := os.Lstat(w.path("NEW", "etc/app/"+name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if target, err := os.Readlink(w.path("NEW", "etc/app/conf.d/link")); err != nil || target != "../app.conf" {
		t.Errorf("%q %v", target, err)
	}
	if info, err := os.Stat(w.path("NEW", "etc/app/theirs.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	w.has("NEW", "etc/passwd", "daemon:x:101:4::/:/usr/sbin/nologin")
	w.open("NEW", "/etc/app/clash.conf")
}
