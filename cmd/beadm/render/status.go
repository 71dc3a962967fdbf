package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"beadm/activate"
	"beadm/be/rooted"
)

// StatusText writes a status for people, what is wrong first.
func StatusText(w io.Writer, s activate.Status) error {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if !s.Setup {
		say("beadm is not set up here: run beadm setup")
		if s.Running != "" {
			say("running:  %s", s.Running)
		}
		return nil
	}
	if s.Foreign {
		say("FOREIGN:  another host set this store up; --foreign changes it from here")
	}
	if f := s.Failure; f != nil {
		detail := ""
		if f.Detail != "" {
			detail = ": " + line(f.Detail)
		}
		say("FAILED:   the trial of %s at %s %s%s", f.Name, when(f.At), f.Reason, detail)
		say("          %s runs again", s.Running)
	}
	if s.Owed != "" {
		say("OWED:     %s", line(s.Owed))
	}
	for _, c := range s.Conflicts {
		say("CONFLICT: %s was changed in %s and here: %s", rooted.Printable(c.Path), line(c.From), line(c.Reason))
		if c.Saved != "" {
			say("          the other side stands at %s", rooted.Printable(c.Saved))
		}
	}
	if len(s.Conflicts) > 0 {
		say("          beadm sync diff PATH shows the sides, beadm sync resolve --take outgoing|incoming|FILE PATH decides")
	}
	if t := s.Trouble; t != nil {
		say("BOOT:     at %s it went on without: %s", when(t.At), line(t.Why))
	}
	if l := s.Left; l != nil {
		more := ""
		if l.More > 0 {
			more = fmt.Sprintf(" and %d more", l.More)
		}
		say("LEFT:     what %s wrote last is not in this one: %s%s", l.From, strings.Join(l.Places, ", "), more)
	}
	for _, why := range s.Differs {
		say("LOADER:   %s", why)
	}
	for _, why := range s.Unstartable {
		say("MENU:     %s", line(why))
	}
	if s.Open != "" {
		say("OPEN:     %s was interrupted: run beadm recover", s.Open)
	}
	if n := s.NotTried; n != nil {
		say("note:     %s was armed and not tried, %s was started at %s: %s", n.Name, s.Running, when(n.At), line(n.Why))
	}
	say("state:    %s", s.State)
	say("running:  %s", s.Running)
	say("default:  %s", s.Default)
	switch {
	case s.Next == s.Default:
	case len(s.Differs) > 0:
		say("next:     %s", s.Next)
	default:
		say("next:     %s (one trial)", s.Next)
	}
	if s.Previous != "" {
		say("previous: %s", s.Previous)
	}
	if t := s.Trial; t != nil && !t.Ends.IsZero() {
		say("trial:    %s is on trial until %s, then %s comes back", t.BE, when(t.Ends), t.From)
	}
	for _, l := range s.Loaders {
		what := "mirror, "
		if l.Asked {
			what = "asked and armed, "
		}
		if l.Started {
			what += "this system started from it, "
		}
		switch {
		case l.Missing:
			what += "MISSING: " + line(l.Trouble)
		case l.Trouble != "":
			what += "WRONG: " + line(l.Trouble)
		default:
			what += "ok"
		}
		say("loader:   on %s: %s", l.Place, what)
	}
	for _, name := range s.ShareSnapshots {
		say("share:    its snapshot of the switch is %s", name)
	}
	if r := s.Restore; r != nil {
		paths := make([]string, len(r.Paths))
		for i, p := range r.Paths {
			paths[i] = rooted.Printable(p)
		}
		say("share:    %s of %s comes back when %s boots", strings.Join(paths, ", "), r.Snapshot, r.To)
		if r.Why != "" {
			say("          it did not at the last: %s", line(r.Why))
		}
	}
	for _, g := range s.Guests {
		text := "cannot be seen"
		switch {
		case g.Runs == "":
		case g.State == "armed":
			text = "runs " + g.Runs + "; " + g.BE + " starts with the host's"
		case g.Runs == g.BE:
			text = "runs " + g.Runs
		default:
			text = "runs " + g.Runs + ", not " + g.BE
		}
		if g.State == "trying" {
			text += ", on trial"
		}
		if g.Why != "" {
			text += ": " + line(g.Why)
		}
		say("guest:    %s %s", rooted.Printable(g.Guest), text)
	}
	for _, c := range s.Checks {
		if c.OK {
			say("check:    %s ok", line(c.Name))
		} else {
			say("check:    %s FAILED: %s", line(c.Name), line(c.Detail))
		}
	}
	for _, do := range s.Todo {
		say("to do:    %s", do)
	}
	return nil
}

// line is text as one line that does nothing to a terminal: it may hold what a
// program printed, or a name that somebody chose.
func line(text string) string { return rooted.Printable(strings.ReplaceAll(text, "\n", "; ")) }

func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
