package render

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"beadm/activate"
	"beadm/be"
)

// ListDetailText writes the table for people with what each boot environment
// consists of, its snapshots, or both (illumos beadm(8), list -d, -s and -ds).
func ListDetailText(w io.Writer, list []activate.Listed, parts, snapshots bool) error {
	head := []string{"BE/Dataset/Snapshot", "Active", "Mountpoint", "Space", "Policy", "Created"}
	switch {
	case !snapshots:
		head[0] = "BE/Dataset"
	case !parts:
		head = []string{"BE/Snapshot", "Space", "Policy", "Created"}
	}
	rows := [][]string{head}
	for _, l := range list {
		rows = append(rows, []string{l.Name})
		if parts {
			for _, p := range l.Parts {
				active := "-"
				if p.Location == l.Location {
					active = activeColumn(l)
				}
				rows = append(rows, []string{"   " + p.Location, active, dash(p.Mountpoint), space(p.Space), dash(l.Policy), minute(p.Created)})
			}
		}
		for _, sn := range l.Snapshots {
			switch {
			case !snapshots:
			case parts:
				rows = append(rows, []string{"   " + l.Location + "@" + sn.Name, "-", "-", space(sn.Space), dash(l.Policy), minute(sn.Created)})
			default:
				rows = append(rows, []string{"   " + l.Name + "@" + sn.Name, space(sn.Space), dash(l.Policy), minute(sn.Created)})
			}
		}
	}
	return table(w, rows)
}

// ListDetailFields writes list -H with -d, -s or both: in illumos' dialect seven
// fields a row, of which the second is the dataset or BE@SNAP; in bectl's as
// list -a or -s of bectl.
func ListDetailFields(w io.Writer, list []activate.Listed, dialect string, parts, snapshots bool) error {
	switch dialect {
	case "illumos":
	case "bectl":
		return Bectl(w, list, BectlOptions{All: parts, Snapshots: snapshots, Script: true})
	default:
		return noDialect(dialect)
	}
	row := func(name, what, active, at string, n int64, policy string, created time.Time) error {
		_, err := fmt.Fprintf(w, "%s;%s;%s;%s;%s;%s;%d\n", name, what, active, at, bytesField(n), policy, created.Unix())
		return err
	}
	for _, l := range list {
		if parts {
			for _, p := range l.Parts {
				active := ""
				if p.Location == l.Location {
					active = flags(l)
				}
				if err := row(l.Name, p.Location, active, p.Mountpoint, p.Space, l.Policy, p.Created); err != nil {
					return err
				}
			}
		}
		if snapshots {
			for _, sn := range l.Snapshots {
				if err := row(l.Name, l.Name+"@"+sn.Name, "", "", sn.Space, l.Policy, sn.Created); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func noDialect(dialect string) error {
	return be.E(be.Usage, "there is no dialect %q: give illumos or bectl", dialect)
}

// bytesField is empty where the number is not known.
func bytesField(n int64) string {
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// space is for people; what is not known is a dash.
func space(n int64) string {
	if n < 0 {
		return "-"
	}
	return Size(n)
}

func minute(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// ListedPart is the published JSON of one file system or subvolume of a boot
// environment.
type ListedPart struct {
	Location   string    `json:"location"`
	Path       string    `json:"path"`
	Mountpoint string    `json:"mountpoint"`
	Origin     string    `json:"origin"`
	Space      *int64    `json:"space_bytes,omitempty"`
	Created    time.Time `json:"created"`
}

// ListedSnapshot is the published JSON of one snapshot of a boot environment.
type ListedSnapshot struct {
	Name    string    `json:"name"` // BE@SNAP
	Space   *int64    `json:"space_bytes,omitempty"`
	Created time.Time `json:"created"`
}

func listedParts(l activate.Listed) (out []ListedPart) {
	for _, p := range l.Parts {
		out = append(out, ListedPart{p.Location, p.Path, p.Mountpoint, p.Origin, known(p.Space), p.Created.UTC()})
	}
	return out
}

func listedSnapshots(l activate.Listed) (out []ListedSnapshot) {
	for _, sn := range l.Snapshots {
		out = append(out, ListedSnapshot{l.Name + "@" + sn.Name, known(sn.Space), sn.Created.UTC()})
	}
	return out
}

func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}
