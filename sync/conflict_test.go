package reconcile

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
	"beadm/sync/manifest"
)

// inConflict is a world in which OLD and NEW both changed a file of each kind
// of rule.
func inConflict(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n/etc/tree MERGE\n")
	w.write("OLD", "etc/motd", "one\ntwo\n")
	w.write("OLD", "etc/tree/a", "one\n")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.write("OLD", "etc/motd", "one\nTWO\n")
	w.write("OLD", "etc/tree/a", "theirs\n")
	w.write("NEW", "etc/motd", "one\n2\n")
	w.write("NEW", "etc/tree/a", "ours\n")
	w.switchTo("OLD", "NEW", false)
	return w
}

func (w *world) open(name string, want ...string) {
	w.t.Helper()
	list, err := w.a.Conflicts(w.id(name))
	w.ok(err)
	var got []string
	for _, c := range list {
		got = append(got, string(c.Path))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Errorf("in conflict: %q, wanted %q", got, want)
	}
}

func (w *world) decide(name, path string, take Take, content string) string {
	w.t.Helper()
	kept, err := w.a.Resolve(Decision{BE: w.id(name), Root: w.root(name), Path: path, Take: take,
		File: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }})
	w.ok(err)
	return kept
}

func TestConflictsAreKeptWithTheirSides(t *testing.T) {
	w := inConflict(t)
	w.open("NEW", "/etc/motd", "/etc/tree/a")
	w.want("NEW", "etc/motd", "one\n2\n")
	list, err := w.a.Conflicts(w.id("NEW"))
	w.ok(err)
	for _, c := range list {
		if c.From != w.id("OLD") || c.At.IsZero() || c.Reason == "" {
			t.Errorf("not said whose it is, when, why: %+v", c)
		}
		s, err := w.a.Sides(c, w.root("NEW"))
		w.ok(err)
		if !s.Base.Known || !s.Outgoing.Known || !s.Incoming.Known {
			t.Errorf("%s: sides that are not known: %+v", c.Path, s)
		}
		// Outgoing's stands beside it.
		if got := w.read("NEW", string(c.Saved)); got != string(s.Outgoing.Data) {
			t.Errorf("%s holds %q, not %q", c.Saved, got, s.Outgoing.Data)
		}
		if c.Path == "/etc/motd" && string(s.Base.Data)+string(s.Outgoing.Data)+string(s.Incoming.Data) != "one\ntwo\none\nTWO\none\n2\n" {
			t.Errorf("sides: %q %q %q", s.Base.Data, s.Outgoing.Data, s.Incoming.Data)
		}
	}
	// The contents outlive the records of the runs.
	w.ok(w.a.Forget(w.id("OLD")))
	s, err := w.a.Sides(list[0], w.root("NEW"))
	w.ok(err)
	if string(s.Base.Data) != "one\ntwo\n" || string(s.Outgoing.Data) != "one\nTWO\n" {
		t.Errorf("after the other one was destroyed: %+v", s)
	}
}

