package decide

import (
	"fmt"
	"testing"

	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// states are absence and every type, with two contents or more where it has
// one, and each kind of metadata changed alone.
func states() []*manifest.Entry {
	list := []*manifest.Entry{nil}
	for _, e := range []manifest.Entry{
		{Type: manifest.File, Hash: "a"}, {Type: manifest.File, Hash: "b"}, {Type: manifest.File, Hash: "c"},
		{Type: manifest.Dir}, {Type: manifest.Link, Target: "x"}, {Type: manifest.Link, Target: "y"},
		{Type: manifest.Special, Kind: "fifo"}, {Type: manifest.Special, Kind: "character device 0x103"},
	} {
		for meta := range 5 {
			v := e
			if v.Mode = 0o644; v.Type == manifest.Link {
				v.Mode = 0
			}
			switch meta {
			case 1:
				v.UID = 7
			case 2:
				v.Mode |= 0o020
			case 3:
				v.Xattrs = map[string][]byte{"user.k": []byte("v")}
			case 4:
				v.Xattrs = map[string][]byte{"system.posix_acl_access": []byte("acl")}
			}
			// A link has an owner and no more; of a special file one of all
			// is enough, it is not carried.
			if meta > 1 && (v.Type == manifest.Link || v.Type == manifest.Special) {
				continue
			}
			list = append(list, &v)
		}
	}
	return list
}

// done is the path after the verdict; ok is false where it depends on texts.
func done(p Path, v Verdict) (after *manifest.Entry, ok bool) {
	switch v {
	case Copy:
		return p.Copied(), true
	case Meta:
		return p.Now.WithMetaOf(p.New), true
	case Remove:
		return nil, true
	case Merge, Append, Prepend:
		return nil, false
	}
	return p.Now, true
}

func show(p Path) string {
	word := func(e *manifest.Entry) string {
		if e == nil {
			return "-"
		}
		return fmt.Sprintf("%s %s%s%s %#o %d %v", e.Type, e.Hash, e.Target, e.Kind, e.Mode, e.UID, e.Xattrs)
	}
	return fmt.Sprintf("old %s, new %s, base %s, now %s", word(p.Old), word(p.New), word(p.Base), word(p.Now))
}

// Every state of a path on both sides, before and after: whatever is decided,
// nothing is brought that the outgoing side did not change, nothing is replaced
// that the incoming side changed, nothing is passed over without a word, and
// what was decided is not decided again.
func TestEveryState(t *testing.T) {
	all := states()
	seen := map[Verdict]int{}
	n, bad := 0, 0
	for _, action := range []synclist.Action{synclist.Overwrite, synclist.Merge, synclist.Append, synclist.Prepend, synclist.Keep, synclist.Force} {
		for _, old := range all {
			for _, new := range all {
				for _, base := range all {
					for _, now := range all {
						p := Path{Old: old, New: new, Base: base, Now: now}
						v, reason := Decide(action, p)
						seen[v]++
						n++
						if wrong := broken(action, p, v, reason); wrong != "" {
							t.Errorf("%s, %s: %s: %s", action, show(p), v, wrong)
							if bad++; bad > 20 {
								t.FailNow()
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d decisions over %d states: %v", n, len(all), seen)
	for _, v := range []Verdict{Leave, Copy, Meta, Merge, Append, Prepend, Remove, Conflict, Kept, NotGone} {
		if seen[v] == 0 {
			t.Errorf("never %s", v)
		}
	}
}

// broken says which promise a verdict breaks, if it does.
func broken(action synclist.Action, p Path, v Verdict, reason string) string {
	content, meta := !manifest.SameContent(p.Old, p.New), !manifest.SameMeta(p.Old, p.New)
	hereContent, hereMeta := !manifest.SameContent(p.Base, p.Now), !manifest.SameMeta(p.Base, p.Now)
	merge, grows := action == synclist.Merge, action == synclist.Append || action == synclist.Prepend

	// What each verdict needs to be done at all.
	switch {
	case v == Replace:
		return "for a lost base only"
	case v == Meta && (p.New == nil || p.Now == nil), v == Copy && p.New == nil, v == Remove && p.Now == nil:
		return "there is nothing to do it with"
	case v == Merge && (!merge || p.New.Type != manifest.File || p.Now == nil || p.Now.Type != manifest.File):
		return "only two files are merged"
	case (v == Append || v == Prepend) && (!grows || p.New.Type != manifest.File || p.Now != nil && p.Now.Type != manifest.File):
		return "only files are appended to"
	case v == Remove && !merge:
		return "Live Upgrade never deletes"
	case (v == Copy || v == Merge) && p.New.Type == manifest.Special:
		return "a special file is carried"
	case v == Copy && p.Now != nil && p.Now.Type != p.New.Type && (p.Now.Type == manifest.Dir || p.New.Type == manifest.Dir):
		return "a directory in the place of a file"
	case action == synclist.Keep && v != Kept && v != Leave:
		return "KEEP is carried"
	case (v == Conflict || v == Kept || v == NotGone) && reason == "":
		return "without a reason"
	}
	if !content && !meta {
		if v != Leave {
			return "nothing was changed there"
		}
		return ""
	}
	after, known := done(p, v)
	if known {
		switch {
		// Not the outgoing side's: what it did not change.
		case after != nil && after.Type != manifest.Dir && !content && !manifest.SameContent(after, p.Now):
			return "content is brought that was not changed there"
		case p.Now != nil && after != nil && after.Type == p.Now.Type && p.Old != nil && p.New != nil && p.Old.Type == p.New.Type && !meta && !manifest.SameMeta(after, p.Now):
			return "metadata is brought that was not changed there"
		// Not lost: what the incoming side changed.
		case hereContent && !manifest.SameContent(after, p.Now):
			return "content is replaced that was changed here"
		case hereMeta && !manifest.SameMeta(after, p.Now):
			return "metadata is replaced that was changed here"
		}
	}
	// Not passed over: what was changed there is here, or merged, or said.
	arrived := (!content || manifest.SameContent(after, p.New)) && (!meta || manifest.SameMeta(after, p.New))
	said := v == Conflict || v == Kept || v == NotGone
	fileless := grows && (p.New == nil || p.New.Type == manifest.Dir || !content) // appending carries content of files
	if known && !arrived && !said && !fileless {
		return "passed over without a word"
	}
	// A change of one side only is no conflict, but where a type is not
	// carried, or a directory is in the way.
	oneSided := manifest.Same(p.Old, p.Base) && manifest.Same(p.Base, p.Now)
	odd := func(e *manifest.Entry) bool { return e != nil && e.Type == manifest.Special }
	if oneSided && v == Conflict && !odd(p.New) && !odd(p.Now) && !grows &&
		!(p.New != nil && p.Now != nil && p.New.Type != p.Now.Type && (p.New.Type == manifest.Dir || p.Now.Type == manifest.Dir)) {
		return "a conflict, though only one side changed it"
	}
	// Twice: what is alike then is left.
	if known && !said {
		if again, _ := Decide(action, Path{Old: p.Old, New: p.New, Base: p.Base, Now: after}); again != Leave && !fileless {
			return "again: " + string(again)
		}
	}
	return ""
}

// Without a base nothing is lost either: what is replaced is kept beside, and
// one's own log is not.
func TestEveryStateWithoutABase(t *testing.T) {
	all := states()
	for _, action := range []synclist.Action{synclist.Overwrite, synclist.Merge, synclist.Append, synclist.Prepend, synclist.Keep, synclist.Force} {
		for _, new := range all {
			for _, now := range all {
				p := Path{New: new, Now: now, NoBase: true}
				v, reason := Decide(action, p)
				switch {
				case manifest.Same(new, now) || new == nil:
					if v != Leave {
						t.Errorf("%s, %s: %s", action, show(p), v)
					}
				case v == Leave:
					t.Errorf("%s, %s: passed over", action, show(p))
				case reason == "":
					t.Errorf("%s, %s: %s without a reason", action, show(p), v)
				case v == Copy && now != nil:
					t.Errorf("%s, %s: replaced and not kept", action, show(p))
				case v == Replace && (now == nil || action == synclist.Append || action == synclist.Prepend ||
					new.Type == manifest.Dir || now.Type == manifest.Dir || now.Type == manifest.Special || new.Type == manifest.Special):
					t.Errorf("%s, %s: replaced", action, show(p))
				case action == synclist.Keep && v != Kept:
					t.Errorf("KEEP, %s: %s", show(p), v)
				}
			}
		}
	}
}
