package render

import (
	"fmt"
	"io"
	"strings"

	"beadm/activate"
	"beadm/be/rooted"
	"beadm/share"
)

// ShareSnapshots prints them as a table.
func ShareSnapshots(w io.Writer, list []activate.ShareSnapshot) error {
	rows := [][]string{{"Snapshot", "Created", "Space", "For"}}
	for _, l := range list {
		rows = append(rows, []string{l.Name, l.Created.Local().Format("2006-01-02 15:04"), Size(l.Bytes), dash(madeFor(l))})
	}
	return table(w, rows)
}

func madeFor(l activate.ShareSnapshot) string {
	with := ""
	if len(l.With) > 0 {
		with = "with " + strings.Join(l.With, ", ")
	}
	if l.For == "" || with == "" {
		return l.For + with
	}
	return l.For + ", " + with
}

// shareSentences are those of the states that say nothing themselves.
var shareSentences = map[share.State]string{
	share.Real:   "it belongs to this boot environment; beadm share init moves it",
	share.Linked: "it is in the shared data",
	share.Absent: "it is not there",
}

// ShareStatus prints a line a path.
func ShareStatus(w io.Writer, paths []share.Path) error {
	for _, p := range paths {
		if _, err := fmt.Fprintf(w, "%-12s %-9s %s\n", rooted.Printable(p.Path), p.State, ShareWhy(p)); err != nil {
			return err
		}
	}
	return nil
}

// ShareWhy says, as a clause, what a path is.
func ShareWhy(p share.Path) string {
	if p.Why != "" {
		return p.Why
	}
	if p.State == share.Separate {
		fs := ""
		if p.FS != "" {
			fs = " (" + p.FS + ")"
		}
		if p.Snapshots {
			return "it is a file system of its own" + fs + ", which no switch changes; each switch of the shared data snapshots it"
		}
		return "it is a file system of its own" + fs + ", which no switch changes, and of which beadm cannot make snapshots"
	}
	return shareSentences[p.State]
}

// Restored says what a restore did, or would do.
func Restored(w io.Writer, r activate.ShareRestored, dry bool) error {
	would := ""
	if dry {
		would = "would be "
	}
	line := func(format string, args ...any) {
		fmt.Fprintf(w, format+"\n", args...)
	}
	for _, p := range r.Mailboxes {
		line("%scompleted: %s", would, rooted.Printable(p))
	}
	for _, p := range r.SetAside {
		line("%sreplaced: %s", would, rooted.Printable(p))
	}
	if len(r.Mailboxes) > 0 {
		line("mailboxes %scompleted: %d, with %d messages", would, len(r.Mailboxes), r.Messages)
	}
	line("files %sbrought back: %d", would, r.Brought)
	switch {
	case r.Directory != "":
		line("replaced: %d, set aside in %s/%s", len(r.SetAside), r.At, r.Directory)
	case len(r.SetAside) > 0:
		line("%sreplaced, and set aside: %d", would, len(r.SetAside))
	}
	line("as they were, or gone on from there: %d", r.Same)
	if r.Before != "" {
		line("before it all is in snapshot: %s", r.Before)
	}
	return nil
}
