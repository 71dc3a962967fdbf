package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"beadm/activate/diff"
)

var signs = map[diff.Change]string{diff.Added: "+", diff.Removed: "-", diff.Changed: "!", diff.Attributes: "~"}

// Compared prints packages, files of /etc, and the rest: each, or how many.
func Compared(w io.Writer, r diff.Report, each bool) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s -> %s\n", r.Old, r.New)
	if r.Packages != nil {
		fmt.Fprintf(&out, "packages: %s\n", changes(len(r.Packages), func(i int) (diff.Change, int) { return r.Packages[i].Change, 1 }))
		for _, p := range r.Packages {
			versions := p.Old + p.New
			if p.Change == diff.Changed {
				versions = p.Old + " -> " + p.New
			}
			fmt.Fprintf(&out, "  %s %s %s\n", signs[p.Change], p.Name, versions)
		}
	}
	if r.Files != nil {
		var etc, rest []diff.File
		for _, f := range r.Files {
			if strings.HasPrefix(f.Path, "/etc/") {
				etc = append(etc, f)
			} else {
				rest = append(rest, f)
			}
		}
		for _, part := range []struct {
			name  string
			files []diff.File
			all   bool
		}{{"/etc", etc, true}, {"elsewhere", rest, each}} {
			fmt.Fprintf(&out, "%s: %s\n", part.name, changes(len(part.files), func(i int) (diff.Change, int) { return part.files[i].Change, part.files[i].Files }))
			if !part.all {
				continue
			}
			for _, f := range part.files {
				in := ""
				if strings.HasSuffix(f.Path, "/") {
					in = fmt.Sprintf(" (%d files)", f.Files)
				}
				fmt.Fprintf(&out, "  %s %s%s\n", signs[f.Change], f.Path, in)
				if f.Text != "" {
					out.WriteString(Visible(f.Text))
				}
			}
		}
		if len(rest) > 0 && !each {
			fmt.Fprintf(&out, "-f lists them\n")
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&out, "note: %s\n", note)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// changes is how many of n became what.
func changes(n int, of func(i int) (diff.Change, int)) string {
	count := map[diff.Change]int{}
	for i := range n {
		how, many := of(i)
		count[how] += many
	}
	var words []string
	for _, how := range []diff.Change{diff.Added, diff.Removed, diff.Changed, diff.Attributes} {
		if count[how] > 0 {
			word := string(how)
			if how == diff.Attributes {
				word = "with other attributes"
			}
			words = append(words, fmt.Sprintf("%d %s", count[how], word))
		}
	}
	if len(words) == 0 {
		return "the same"
	}
	return strings.Join(words, ", ")
}
