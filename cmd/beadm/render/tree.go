package render

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"beadm/activate"
)

// Descent is a boot environment and what it was made from, as tree --json prints
// it: before those that were made from it.
type Descent struct {
	Name     string    `json:"name"`
	UUID     string    `json:"uuid"`
	Parent   string    `json:"parent"`   // the boot environment it was made from; empty if that is gone, or none is known
	Snapshot string    `json:"snapshot"` // of the parent
	Depth    int       `json:"depth"`    // below the one that all its line comes from
	Active   string    `json:"active"`   // the letters of list
	Created  time.Time `json:"created"`
	last     bool      // of its parent's
	above    []bool    // which of those above it were the last of theirs
}

// Lineage orders a list by descent, and beside each other as it was sorted.
func Lineage(list []activate.Listed) []Descent {
	out := []Descent{}
	by := map[string]bool{}
	for _, l := range list {
		by[l.Name] = true
	}
	below := map[string][]activate.Listed{}
	for _, l := range list {
		if parent, _ := madeFrom(l); by[parent] && parent != l.Name {
			below[parent] = append(below[parent], l)
		}
	}
	done := map[string]bool{}
	var add func(l activate.Listed, above []bool, last bool)
	add = func(l activate.Listed, above []bool, last bool) {
		if done[l.Name] {
			return
		}
		done[l.Name] = true
		d := Descent{Name: l.Name, UUID: string(l.UUID), Depth: len(above), Active: flags(l), Created: l.Created.UTC(), last: last, above: above}
		if l.Incomplete {
			d.Active = "!"
		}
		if len(above) > 0 {
			d.Parent, d.Snapshot = madeFrom(l)
		}
		out = append(out, d)
		for i, child := range below[l.Name] {
			add(child, append(above[:len(above):len(above)], last), i == len(below[l.Name])-1)
		}
	}
	for _, l := range list {
		if parent, _ := madeFrom(l); !by[parent] || parent == l.Name {
			add(l, nil, true)
		}
	}
	for _, l := range list { // of a circle, which no store should tell of
		add(l, nil, true)
	}
	return out
}

func madeFrom(l activate.Listed) (parent, snapshot string) {
	parent, snapshot, _ = strings.Cut(l.Origin, "@")
	return parent, snapshot
}

// branch is what stands before a name in the picture.
func (d Descent) branch(utf8 bool) string {
	if d.Depth == 0 {
		return ""
	}
	through, here, end := "|  ", "|- ", "`- "
	if utf8 {
		through, here, end = "│  ", "├─ ", "└─ "
	}
	var b strings.Builder
	for _, over := range d.above[1:] {
		if over {
			b.WriteString("   ")
		} else {
			b.WriteString(through)
		}
	}
	if d.last {
		b.WriteString(end)
	} else {
		b.WriteString(here)
	}
	return b.String()
}

// TreeText writes the lineage as a table whose first column is the picture, in
// line-drawing characters if utf8.
func TreeText(w io.Writer, list []Descent, utf8 bool) error {
	rows := [][]string{{"BE", "Active", "Created", "From"}}
	for _, d := range list {
		rows = append(rows, []string{d.branch(utf8) + d.Name, dash(d.Active), d.Created.Local().Format("2006-01-02 15:04"), dash(d.Snapshot)})
	}
	return table(w, rows)
}

// TreeSVG writes the lineage as a picture (SVG 1.1).
func TreeSVG(w io.Writer, list []Descent) error {
	const step, indent, left = 28, 26, 12
	var b strings.Builder
	rows, width := map[string]int{}, 0
	for i, d := range list {
		rows[d.Name] = i
		width = max(width, left+indent*d.Depth+9*len([]rune(d.Name))+190)
	}
	at := func(d Descent) (x, y int) { return left + indent*d.Depth, step*rows[d.Name] + step/2 }
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"monospace\" font-size=\"14\">\n", width, step*len(list))
	fmt.Fprintf(&b, "<title>boot environments</title>\n<g fill=\"none\" stroke=\"#888\">\n")
	for _, d := range list {
		if d.Depth == 0 {
			continue
		}
		x, y := at(d)
		px, py := at(list[rows[d.Parent]])
		fmt.Fprintf(&b, "<path d=\"M%d %dV%dH%d\"/>\n", px, py, y, x)
	}
	fmt.Fprintf(&b, "</g>\n")
	for _, d := range list {
		x, y := at(d)
		fill := "#fff"
		if strings.Contains(d.Active, "N") {
			fill = "#2a7"
		}
		var name strings.Builder
		if err := xml.EscapeText(&name, []byte(d.Name)); err != nil {
			return err
		}
		said := d.Created.Format("2006-01-02")
		if d.Active != "" {
			said = d.Active + "  " + said
		}
		fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"%d\" r=\"5\" fill=\"%s\" stroke=\"#444\"/><text x=\"%d\" y=\"%d\">%s <tspan fill=\"#888\">%s</tspan></text>\n", x, y, fill, x+12, y+5, name.String(), said)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