func TestResolve(t *testing.T) {
	t.Run("incoming", func(t *testing.T) {
		w := inConflict(t)
		if kept := w.decide("NEW", "/etc/motd", TakeIncoming, ""); kept != "" {
			t.Errorf("kept %s", kept)
		}
		w.want("NEW", "etc/motd", "one\n2\n")
		w.open("NEW", "/etc/tree/a")
	})
	t.Run("outgoing", func(t *testing.T) {
		w := inConflict(t)
		kept := w.decide("NEW", "/etc/motd", TakeOutgoing, "")
		w.want("NEW", "etc/motd", "one\nTWO\n")
		w.want("NEW", kept, "one\n2\n")
		w.open("NEW", "/etc/tree/a")
		// It is in step again: the next change there is no conflict.
		w.ok(w.a.EndRun(t.Context(), w.id("NEW"), w.root("NEW"), false))
		w.begin("OLD")
		w.write("OLD", "etc/motd", "one\nTHREE\n")
		w.switchTo("OLD", "NEW", false)
		w.want("NEW", "etc/motd", "one\nTHREE\n")
		w.open("NEW", "/etc/tree/a")
	})
	t.Run("a file", func(t *testing.T) {
		w := inConflict(t)
		w.ok(os.Chmod(w.path("NEW", "etc/motd"), 0o600))
		kept := w.decide("NEW", "/etc/motd", TakeFile, "both\n")
		w.want("NEW", "etc/motd", "both\n")
		w.want("NEW", kept, "one\n2\n")
		if info, err := os.Stat(w.path("NEW", "etc/motd")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v %v", info.Mode(), err)
		}
		w.open("NEW", "/etc/tree/a")
	})
	t.Run("not in place of what is no file, and it is said what to do", func(t *testing.T) {
		for does, make := range map[string]func(w *world){
			"move it away":    func(w *world) { w.ok(os.Mkdir(w.path("NEW", "etc/motd"), 0o755)) },
			"--take incoming": func(w *world) { w.ok(os.Symlink("/var/share/motd", w.path("NEW", "etc/motd"))) },
		} {
			w := inConflict(t)
			w.ok(os.Remove(w.path("NEW", "etc/motd")))
			make(w)
			before := tree(t, w.root("NEW"))
			_, err := w.a.Resolve(Decision{BE: w.id("NEW"), Root: w.root("NEW"), Path: "/etc/motd", Take: TakeOutgoing})
			if err == nil || !strings.Contains(err.Error(), does) {
				t.Errorf("%v", err)
			}
			if after := tree(t, w.root("NEW")); after != before {
				t.Errorf("it did something:\n%s", diffLines(before, after))
			}
			w.open("NEW", "/etc/motd", "/etc/tree/a")
		}
	})
	t.Run("no conflict", func(t *testing.T) {
		w := inConflict(t)
		_, err := w.a.Resolve(Decision{BE: w.id("NEW"), Root: w.root("NEW"), Path: "/etc/hostname", Take: TakeIncoming})
		if be.KindOf(err) != be.NotFound {
			t.Errorf("%v", err)
		}
	})
	t.Run("brought in step by itself", func(t *testing.T) {
		w := inConflict(t)
		w.write("NEW", "etc/motd", "one\nTWO\n")
		w.ok(w.a.EndRun(t.Context(), w.id("NEW"), w.root("NEW"), false))
		w.begin("OLD")
		w.write("OLD", "etc/motd", "one\nTHREE\n")
		w.write("NEW", "etc/motd", "one\nTHREE\n")
		w.switchTo("OLD", "NEW", false)
		w.open("NEW", "/etc/tree/a")
	})
}

// Cut at each of its effects, a second try comes to the same end, and what
// stood there is never lost.
func TestResolveCut(t *testing.T) {
	for n := 1; ; n++ {
		w := inConflict(t)
		count := 0
		w.a.cut = func(string) error {
			if count++; count == n {
				return errCut
			}
			return nil
		}
		_, err := w.a.Resolve(Decision{BE: w.id("NEW"), Root: w.root("NEW"), Path: "/etc/motd", Take: TakeOutgoing})
		w.a.cut = nil
		if err == nil {
			if n < 4 {
				t.Errorf("only %d effects", n-1)
			}
			return
		}
		if got := w.read("NEW", "etc/motd"); got != "one\n2\n" && got != "one\nTWO\n" {
			t.Fatalf("cut %d left %q", n, got)
		}
		w.decide("NEW", "/etc/motd", TakeOutgoing, "")
		w.want("NEW", "etc/motd", "one\nTWO\n")
		w.open("NEW", "/etc/tree/a")
		found := false
		files, _ := os.ReadDir(w.path("NEW", "etc"))
		for _, f := range files {
			if strings.HasPrefix(f.Name(), manifest.OurPrefix+"kept-") && w.read("NEW", "etc/"+f.Name()) == "one\n2\n" {
				found = true
			}
		}
		if !found {
			t.Errorf("cut %d: what stood there is lost", n)
		}
	}
}

