package render

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"beadm/activate"
	"beadm/be/rooted"
	"beadm/sync"
	"beadm/sync/lines"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// SyncReport writes what was carried, or would be, a line a path.
func SyncReport(w io.Writer, r reconcile.Report) error {
	if len(r.Items) == 0 {
		fmt.Fprintln(w, "nothing to carry")
	}
	for _, item := range r.Items {
		fmt.Fprintf(w, "%-9s %s", item.Action, rooted.Printable(string(item.Path)))
		if item.Reason != "" {
			fmt.Fprintf(w, ": %s", item.Reason)
		}
		fmt.Fprintln(w)
		for _, e := range item.Records {
			fmt.Fprintf(w, "          %v\n", e)
		}
		if item.Saved != "" {
			fmt.Fprintf(w, "          kept: %s\n", rooted.Printable(string(item.Saved)))
		}
	}
	return nil
}

// List is the JSON of sync list: what applies, a later line winning.
type List struct {
	Rules []synclist.Rule `json:"rules"`
}

// Synclist writes a list as synclist(5) has it, with where its lines come from
// as comments.
func Synclist(w io.Writer, list List) error {
	_, err := io.WriteString(w, synclist.List(list).String())
	return err
}

// Conflicts writes what is open, and how to go on.
func Conflicts(w io.Writer, list []activate.OpenConflict) error {
	if len(list) == 0 {
		fmt.Fprintln(w, "nothing is in conflict")
		return nil
	}
	for _, c := range list {
		from := ""
		if c.From != "" {
			from = " (" + c.From + ", " + when(c.At) + ")"
		}
		fmt.Fprintf(w, "%s: %s%s\n", rooted.Printable(string(c.Path)), c.Reason, from)
		for _, e := range c.Records {
			fmt.Fprintf(w, "    %v\n", e)
		}
		if c.Saved != "" {
			fmt.Fprintf(w, "    the other side stands at %s\n", rooted.Printable(string(c.Saved)))
		}
	}
	fmt.Fprintf(w, "beadm sync diff --to %[1]s PATH shows the sides, beadm sync resolve --to %[1]s --take outgoing|incoming|FILE PATH decides\n", list[0].BE)
	return nil
}

// Diff is the JSON of sync diff. A text is absent where the side is, or where
// its content was not kept or is no text; then its state says so.
type Diff struct {
	activate.OpenConflict
	Base     DiffSide `json:"base"` // what both had in common
	Outgoing DiffSide `json:"outgoing"`
	Incoming DiffSide `json:"incoming"` // what is in place
	// Unified, and as Visible: from base to each side, or where that is not
	// known from the incoming side to the outgoing one.
	Changes []string `json:"changes"`
}

// DiffSide is one of the three.
type DiffSide struct {
	State  string `json:"state"` // "file", "directory", "link", "special", "absent", "unknown"
	Target string `json:"target,omitempty"`
	Mode   string `json:"mode,omitempty"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
}

// Differences compares the sides of a conflict.
func Differences(c activate.OpenConflict, s reconcile.Sides) Diff {
	d := Diff{OpenConflict: c, Base: side(s.Base), Outgoing: side(s.Outgoing), Incoming: side(s.Incoming), Changes: []string{}}
	path := rooted.Printable(string(c.Path))
	show := func(a, b reconcile.Side, aName, bName string) {
		if !a.Known || !b.Known {
			return
		}
		text, err := lines.Unified(a.Data, b.Data, path+" ("+aName+")", path+" ("+bName+")")
		switch {
		case errors.Is(err, lines.ErrNotText):
			text = fmt.Sprintf("%s (%s) and (%s) differ: %v\n", path, aName, bName, err)
		case text == "":
			return
		}
		d.Changes = append(d.Changes, Visible(text))
	}
	if s.Base.Known {
		show(s.Base, s.Outgoing, "base", "outgoing")
		show(s.Base, s.Incoming, "base", "incoming")
	} else {
		show(s.Incoming, s.Outgoing, "incoming", "outgoing")
	}
	return d
}

func side(s reconcile.Side) DiffSide {
	e := s.Entry
	switch {
	case e == nil && s.Known:
		return DiffSide{State: "absent"}
	case e == nil:
		return DiffSide{State: "unknown"}
	}
	out := DiffSide{State: string(e.Type), Target: rooted.Printable(string(e.Target)), UID: e.UID, GID: e.GID}
	if e.Type == manifest.Dir {
		out.State = "directory"
	}
	if e.Type != manifest.Link {
		out.Mode = fmt.Sprintf("%#o", e.Mode)
	}
	return out
}

// DiffText writes a Diff for people: first what is no text.
func DiffText(w io.Writer, d Diff) error {
	fmt.Fprintf(w, "%s: %s\n", rooted.Printable(string(d.Path)), d.Reason)
	for _, s := range []struct {
		name string
		side DiffSide
	}{{"base", d.Base}, {"outgoing", d.Outgoing}, {"incoming", d.Incoming}} {
		fmt.Fprintf(w, "%-9s %s\n", s.name+":", s.side)
	}
	for _, e := range d.Records {
		fmt.Fprintf(w, "    %v\n", e)
	}
	for _, text := range d.Changes {
		io.WriteString(w, text)
	}
	return nil
}

func (s DiffSide) String() string {
	text := []string{s.State}
	if s.Target != "" {
		text = append(text, "to "+s.Target)
	}
	if s.Mode != "" {
		text = append(text, fmt.Sprintf("mode %s, owner %d:%d", s.Mode, s.UID, s.GID))
	}
	return strings.Join(text, ", ")
}
