// Package render turns what beadm found into text, -H fields and JSON. It
// writes; it decides nothing.
package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"beadm/activate"
	"beadm/be"
)

// NativeDialect is the form of -H that this system's own tool has.
func NativeDialect() string {
	if runtime.GOOS == "freebsd" {
		return "bectl"
	}
	return "illumos"
}

// Sort orders a list by name, date or space.
func Sort(list []activate.Listed, key string, descending bool) error {
	var by func(a, b activate.Listed) int
	switch key {
	case "name":
		by = func(a, b activate.Listed) int { return cmp.Compare(a.Name, b.Name) }
	case "date":
		by = func(a, b activate.Listed) int { return a.Created.Compare(b.Created) }
	case "space":
		by = func(a, b activate.Listed) int { return cmp.Compare(a.Space, b.Space) }
	default:
		return be.E(be.Usage, "cannot sort by %q: give name, date or space", key)
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

func flags(l activate.Listed) string {
	s := ""
	if l.Running {
		s += "N"
	}
	if l.Next {
		s += "R"
	}
	if l.Once {
		s += "T"
	}
	return s
}

// ListText writes the table for people (illumos beadm(8), Policy included).
func ListText(w io.Writer, list []activate.Listed) error {
	rows := [][]string{{"BE", "Active", "Mountpoint", "Space", "Policy", "Created"}}
	for _, l := range list {
		active := dash(flags(l))
		if l.Incomplete {
			active = "!"
		}
		rows = append(rows, []string{l.Name, active, dash(l.Mountpoint), space(l), dash(l.Policy), l.Created.Local().Format("2006-01-02 15:04")})
	}
	return table(w, rows)
}

func table(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			if i > 0 {
				line.WriteByte(' ')
			}
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// space is what one holds, or a dash where nobody knows.
func space(l activate.Listed) string {
	if l.Space < 0 {
		return "-"
	}
	return Size(l.Space)
}

// Frees is what comes back, as one says it after "frees".
func Frees(f be.Frees) string {
	switch {
	case f.AtLeast && f.Bytes == 0:
		return "an amount that is not known"
	case f.AtLeast:
		return "at least " + Size(f.Bytes)
	}
	return Size(f.Bytes)
}

// Freed is the sentence after it is gone.
func Freed(f be.Frees) string {
	if f.AtLeast && f.Bytes == 0 {
		return "how much comes back is not known"
	}
	return Frees(f) + " comes back"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ListFields writes list -H: illumos beadm's seven fields
// name;uuid;active;mountpoint;bytes;policy;epoch (empty where unknown), or
// bectl's five, name flags mountpoint space created, by tabs.
func ListFields(w io.Writer, list []activate.Listed, dialect string) error {
	for _, l := range list {
		var err error
		switch dialect {
		case "illumos":
			bytes := ""
			if l.Space >= 0 {
				bytes = strconv.FormatInt(l.Space, 10)
			}
			_, err = fmt.Fprintf(w, "%s;%s;%s;%s;%s;%s;%d\n", l.Name, l.UUID, flags(l), l.Mountpoint, bytes, l.Policy, l.Created.Unix())
		case "bectl":
			_, err = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, dash(flags(l)), dash(l.Mountpoint), space(l), l.Created.Local().Format("2006-01-02 15:04"))
		default:
			err = be.E(be.Usage, "there is no dialect %q: give illumos or bectl", dialect)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Listed is the published JSON of one boot environment.
type Listed struct {
	Name        string    `json:"name"`
	UUID        string    `json:"uuid"`
	Running     bool      `json:"running"`
	Default     bool      `json:"default"`
	Next        bool      `json:"next"`
	Trial       bool      `json:"trial"`
	Once        bool      `json:"once"`
	Good        bool      `json:"good"`
	Incomplete  bool      `json:"incomplete"`
	ReadOnly    bool      `json:"read_only"`
	Mountpoint  string    `json:"mountpoint"`
	Location    string    `json:"location"`
	Origin      string    `json:"origin"`
	Description string    `json:"description"`
	Policy      string    `json:"policy"`
	Space       *int64    `json:"space_bytes,omitempty"` // missing where it is not known
	Created     time.Time `json:"created"`
}

// ListJSON writes the list as an array.
func ListJSON(w io.Writer, list []activate.Listed) error {
	out := []Listed{}
	for _, l := range list {
		var bytes *int64
		if l.Space >= 0 {
			bytes = &l.Space
		}
		out = append(out, Listed{
			l.Name, string(l.UUID), l.Running, l.Deflt, l.Next, l.Trial, l.Once, l.Good, l.Incomplete, l.ReadOnly,
			l.Mountpoint, l.Location, l.Origin, l.Description, l.Policy, bytes, l.Created.UTC(),
		})
	}
	return JSON(w, out)
}

// JSON writes any of the published values.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Size is a number of bytes for people: up to four digits and a unit of 1024.
func Size(n int64) string {
	units := "BKMGTPE"
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%dB", n)
	case f < 9.95:
		return fmt.Sprintf("%.2f%c", f, units[i])
	case f < 99.5:
		return fmt.Sprintf("%.1f%c", f, units[i])
	}
	return fmt.Sprintf("%.0f%c", f, units[i])
}
