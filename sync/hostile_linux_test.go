package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// oddNames are what people and guests call files.
var oddNames = []string{"a\nb", "a\tb", "-a", "--take=outgoing", "#x", " ", "x ", "*", "[a", `\`, `a\x0ab`, "\xff\xfe", "\u009b31m", "..x", "...", ".hidden", strings.Repeat("n", 255), "%s", "!x", "~", "'\"$(id)"}

// A file of any name is carried, comes in conflict, is kept beside, decided and
// removed as any other.
func TestOddNames(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n")
	for _, name := range oddNames {
		for _, dir := range []string{"etc/tree/carried/", "etc/tree/clash/", "etc/tree/gone/"} {
			w.write("OLD", dir+name, "1\n")
		}
		w.write("OLD", "etc/tree/"+name+"/below", "1\n")
	}
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	for _, name := range oddNames {
		w.write("OLD", "etc/tree/carried/"+name, "2\n")
		w.write("OLD", "etc/tree/"+name+"/below", "2\n")
		w.write("OLD", "etc/tree/clash/"+name, "2\n")
		w.write("NEW", "etc/tree/clash/"+name, "3\n")
		w.ok(os.Remove(w.path("OLD", "etc/tree/gone/"+name)))
	}
	r := w.switchTo("OLD", "NEW", false)
	for _, name := range oddNames {
		w.want("NEW", "etc/tree/carried/"+name, "2\n")
		w.want("NEW", "etc/tree/"+name+"/below", "2\n")
		w.want("NEW", "etc/tree/clash/"+name, "3\n")
		if _, err := os.Lstat(w.path("NEW", "etc/tree/gone/"+name)); !os.IsNotExist(err) {
			t.Errorf("%q is not removed", name)
		}
	}
	// The report holds the names, also as JSON.
	data, err := json.Marshal(r)
	w.ok(err)
	var again Report
	w.ok(json.Unmarshal(data, &again))
	if c := again.Conflicts(); len(c) != len(oddNames) {
		t.Errorf("%d conflicts, not %d", len(c), len(oddNames))
	} else {
		for i, c := range c {
			if c.Path != r.Conflicts()[i].Path || w.read("NEW", string(c.Saved)) != "2\n" {
				t.Errorf("%q and %q", c.Path, c.Saved)
			}
		}
	}
	for _, name := range oddNames {
		if kept := w.decide("NEW", "/etc/tree/clash/"+name, TakeOutgoing, ""); w.read("NEW", kept) != "3\n" {
			t.Errorf("%q: not kept", name)
		}
		w.want("NEW", "etc/tree/clash/"+name, "2\n")
	}
	w.open("NEW")
}

// Links lead out of the boot environment in every way, at every level of a
// path, on either side: nothing outside is read or written.
func TestLinksOutAtEveryLevel(t *testing.T) {
	const deep = "etc/tree/a/b/c/file"
	parts := strings.Split(deep, "/")
	for level := 1; level <= len(parts); level++ {
		for name, target := range map[string]func(outside string) string{
			"absolute":        func(o string) string { return o },
			"by ..":           func(o string) string { return strings.Repeat("../", 40) + o },
			"by its own root": func(o string) string { return "/../../.." + o },
		} {
			for _, side := range []string{"OLD", "NEW"} {
				t.Run(fmt.Sprintf("%s, level %d of %s", name, level, side), func(t *testing.T) {
					t.Parallel()
					w := quickWorld(t)
					w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n")
					w.write("OLD", deep, "1\n")
					w.begin("OLD")
					w.clone("OLD", "NEW", true)
					w.write("OLD", deep, "2\n")
					// Outside there is the rest of the path, with a secret.
					w.write("outside", strings.Join(parts[level-1:], "/"), "not yours\n")
					at := w.path(side, strings.Join(parts[:level], "/"))
					w.ok(os.RemoveAll(at))
					w.ok(os.Symlink(target(w.path("outside", parts[level-1])), at))
					before := tree(t, w.root("outside"))
					// What is odd may be refused, but neither followed nor harmful.
					if err := w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false); err != nil {
						t.Fatal(err)
					}
					_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")})
					w.ok(err)
					if after := tree(t, w.root("outside")); after != before {
						t.Errorf("outside changed:\n%s", diffLines(before, after))
					}
					for _, dir := range []string{"NEW", "state"} {
						if strings.Contains(tree(t, w.root(dir)), "not yours") {
							t.Errorf("what is outside was read into %s", dir)
						}
					}
				})
			}
		}
	}
}

// A directory that is exchanged for a link at any moment leads nowhere: the
// exchange is made before each of the effects in turn, and back and forth all
// the time beside it.
func TestDirectorySwappedForALink(t *testing.T) {
	make := func(t *testing.T) *world {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n/srv/conf\n")
		for _, f := range []string{"etc/tree/d/a", "etc/tree/d/gone", "srv/conf"} {
			w.write("OLD", f, "1\n")
		}
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.write("OLD", "etc/tree/d/a", "2\n")
		w.write("OLD", "etc/tree/d/sub/new", "2\n")
		w.write("OLD", "srv/conf", "2\n")
		w.ok(os.Remove(w.path("OLD", "etc/tree/d/gone")))
		w.ok(os.Chmod(w.path("OLD", "etc/tree/d"), 0o700))
		for _, f := range []string{"a", "gone", "sub/new", "conf"} {
			w.write("outside", f, "mine\n")
		}
		w.ok(w.a.EndRun(context.Background(), w.id("OLD"), w.root("OLD"), false))
		for _, dir := range []string{"etc/tree/d", "srv"} {
			w.ok(os.Symlink(w.root("outside"), w.path("NEW", dir+".link")))
		}
		return w
	}
	swap := func(w *world) {
		for _, dir := range []string{"etc/tree/d", "srv"} {
			unix.Renameat2(unix.AT_FDCWD, w.path("NEW", dir), unix.AT_FDCWD, w.path("NEW", dir+".link"), unix.RENAME_EXCHANGE)
		}
	}
	reconcile := func(w *world) {
		// It may fail: somebody is at work there. It is owed then.
		w.a.Reconcile(context.Background(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")})
	}
	for n := 1; ; n++ {
		w := make(t)
		before, count := tree(t, w.root("outside")), 0
		w.a.cut = func(string) error {
			if count++; count == n {
				swap(w)
			}
			return nil
		}
		reconcile(w)
		if after := tree(t, w.root("outside")); after != before {
			t.Fatalf("exchanged before effect %d, outside changed:\n%s", n, diffLines(before, after))
		}
		if count < n {
			t.Logf("exchanged before each of %d effects", count)
			if count < 8 {
				t.Error("too few")
			}
			break
		}
	}
	var stop atomic.Bool
	for range 5 {
		w := make(t)
		before := tree(t, w.root("outside"))
		stop.Store(false)
		done := startSwapping(&stop, func() { swap(w) })
		reconcile(w)
		stop.Store(true)
		<-done
		if after := tree(t, w.root("outside")); after != before {
			t.Fatalf("outside changed:\n%s", diffLines(before, after))
		}
	}
}

func startSwapping(stop *atomic.Bool, swap func()) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			swap()
		}
	}()
	return done
}

// Devices and FIFOs are not opened, on no side and under no keyword.
func TestDevicesAreNotOpened(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/o\n/etc/m MERGE\n/etc/a APPEND\n/etc/p PREPEND\n/etc/shadow OVERWRITE!\n")
	kinds := []string{"fifo", "null", "tape", "socket"}
	for _, dir := range []string{"o", "m", "a", "p"} {
		for _, kind := range kinds {
			w.write("OLD", "etc/"+dir+"/there-"+kind, "1\n")
			w.write("OLD", "etc/"+dir+"/here-"+kind, "1\n")
		}
	}
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	// Opening it says ENXIO, and where a driver is, rewinds the tape.
	node := func(name, path, kind string) {
		p := w.path(name, path)
		w.ok(os.RemoveAll(p))
		w.ok(unix.Mknod(p, map[string]uint32{"fifo": unix.S_IFIFO, "null": unix.S_IFCHR, "tape": unix.S_IFCHR, "socket": unix.S_IFSOCK}[kind]|0o644,
			int(unix.Mkdev(map[string]uint32{"null": 1, "tape": 9}[kind], map[string]uint32{"null": 3}[kind]))))
	}
	for _, dir := range []string{"o", "m", "a", "p"} {
		for _, kind := range kinds {
			node("OLD", "etc/"+dir+"/there-"+kind, kind)
			w.add("OLD", "etc/"+dir+"/here-"+kind, "2\n")
			node("NEW", "etc/"+dir+"/here-"+kind, kind)
		}
	}
	finished := make(chan Report)
	go func() { finished <- w.switchTo("OLD", "NEW", false) }()
	var r Report
	select {
	case r = <-finished:
	case <-time.After(time.Minute):
		t.Fatal("blocked")
	}
	actions := map[string]Item{}
	for _, item := range r.Items {
		actions[string(item.Path)] = item
	}
	for _, dir := range []string{"o", "m", "a", "p"} {
		for _, kind := range kinds {
			for _, path := range []string{"/etc/" + dir + "/there-" + kind, "/etc/" + dir + "/here-" + kind} {
				if item := actions[path]; item.Action != Conflict || item.Reason == "" {
					t.Errorf("%s: %+v", path, item)
				}
			}
			w.want("NEW", "etc/"+dir+"/there-"+kind, "1\n")
			if info, err := os.Lstat(w.path("NEW", "etc/"+dir+"/here-"+kind)); err != nil || info.Mode().IsRegular() {
				t.Errorf("the %s in NEW is gone", kind)
			}
		}
	}
}

// A log that is written to while it is read is carried up to some line, and
// the rest later: each line once.
func TestLogGrowsWhileItIsRead(t *testing.T) {
	w := quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/var/log/app APPEND\n")
	w.write("OLD", "var/log/app", strings.Repeat("x", 2<<20)+"\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	var stop atomic.Bool
	lines := 0
	done := startSwapping(&stop, func() {
		w.add("OLD", "var/log/app", fmt.Sprintf("line %d\n", lines))
		lines++
	})
	for range 4 {
		_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("OLD"), ToRoot: w.root("NEW"), Upto: Mark})
		w.ok(err)
	}
	stop.Store(true)
	<-done
	w.switchTo("OLD", "NEW", false)
	if old, new := w.read("OLD", "var/log/app"), w.read("NEW", "var/log/app"); old != new || lines == 0 {
		t.Errorf("%d lines: %d bytes became %d", lines, len(old), len(new))
	}
}

// While the account files are replaced, and at every moment of it, no file with
// a password in it can be read by more than those who could read the one it
// replaces.
func TestNobodyElseReadsPasswords(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"0640, of group shadow": 0o640, "0600": 0o600, "0": 0} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			w.ok(os.Chmod(w.path("NEW", "etc/shadow"), mode))
			w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
			looked := 0
			look := func() {
				for _, dir := range []string{"NEW", "state"} {
					filepath.WalkDir(w.root(dir), func(path string, d fs.DirEntry, err error) error {
						if err != nil || !d.Type().IsRegular() {
							return nil
						}
						f, err := os.Open(path)
						if err != nil {
							return nil
						}
						defer f.Close()
						// Content and mode of one file, whatever its name is by now.
						buf := make([]byte, 64<<10)
						n, _ := f.Read(buf)
						if !strings.Contains(string(buf[:n]), "$6$") {
							return nil
						}
						looked++
						var st unix.Stat_t
						if unix.Fstat(int(f.Fd()), &st) != nil {
							return nil
						}
						allowed := uint32(mode) &^ 0o040
						if st.Gid == 42 {
							allowed = uint32(mode)
						}
						if strings.Contains(path, "/state/") {
							allowed = 0o600
						}
						if more := st.Mode & 0o777 &^ (allowed | 0o600); more != 0 || st.Uid != 0 {
							t.Errorf("%s has mode %#o, owner %d:%d", strings.TrimPrefix(path, w.dir), st.Mode, st.Uid, st.Gid)
						}
						return nil
					})
				}
			}
			w.a.cut = func(string) error { look(); return nil }
			var stop atomic.Bool
			done := startSwapping(&stop, func() {
				// As fast as can be, the one directory where they are made.
				files, _ := os.ReadDir(w.path("NEW", "etc"))
				for _, f := range files {
					if info, err := f.Info(); err == nil && strings.HasPrefix(f.Name(), ".beadm-new-") && info.Mode().Perm()&0o004 != 0 && info.Size() > 0 {
						if data, err := os.ReadFile(w.path("NEW", "etc/"+f.Name())); err == nil && strings.Contains(string(data), "$6$") {
							t.Errorf("%s can be read by all", f.Name())
						}
					}
				}
			})
			_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")})
			w.ok(err)
			stop.Store(true)
			<-done
			if looked == 0 {
				t.Error("nothing with a password was seen")
			}
			info, err := os.Stat(w.path("NEW", "etc/shadow"))
			w.ok(err)
			if info.Mode() != mode {
				t.Errorf("shadow has mode %v afterwards", info.Mode())
			}
		})
	}
}
