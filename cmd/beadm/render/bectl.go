package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"beadm/activate"
	"beadm/be"
)

// BectlOptions are the flags of bectl(8) list.
type BectlOptions struct {
	All         bool // -a
	OriginSpace bool // -D
	Script      bool // -H
	Snapshots   bool // -s
}

// Detailed says that what is listed must have been looked up by Detail, all of it.
func (o BectlOptions) Detailed() bool { return o.All || o.Snapshots || o.OriginSpace }

// Bectl writes what bectl list prints. An origin is told of where the boot
// environment that it is a snapshot of is in the list.
func Bectl(w io.Writer, list []activate.Listed, o BectlOptions) error {
	long := o.All || o.Snapshots
	widths := bectlWidths{name: len("BE"), mount: len("Mountpoint"), script: o.Script}
	if long {
		widths.name = len("BE/Dataset/Snapshot")
	}
	for _, l := range list {
		widths.name, widths.mount = max(widths.name, len(l.Name)), max(widths.mount, len(l.Mountpoint))
		if long {
			widths.name = max(widths.name, len(l.Location)+2)
			if row, ok := originRow(list, l); ok {
				widths.name = max(widths.name, len(row.name)+4)
			}
		}
	}
	if !o.Script {
		head, end := "BE", "\n"
		if long {
			head, end = "BE/Dataset/Snapshot", "\n\n"
		}
		if _, err := fmt.Fprintf(w, "%-*s Active %-*s Space Created%s", widths.name, head, widths.mount, "Mountpoint", end); err != nil {
			return err
		}
	}
	for i, l := range list {
		if !long {
			row := bectlRow{l.Name, bectlFlags(l, o), l.Mountpoint, l.Space, l.Created}
			if origin := originOf(list, l); o.OriginSpace && origin != nil && row.space >= 0 {
				row.space += max(0, held(*origin))
			}
			if err := bectlLine(w, widths, row, 0); err != nil {
				return err
			}
			continue
		}
		between := ""
		if i > 0 {
			between = "\n"
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", between, l.Name); err != nil {
			return err
		}
		if err := bectlLine(w, widths, bectlRow{l.Location, bectlFlags(l, o), l.Mountpoint, held(l), l.Created}, 2); err != nil {
			return err
		}
		if row, ok := originRow(list, l); ok {
			if err := bectlLine(w, widths, row, 4); err != nil {
				return err
			}
		}
		if !o.Snapshots {
			continue
		}
		for _, sn := range l.Snapshots {
			if err := bectlLine(w, widths, bectlRow{l.Name + "@" + sn.Name, "", "", sn.Space, sn.Created}, 2); err != nil {
				return err
			}
		}
	}
	return nil
}

func bectlFlags(l activate.Listed, o BectlOptions) string {
	if l.Incomplete && !o.Script {
		return "!"
	}
	return flags(l)
}

// held is what a boot environment's own parts hold, without its origin.
func held(l activate.Listed) (n int64) {
	for _, p := range l.Parts {
		if p.Space < 0 {
			return -1
		}
		n += p.Space
	}
	return n
}

func originOf(list []activate.Listed, l activate.Listed) *activate.Listed {
	name, _, isSnap := be.SplitSnapshot(l.Origin)
	at := slices.IndexFunc(list, func(o activate.Listed) bool { return o.Name == name })
	if !isSnap || at < 0 {
		return nil
	}
	return &list[at]
}

func originRow(list []activate.Listed, l activate.Listed) (bectlRow, bool) {
	of := originOf(list, l)
	if of == nil {
		return bectlRow{}, false
	}
	_, snap, _ := be.SplitSnapshot(l.Origin)
	for _, sn := range of.Snapshots {
		if sn.Name == snap {
			return bectlRow{of.Location + "@" + snap, "", "", sn.Space, sn.Created}, true
		}
	}
	return bectlRow{}, false
}

// SortBectl orders a list as list -c of bectl does, or -C.
func SortBectl(list []activate.Listed, property string, descending bool) error {
	by := map[string]func(a, b activate.Listed) int{
		"name":          func(a, b activate.Listed) int { return cmp.Compare(a.Name, b.Name) },
		"creation":      func(a, b activate.Listed) int { return a.Created.Compare(b.Created) },
		"origin":        func(a, b activate.Listed) int { return cmp.Compare(a.Origin, b.Origin) },
		"used":          func(a, b activate.Listed) int { return cmp.Compare(a.Space, b.Space) },
		"usedds":        func(a, b activate.Listed) int { return cmp.Compare(held(a), held(b)) },
		"usedsnap":      func(a, b activate.Listed) int { return cmp.Compare(inSnapshots(a), inSnapshots(b)) },
		"usedrefreserv": func(a, b activate.Listed) int { return 0 },
	}[property]
	if by == nil {
		return be.E(be.Usage, "cannot sort by %q: give name, creation, origin, used, usedds, usedsnap or usedrefreserv", property)
	}
	slices.SortStableFunc(list, func(a, b activate.Listed) int {
		c := cmp.Or(by(a, b), cmp.Compare(a.Name, b.Name))
		if descending {
			return -c
		}
		return c
	})
	return nil
}

func inSnapshots(l activate.Listed) (n int64) {
	for _, sn := range l.Snapshots {
		n += max(0, sn.Space)
	}
	return n
}

type bectlRow struct {
	name, active, mount string
	space               int64
	created             time.Time
}

type bectlWidths struct {
	name, mount int
	script      bool
}

// bectlLine writes a row as bectl_list.c does, also where a name is longer than
// its column: it then pads by as much as is lacking.
func bectlLine(w io.Writer, widths bectlWidths, row bectlRow, indent int) error {
	pad := func(cell string, width int) string {
		if widths.script {
			return cell + "\t"
		}
		lacks := width - len(cell)
		return cell + strings.Repeat(" ", max(lacks, -lacks)+1)
	}
	_, err := fmt.Fprintf(w, "%s%s%s%s%s%s\n", strings.Repeat(" ", indent),
		pad(row.name, widths.name-indent), pad(dash(row.active), len("Active")), pad(dash(row.mount), widths.mount),
		pad(nicenum(row.space), len("Space")), minute(row.created))
	return err
}

// nicenum is a number of bytes as libzfs writes it in at most five characters
// (zfs_nicenum): no unit below 1024, no fraction of a whole number of units.
func nicenum(n int64) string {
	if n < 0 {
		return "-"
	}
	unit, i := n, 0
	for unit >= 1024 && i < len("KMGTPE") {
		unit, i = unit/1024, i+1
	}
	if i == 0 {
		return fmt.Sprint(n)
	}
	name := string("KMGTPE"[i-1])
	whole := int64(1) << (10 * i)
	if n%whole == 0 {
		return fmt.Sprint(unit) + name
	}
	for digits := 2; ; digits-- {
		s := fmt.Sprintf("%.*f%s", digits, float64(n)/float64(whole), name)
		if len(s) <= 5 || digits == 0 {
			return s
		}
	}
}
