package reconcile

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// rich is prepare with every kind of effect: content, links, directories,
// metadata, removals, appending, a merge and a conflict.
func rich(t *testing.T) *world {
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n/etc/log APPEND\n/etc/mode\n/etc/pre PREPEND\n")
	w.write("OLD", "etc/tree/text", "1\n2\n3\n4\n5\n")
	w.write("OLD", "etc/tree/clash", "x\n")
	w.write("OLD", "etc/tree/gone/file", "x\n")
	w.write("OLD", "etc/log", "a\n")
	w.write("OLD", "etc/pre", "a\n")
	w.write("OLD", "etc/mode", "m\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("NEW", "etc/tree/text", "5\n", "five\n")
	w.write("NEW", "etc/tree/clash", "new\n")
	w.edit("NEW", "etc/passwd", "dave:x", "nullmail:x:101:42::/:/usr/sbin/nologin\ndave:x")
	w.edit("NEW", "etc/shadow", "dave:$6", "nullmail:!:19001::::::\ndave:$6")

	w.edit("OLD", "etc/tree/text", "1\n", "one\n")
	w.write("OLD", "etc/tree/clash", "old\n")
	w.ok(os.RemoveAll(w.path("OLD", "etc/tree/gone")))
	w.write("OLD", "etc/tree/dir/deep/file\xff", "new\n")
	w.ok(os.Symlink("/etc/tree/text", w.path("OLD", "etc/tree/link")))
	w.write("OLD", "etc/log", "a\nb\n")
	w.write("OLD", "etc/pre", "a\nb\n")
	w.ok(os.Chmod(w.path("OLD", "etc/mode"), 0o600))
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.edit("OLD", "etc/passwd", "bob:x:1001:1001::/home/bob:/bin/bash", "bob:x:1001:1001::/home/bob:/usr/sbin/nologin")
	return w
}

// After a cut at any effect the switch is made again and comes to the same
// end as if it had never been cut, even if OLD ran on in between.
func TestCutAtEveryEffect(t *testing.T) {
	for _, upto := range []Upto{EndOfRun, Mark} {
		t.Run(fmt.Sprint(upto), func(t *testing.T) {
			finish := func(w *world, cutAt int) (done bool, effects []string) {
				ctx := context.Background()
				n := 0
				count := func(what string) error {
					effects = append(effects, what)
					if n++; n == cutAt {
						return fmt.Errorf("%s: %w", what, errCut)
					}
					return nil
				}
				if upto == EndOfRun {
					w.ok(w.a.EndRun(ctx, w.id("OLD"), w.root("OLD"), false))
				} else {
					w.copyTree("OLD", "snap")
				}
				sw := Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("snap"), ToRoot: w.root("NEW"), Upto: upto}
				w.a.cut = count
				_, err := w.a.Reconcile(ctx, sw)
				w.a.cut = nil
				if (err != nil) != (n >= cutAt) {
					w.t.Fatalf("cut %d of %d: %v", cutAt, n, err)
				}
				done = err == nil
				if upto == Mark {
					// OLD runs on; activate again, with a newer snapshot.
					w.write("OLD", "etc/log", "a\nb\nc\n")
					w.edit("OLD", "etc/tree/text", "2\n", "two\n")
					w.write("OLD", "etc/tree/dir/deep/file\xff", "newer\n")
					w.edit("OLD", "etc/shadow", "bob:$6", "bob:!$6")
					w.copyTree("OLD", "snap2")
					sw.FromRoot = w.root("snap2")
				}
				// Another process looks at the state.
				w.a, err = Open(w.root("state"))
				w.ok(err)
				w.a.GOOS = "linux"
				_, err = w.a.Reconcile(ctx, sw)
				w.ok(err)
				return done, effects
			}
			whole := rich(t)
			_, effects := finish(whole, 1<<30)
			want := tree(t, whole.root("NEW"))
			for _, line := range []string{`etc/log -rw-r--r-- "a\nb\n`, `etc/mode -rw-------`, `"one\n`, `five\n"`, `etc/tree/link Lrwxrwxrwx -> "/etc/tree/text"`, `nullmail`, `/usr/sbin/nologin`} {
				if !strings.Contains(want, line) {
					t.Fatalf("the uncut switch made no %q:\n%s", line, want)
				}
			}
			if strings.Contains(want, "etc/tree/gone") {
				t.Fatalf("not removed:\n%s", want)
			}
			for cut := 1; cut <= len(effects); cut++ {
				t.Run(fmt.Sprint(cut), func(t *testing.T) {
					t.Parallel()
					w := rich(t)
					done, _ := finish(w, cut)
					if got := tree(t, w.root("NEW")); got != want {
						t.Errorf("%s, done=%v:\n%s", effects[cut-1], done, diffLines(want, got))
					}
				})
			}
			t.Logf("%d effects", len(effects))
		})
	}
}

func diffLines(want, got string) string {
	var b strings.Builder
	for _, pair := range [][3]string{{"-", want, got}, {"+", got, want}} {
		for _, l := range strings.Split(pair[1], "\n") {
			if !strings.Contains(pair[2], l+"\n") && l != "" {
				b.WriteString(pair[0] + l + "\n")
			}
		}
	}
	return b.String()
}
