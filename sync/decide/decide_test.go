package decide

import (
	"testing"

	"pgregory.net/rapid"

	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// entry reads a test's word: "" is absence, a letter the content, a "+" a
// changed mode, "/" a directory, "@" a link.
func entry(s string) *manifest.Entry {
	if s == "" {
		return nil
	}
	e := &manifest.Entry{Type: manifest.File, Mode: 0o644, Hash: s[:1]}
	switch s[0] {
	case '/':
		e.Type, e.Hash = manifest.Dir, ""
	case '@':
		e.Type, e.Hash, e.Target = manifest.Link, "", "x"
	}
	if len(s) > 1 {
		e.Mode = 0o600
	}
	return e
}

// The table of DESIGN, row by row.
func TestTable(t *testing.T) {
	for _, row := range []struct {
		why                  string
		old, new, base, now  string
		overwrite, mergeWant Verdict
	}{
		{"none, any", "a", "a", "a", "b", Leave, Leave},
		{"none, absent", "", "", "", "b", Leave, Leave},
		{"changed, same", "a", "b", "a", "a", Copy, Copy},
		{"added, absent alike", "", "b", "", "", Copy, Copy},
		{"changed, now alike", "a", "b", "a", "b", Leave, Leave},
		{"added, added alike", "", "b", "", "b", Leave, Leave},
		{"changed, changed", "a", "b", "a", "c", Conflict, Merge},
		{"added, added otherwise", "", "b", "", "c", Conflict, Merge},
		{"changed, removed", "a", "b", "a", "", Conflict, Conflict},
		{"changed, another type", "a", "b", "a", "/", Conflict, Conflict},
		{"changed, now a link", "a", "b", "a", "@", Conflict, Conflict},
		{"removed, same", "a", "", "a", "a", NotGone, Remove},
		{"removed, changed", "a", "", "a", "b", NotGone, Conflict},
		{"removed, removed", "a", "", "a", "", Leave, Leave},
		{"metadata, same", "a", "a+", "a", "a", Meta, Meta},
		{"metadata, content", "a", "a+", "a", "b", Conflict, Meta},
		{"content, metadata", "a", "b", "a", "a+", Conflict, Merge},
	} {
		p := Path{Old: entry(row.old), New: entry(row.new), Base: entry(row.base), Now: entry(row.now)}
		if got, _ := Decide(synclist.Overwrite, p); got != row.overwrite {
			t.Errorf("OVERWRITE, %s: %s, want %s", row.why, got, row.overwrite)
		}
		if got, _ := Decide(synclist.Merge, p); got != row.mergeWant {
			t.Errorf("MERGE, %s: %s, want %s", row.why, got, row.mergeWant)
		}
		if got, _ := Decide(synclist.Keep, p); got != Leave && got != Kept {
			t.Errorf("KEEP, %s: %s", row.why, got)
		}
	}
}

func TestProperties(t *testing.T) {
	state := rapid.Map(rapid.SampledFrom([]string{"", "a", "b", "c", "a+", "b+", "/", "/+", "@"}), entry)
	action := rapid.SampledFrom([]synclist.Action{synclist.Overwrite, synclist.Merge, synclist.Append,
		synclist.Prepend, synclist.Keep, synclist.Force})
	rapid.Check(t, func(t *rapid.T) {
		a := action.Draw(t, "action")
		old, new, base, now := state.Draw(t, "old"), state.Draw(t, "new"), state.Draw(t, "base"), state.Draw(t, "now")
		p := Path{Old: old, New: new, Base: base, Now: now}
		if v, _ := Decide(a, Path{Old: old, New: old, Base: base, Now: now}); v != Leave {
			t.Fatalf("nothing changed there: %s", v)
		}
		// After a copy the path is as there, its base has moved, and a second
		// time there is nothing to do.
		v, _ := Decide(a, p)
		if v == Copy {
			if again, _ := Decide(a, Path{Old: old, New: new, Base: new, Now: new}); again != Leave {
				t.Fatalf("copied, then %s", again)
			}
		}
		if v == Remove {
			if again, _ := Decide(a, Path{Old: old, New: new}); again != Leave {
				t.Fatalf("removed, then %s", again)
			}
		}
		// A change of one side only is never lost by MERGE, nor a conflict
		// but where a directory is in the way.
		if a == synclist.Merge && manifest.Same(base, now) && manifest.Same(base, old) && !manifest.Same(old, new) {
			dirs := new != nil && now != nil && new.Type != now.Type &&
				(new.Type == manifest.Dir || now.Type == manifest.Dir)
			if (v != Copy && v != Meta && v != Remove) != dirs {
				t.Fatalf("one-sided change: %s", v)
			}
		}
		if (a == synclist.Overwrite || a == synclist.Keep) && v == Remove {
			t.Fatal("Live Upgrade never deletes")
		}
	})
}
