// Package decide says, for one path, what a switch does to it: the table of
// synclist(5). It is pure.
package decide

import (
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// Verdict is what is to be done.
type Verdict string

// The verdicts.
const (
	Leave    Verdict = "leave"
	Copy     Verdict = "copy"     // content and metadata
	Meta     Verdict = "metadata" // metadata only
	Merge    Verdict = "merge"    // by record or line; what cannot be merged is a conflict
	Append   Verdict = "append"   // what was added there
	Prepend  Verdict = "prepend"  //
	Remove   Verdict = "remove"   //
	Conflict Verdict = "conflict" // reported, nothing done here
	Kept     Verdict = "kept"     // KEEP: changed there, never carried
	NotGone  Verdict = "not-gone" // removed there; Live Upgrade never deletes
	Replace  Verdict = "replace"  // no base: outgoing's, incoming's kept beside it
)

// Path is the four states of one path; nil is absence.
type Path struct {
	Old, New  *manifest.Entry // outgoing's delta
	Base, Now *manifest.Entry // incoming, when last in step and now
	NoBase    bool            // Old or Base is not known
}

// Copied is the path as a Copy makes it: New, but with the mode, owner and
// attributes that are here where the delta did not touch them. They may be
// those of a package of this side.
func (p Path) Copied() *manifest.Entry {
	if p.Old == nil || p.Now == nil || p.New == nil || p.Old.Type != p.New.Type || p.Now.Type != p.New.Type || !manifest.SameMeta(p.Old, p.New) {
		return p.New
	}
	return p.New.WithMetaOf(p.Now)
}

// Alike says whether what the delta changed is here already, and what the base
// is then: a further change there must find this side in step.
func (p Path) Alike() (base *manifest.Entry, ok bool) {
	content, meta := !manifest.SameContent(p.Old, p.New), !manifest.SameMeta(p.Old, p.New)
	if !content && !meta || content && !manifest.SameContent(p.New, p.Now) || meta && !manifest.SameMeta(p.New, p.Now) {
		return nil, false
	}
	switch {
	case p.Now == nil || p.Base == nil || content && meta:
		return p.Now, true
	case content:
		return p.Now.WithMetaOf(p.Base), true
	}
	return p.Base.WithMetaOf(p.Now), true
}

// Decide returns the verdict and, where a user will ask, the reason.
func Decide(action synclist.Action, p Path) (Verdict, string) {
	if p.NoBase {
		return noBase(action, p)
	}
	// What is to be brought: content and metadata count apart. What the delta
	// left alone is not the outgoing side's to give, whatever it has there.
	content := !manifest.SameContent(p.Old, p.New) && !manifest.SameContent(p.New, p.Now)
	meta := !manifest.SameMeta(p.Old, p.New) && !manifest.SameMeta(p.New, p.Now)
	if !content && !meta {
		return Leave, ""
	}
	switch action {
	case synclist.Keep:
		return Kept, "changed there; the synclist says KEEP"
	case synclist.Exclude:
		return Leave, ""
	}
	untouched := manifest.Same(p.Base, p.Now)
	merge := action == synclist.Merge

	if p.New == nil { // removed there
		switch {
		case !merge:
			return NotGone, "removed there; only MERGE removes"
		case untouched:
			return Remove, "removed there"
		}
		return Conflict, "removed there, changed here"
	}
	if special(p.New) || special(p.Now) {
		return Conflict, "a device, FIFO or socket is not carried"
	}
	if p.Now != nil && p.Now.Type != p.New.Type && (p.Now.Type == manifest.Dir || p.New.Type == manifest.Dir) {
		return Conflict, "a " + word(p.New) + " there, a " + word(p.Now) + " here"
	}
	if action == synclist.Append || action == synclist.Prepend {
		return grow(action, p, untouched)
	}
	if p.Now == nil && !content && p.New.Type != manifest.Dir {
		// Its content is none of the outgoing side's change.
		return Conflict, "only mode, owner or attributes changed there, and it is not here"
	}
	if merge {
		return mergeBoth(p, content, meta, untouched)
	}
	switch {
	case !untouched:
		return Conflict, "changed there and here"
	case content || p.Now == nil:
		return Copy, came(p)
	}
	return Meta, ""
}

// came is why a path is copied.
func came(p Path) string {
	switch {
	case p.Old == nil:
		return "added there"
	case p.Now == nil:
		return "changed there, not here"
	}
	return "changed there"
}

// mergeBoth is MERGE of what is there on the outgoing side.
func mergeBoth(p Path, content, meta, untouched bool) (Verdict, string) {
	switch {
	case p.Now == nil && untouched:
		return Copy, came(p)
	case p.Now == nil:
		return Conflict, "changed there, removed here"
	case p.Now.Type != p.New.Type && !untouched:
		return Conflict, "a " + word(p.New) + " there, a " + word(p.Now) + " here"
	case meta && !manifest.SameMeta(p.Base, p.Now):
		return Conflict, "mode, owner or attributes changed there and here"
	case !content:
		return Meta, ""
	case untouched && (manifest.SameContent(p.Old, p.Now) || p.New.Type != manifest.File || p.Now.Type != manifest.File):
		return Copy, came(p)
	case p.New.Type == manifest.File:
		// Also where nothing changed here since the base: the base may hold
		// what a package of this side wrote before it last ran, and New what
		// one of that side did.
		return Merge, ""
	}
	return Conflict, "changed there and here"
}

// grow is APPEND and PREPEND: files only, what was added there.
func grow(action synclist.Action, p Path, untouched bool) (Verdict, string) {
	verdict := Append
	if action == synclist.Prepend {
		verdict = Prepend
	}
	switch {
	case p.New.Type != manifest.File || p.Now != nil && p.Now.Type != manifest.File:
		if untouched && p.New.Type == manifest.Dir {
			return Copy, came(p)
		}
		if p.New.Type == manifest.Dir {
			return Leave, ""
		}
		return Conflict, "only files can be appended to"
	case p.Old != nil && manifest.SameContent(p.Old, p.New):
		return Leave, "" // metadata is not carried by appending
	case p.Now == nil && p.Base == nil && p.Old == nil:
		return Copy, came(p)
	}
	// Where it is not here, rotated away say, what is new goes into a new file.
	return verdict, ""
}

// noBase is the rule where nobody knows what both sides had in common.
func noBase(action synclist.Action, p Path) (Verdict, string) {
	const why = "no common state is known"
	switch {
	case p.New == nil, manifest.Same(p.New, p.Now), action == synclist.Exclude:
		return Leave, ""
	case action == synclist.Keep:
		return Kept, why + "; the synclist says KEEP"
	case special(p.New) || special(p.Now):
		return Conflict, "a device, FIFO or socket is not carried"
	case p.Now == nil:
		return Copy, why
	case p.New.Type == manifest.Dir && p.Now.Type == manifest.Dir,
		manifest.SameContent(p.New, p.Now):
		return Meta, why
	case p.New.Type == manifest.Dir || p.Now.Type == manifest.Dir:
		return Conflict, "a " + word(p.New) + " there, a " + word(p.Now) + " here"
	case action == synclist.Append || action == synclist.Prepend:
		// Its own log is not put aside for another's.
		return Conflict, why + ": not appended"
	}
	return Replace, why + ": outgoing's taken, incoming's kept beside it"
}

func special(e *manifest.Entry) bool { return e != nil && e.Type == manifest.Special }

func word(e *manifest.Entry) string {
	switch e.Type {
	case manifest.Dir:
		return "directory"
	case manifest.Link:
		return "link"
	}
	return string(e.Type)
}