// Records of account files are decided where they are.
func TestResolveOfAccounts(t *testing.T) {
	w := newWorld(t)
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("OLD", "etc/passwd", "/home/dave:/bin/bash", "/home/dave:/bin/zsh")
	w.edit("NEW", "etc/passwd", "/home/dave:/bin/bash", "/home/dave:/bin/sh")
	w.switchTo("OLD", "NEW", false)
	w.open("NEW", "/etc/passwd")
	if _, err := w.a.Resolve(Decision{BE: w.id("NEW"), Root: w.root("NEW"), Path: "/etc/passwd", Take: TakeOutgoing}); be.KindOf(err) != be.Usage {
		t.Errorf("the whole file taken: %v", err)
	}
	w.has("NEW", "etc/passwd", "dave:x:1002:1002::/home/dave:/bin/sh")
	w.decide("NEW", "/etc/passwd", TakeIncoming, "")
	w.open("NEW")
}

// What two boot environments ago was changed by hand is the outgoing side, not
// what the packages of the one between have there.
func TestOutgoingSideIsWhatWasCarried(t *testing.T) {
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/etc/motd\n")
	w.write("OLD", "etc/motd", "shipped\n")
	w.begin("OLD")
	w.clone("OLD", "MID", true)
	w.clone("OLD", "NEW", true)
	w.write("MID", "etc/motd", "shipped by MID's release\n")
	w.write("NEW", "etc/motd", "shipped by NEW's release\n")
	w.write("OLD", "etc/motd", "by hand\n")
	w.switchTo("OLD", "MID", false)
	w.open("MID", "/etc/motd")
	w.switchTo("MID", "NEW", false)
	w.open("NEW", "/etc/motd")
	list, err := w.a.Conflicts(w.id("NEW"))
	w.ok(err)
	s, err := w.a.Sides(list[0], w.root("NEW"))
	w.ok(err)
	if got := string(s.Outgoing.Data); got != "by hand\n" || got != w.read("NEW", string(list[0].Saved)) {
		t.Errorf("outgoing is %q, beside it stands %q", got, w.read("NEW", string(list[0].Saved)))
	}
	w.decide("NEW", "/etc/motd", TakeOutgoing, "")
	w.want("NEW", "etc/motd", "by hand\n")
}

// A side that is damaged in the store is not put in place.
func TestResolveReadsBack(t *testing.T) {
	w := inConflict(t)
	c, err := w.a.Conflict(w.id("NEW"), "/etc/motd")
	w.ok(err)
	blob := filepath.Join(w.a.dir, "blobs", c.Outgoing.Hash[:2], c.Outgoing.Hash)
	w.ok(os.Chmod(filepath.Dir(blob), 0o700))
	w.ok(os.Chmod(blob, 0o600))
	w.ok(os.WriteFile(blob, []byte("one\nTWX\n"), 0o600))
	_, err = w.a.Resolve(Decision{BE: w.id("NEW"), Root: w.root("NEW"), Path: "/etc/motd", Take: TakeOutgoing})
	if err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("damaged content was taken: %v", err)
	}
	w.want("NEW", "etc/motd", "one\n2\n")
	w.open("NEW", "/etc/motd", "/etc/tree/a")
}

// A link that is replaced is kept as one.
func TestResolveKeepsALink(t *testing.T) {
	w := inConflict(t)
	w.ok(os.Remove(w.path("NEW", "etc/motd")))
	w.ok(os.Symlink("/srv/motd", w.path("NEW", "etc/motd")))
	kept := w.decide("NEW", "/etc/motd", TakeOutgoing, "")
	if to, err := os.Readlink(w.path("NEW", kept)); kept == "" || to != "/srv/motd" {
		t.Errorf("kept %q, to %q: %v", kept, to, err)
	}
	w.want("NEW", "etc/motd", "one\nTWO\n")
}
