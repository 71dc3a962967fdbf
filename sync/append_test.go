package reconcile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// logs is a world with a log that OLD writes to and NEW has a line of its own
// in; large says that it is more than is stored of every file.
func logs(t *testing.T, large bool) (w *world, old string) {
	w = quickWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/var/log APPEND\n")
	old = "old line\n"
	if large {
		old = strings.Repeat(old, 200000)
	}
	w.write("OLD", "var/log/app", old)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("NEW", "var/log/app", old+"new's\n")
	return w, old
}

func (w *world) add(name, path, text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name, path), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	w.ok(err)
	_, err = f.WriteString(text)
	w.ok(err)
	w.ok(f.Close())
}

func (w *world) sh(format string, args ...any) {
	w.t.Helper()
	if out, err := exec.Command("sh", "-ec", fmt.Sprintf(format, args...)).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
}

// Whatever is done to a log while its boot environment runs, what was written
// to it is in the next one's log once, in its order, and the next one's own
// lines stay.
func TestAppendThroughRotation(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *world)
		want string
		says string
	}{
		"moved away": {func(w *world) {
			w.sh("cd %s; mv app app.1; echo three >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\nthree\n", ""},
		"copied and truncated": {func(w *world) {
			w.sh("cd %s; cp app app.1; : >app; echo three >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\nthree\n", ""},
		"packed, with a date": {func(w *world) {
			w.sh("cd %s; mv app app-20261121; gzip app-20261121; echo three >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\nthree\n", ""},
		"packed with bzip2": {func(w *world) {
			w.sh("cd %s; mv app app.0; bzip2 app.0; echo three >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\nthree\n", ""},
		"twice": {func(w *world) {
			w.sh("cd %s; mv app app.1; echo three >app; sleep 0.02; mv app.1 app.2; gzip app.2; mv app app.1; sleep 0.02; echo four >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\nthree\nfour\n", ""},
		"and nothing written since": {func(w *world) {
			w.sh("cd %s; mv app app.1; : >app", w.path("OLD", "var/log"))
		}, "new's\none\ntwo\n", ""},
		"packed as nothing here reads": {func(w *world) {
			w.sh("cd %s; mv app app.1; xz app.1 || mv app.1 app.1.xz; echo three >app", w.path("OLD", "var/log"))
		}, "new's\none\nthree\n", "was not found"},
		"thrown away": {func(w *world) { w.write("OLD", "var/log/app", "three\n") }, "new's\none\nthree\n", "was not found"},
	} {
		for _, large := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, large %v", name, large), func(t *testing.T) {
				t.Parallel()
				w, old := logs(t, large)
				// A mark first: what is carried then is not carried again.
				w.add("OLD", "var/log/app", "one\n")
				w.copyTree("OLD", "snap")
				_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("snap"), ToRoot: w.root("NEW"), Upto: Mark})
				w.ok(err)
				w.add("OLD", "var/log/app", "two\n")
				c.do(w)
				r := w.switchTo("OLD", "NEW", false)
				if got := strings.TrimPrefix(w.read("NEW", "var/log/app"), old); got != c.want {
					t.Errorf("%q, wanted %q", got, c.want)
				}
				if _, err := os.Lstat(w.path("NEW", "var/log/app.1")); err == nil {
					t.Error("a rotated part was carried as a log of its own")
				}
				said := fmt.Sprint(r.Items)
				if strings.Contains(said, "was not found") != (c.says != "") {
					t.Errorf("said: %s", said)
				}
			})
		}
	}
}

// A log that was cut back to its beginning brings nothing a second time, and
// what is written to it then once, whatever of its content is kept.
func TestAppendAfterTruncation(t *testing.T) {
	numbered := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ lines, cut int }{
		"small":           {1000, 6000},
		"large":           {400000, 3*1<<20 + 7},
		"large, to a MiB": {400000, 1 << 20},
		"large, to less":  {400000, 5000},
		"large, to none":  {400000, 0},
		"large, by bytes": {400000, 400000*11 - 100000},
	} {
		for _, more := range []string{"", "line of today\n"} {
			for _, gone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, then %q, rotated away here %v", name, more, gone), func(t *testing.T) {
					t.Parallel()
					w := quickWorld(t)
					old := numbered(c.lines)
					cut := strings.LastIndexByte(old[:c.cut], '\n') + 1 // between two lines
					w.write("OLD", "etc/beadm/synclist", "/var/log APPEND\n")
					w.write("OLD", "var/log/app", old)
					w.begin("OLD")
					w.clone("OLD", "NEW", true)
					here := old + "new's\n"
					if gone {
						here = "new's\n"
					}
					w.write("NEW", "var/log/app", here)
					w.add("OLD", "var/log/app", "one\n")
					w.marked("OLD", "NEW")
					w.ok(os.Truncate(w.path("OLD", "var/log/app"), int64(cut)))
					w.add("OLD", "var/log/app", more)
					r := w.switchTo("OLD", "NEW", false)
					got := w.read("NEW", "var/log/app")
					said := strings.Contains(fmt.Sprint(r.Items), "may be here already")
					if want := here + "one\n" + more; got != want && !(said && strings.HasPrefix(got, here+"one\n") && strings.HasSuffix(got, more) && len(got) < len(want)+1<<20+100) {
						t.Errorf("%d bytes, wanted %d: %+v", len(got), len(want), r.Items)
					}
					if said && c.cut < 1<<20 {
						t.Errorf("unsure of what is kept: %+v", r.Items)
					}
				})
			}
		}
	}
}

