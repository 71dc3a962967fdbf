package state

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/be"
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir(), "42", true)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUnknownKeysSurviveAWrite(t *testing.T) {
	d := open(t)
	os.WriteFile(d.Path("state.json"), []byte(`{"version":1,"default":"d","colour":{"a":[1,2]}}`), 0o600)
	s, err := d.Load()
	if err != nil {
		t.Fatal(err)
	}
	s.Previous = s.Default
	s.Default = "e"
	if err := d.Save(s); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(d.Path("state.json"))
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got["colour"] == nil || got["default"] != "e" || got["previous"] != "d" {
		t.Errorf("after a write: %s", data)
	}
	s2, _ := d.Load()
	s2.Previous = ""
	d.Save(s2)
	if data, _ := os.ReadFile(d.Path("state.json")); strings.Contains(string(data), "previous") {
		t.Errorf("a key that was emptied is still there: %s", data)
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	d := open(t)
	os.WriteFile(d.Path("state.json"), []byte(`{"version":9}`), 0o600)
	if _, err := d.Load(); be.KindOf(err) != be.Recovery {
		t.Errorf("got %v", err)
	}
}

func TestTheSecondWriterHearsWhoHoldsTheLock(t *testing.T) {
	d := open(t)
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Lock()
	if be.KindOf(err) != be.Locked || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("got %v", err)
	}
	unlock()
	again, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestATornHistoryLineIsSkipped(t *testing.T) {
	d := open(t)
	d.Record(Event{What: "one"})
	f, _ := os.OpenFile(d.Path("history.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString("\n" + `{"at":"2026-`)
	f.Close()
	d.Record(Event{What: "two"})
	events, err := d.History()
	if err != nil || len(events) != 2 || events[1].What != "two" {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestTheStateIsRootsAlone(t *testing.T) {
	d := open(t)
	d.Save(&State{Version: 1})
	for _, path := range []string{d.Path("."), d.Path("state.json")} {
		info, err := os.Stat(filepath.Clean(path))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// The services of a boot hold the lock for moments: nobody is sent away for
// that.
func TestTheLockOfTheBackgroundIsWaitedFor(t *testing.T) {
	d := open(t)
	was := os.Args
	os.Args = []string{"/usr/lib/beadm/init", "trial-notify"}
	background, err := d.Lock()
	os.Args = was
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, background)
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// What a cut left is swept where the path reads like a pattern, and nothing of
// what that would match.
func TestSweepOfAPathLikeAPattern(t *testing.T) {
	top := t.TempDir()
	left := map[string]bool{"a[b]": false, "ab": true} // whether it stays
	for name := range left {
		if err := os.MkdirAll(filepath.Join(top, name, "guid", "bases", "blobs"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{TempPrefix + "1", "bases/" + TempPrefix + "2", "bases/blobs/" + TempPrefix + "3"} {
			if err := os.WriteFile(filepath.Join(top, name, "guid", file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, err := Open(filepath.Join(top, "a[b]"), "guid", true)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for name, stays := range left {
		for _, file := range []string{TempPrefix + "1", "bases/" + TempPrefix + "2", "bases/blobs/" + TempPrefix + "3"} {
			if _, err := os.Lstat(filepath.Join(top, name, "guid", file)); (err == nil) != stays {
				t.Errorf("%s of %s: %v", file, name, err)
			}
		}
	}
}