// Records of one length follow each other and can be appended; what is found
// by its place, journals and databases cannot, and that is said.
func TestAppendOfBinaryLogs(t *testing.T) {
	w := quickWorld(t)
	record := func(b byte) string { return string(bytes.Repeat([]byte{b, 0}, 192)) } // struct utmp is 384 bytes
	w.write("OLD", "etc/beadm/synclist", "/var/log APPEND\n")
	files := map[string]string{
		"wtmp": record(1), "btmp": record(1), "lastlog": record(1), "journal/0/system.journal": "LPKSHHRH" + record(1),
		"disguised": "LPKSHHRH" + record(1), "state.db": "SQLite format 3\x00" + record(1),
	}
	for f, text := range files {
		w.write("OLD", "var/log/"+f, text)
	}
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	for f, text := range files {
		w.write("OLD", "var/log/"+f, text+record(2))
		w.write("NEW", "var/log/"+f, text+record(3))
	}
	r := w.switchTo("OLD", "NEW", false)
	refused := map[string]string{}
	for _, item := range r.Conflicts() {
		refused[strings.TrimPrefix(string(item.Path), "/var/log/")] = item.Reason
	}
	for f, text := range files {
		want, why := text+record(3), refused[f]
		if f == "wtmp" || f == "btmp" {
			want += record(2)
		}
		if got := w.read("NEW", "var/log/"+f); got != want {
			t.Errorf("%s: %d bytes, wanted %d", f, len(got), len(want))
		}
		if (why == "") != (f == "wtmp" || f == "btmp") || why != "" && !strings.HasPrefix(why, "not appended to: it") {
			t.Errorf("%s: %q", f, why)
		}
	}
}

// A packed part that a hostile guest damaged or made to unpack without end
// holds nothing up.
func TestAppendWithDamagedParts(t *testing.T) {
	w, _ := logs(t, false)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte("old line\nmore\n"))
	z.Close()
	w.add("OLD", "var/log/app", "two\n")
	w.write("OLD", "var/log/app.1.gz", b.String()[:b.Len()-6])
	w.write("OLD", "var/log/app.2.gz", "no archive")
	w.write("OLD", "var/log/app", "three\n")
	w.switchTo("OLD", "NEW", false)
	if got := w.read("NEW", "var/log/app"); !strings.HasSuffix(got, "new's\nthree\n") {
		t.Errorf("%q", got)
	}
}

// A boot environment is cloned from one into which a switch was cut: what that
// had added to a log is not added in the clone again.
func TestAppendOnceInTheCloneOfACut(t *testing.T) {
	w, old := logs(t, false)
	w.add("OLD", "var/log/app", "one\n")
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	w.a.cut = func(effect string) error {
		if effect == "barrier names" {
			return errCut
		}
		return nil
	}
	if _, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")}); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	w.a.cut = nil
	w.clone("NEW", "THIRD", false)
	for _, name := range []string{"NEW", "THIRD"} {
		_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id(name), ToRoot: w.root(name)})
		w.ok(err)
		w.want(name, "var/log/app", old+"new's\none\n")
	}
}
