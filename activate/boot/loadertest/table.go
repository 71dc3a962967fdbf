package loadertest

import (
	_ "embed"
	"fmt"
	"strings"

	"beadm/activate/boot/grubenv"
)

//go:embed table.txt
var table string

// Played is what a loader started: nothing if ID is empty.
type Played struct {
	ID    string
	Trial bool
}

// Row is one case of the truth table.
type Row struct {
	Name     string
	Env      []byte // content of the environment; nil: missing
	Special  bool   // Env is not what a Loader would have written
	Baked    []byte // nil: missing. Otherwise an id, or "garbage"
	Entries  []string
	ReadOnly bool
	Start    string // what the loader was started as: empty, or what a table of its own says
	NoLoad   []string
	Broken   []string
	Want     Played // ID "other": any but Default
	Default  string
	After    []byte // content of the environment then
}

// Rows returns the truth table.
func Rows() []Row { return ParseRows(table) }

// ParseRows reads a table in the form of table.txt.
func ParseRows(table string) []Row {
	var rows []Row
	for _, block := range strings.Split(table, "\ncase ")[1:] {
		rows = append(rows, parseRow(block))
	}
	return rows
}

// ID is the id that a letter stands for.
func ID(letter string) string { return "b" + strings.Repeat(letter, 12) }

func ids(letters string) []string {
	var list []string
	for _, l := range strings.Fields(letters) {
		list = append(list, ID(l))
	}
	return list
}

func parseRow(block string) Row {
	name, rest, _ := strings.Cut(block, "\n")
	field := map[string]string{"env": "default=a trial= tried=", "baked": "a", "entries": "a b c"}
	for _, line := range strings.Split(rest, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			key, value, _ := strings.Cut(line, " ")
			field[key] = value
		}
	}
	r := Row{
		Name: name, Entries: ids(field["entries"]), ReadOnly: field["disk"] == "ro",
		NoLoad: ids(field["noload"]), Broken: ids(field["broken"]), Default: ID("a"), Start: field["start"],
	}
	r.Env, r.Special = envOf(field["env"])
	r.After = r.Env
	if after, ok := field["after"]; ok {
		r.After, _ = envOf(after)
	}
	switch baked := field["baked"]; baked {
	case "missing":
	case "garbage":
		r.Baked = []byte(baked)
	default:
		r.Baked = []byte(ID(baked))
	}
	switch what, trial, _ := strings.Cut(field["boots"], " "); what {
	case "other":
		r.Want.ID = what
	case "":
		panic(fmt.Sprintf("case %s boots nothing", name))
	default:
		r.Want = Played{ID(what), trial == "trial"}
	}
	return r
}

func envOf(s string) (b []byte, special bool) {
	armed, _ := envOf2("default=b trial=c tried=")
	switch s {
	case "missing":
		return nil, true
	case "empty":
		return []byte{}, true
	case "zeros":
		return make([]byte, grubenv.Size), true
	case "garbage":
		return []byte(strings.Repeat("beadm_trial="+ID("c")+"\n", 21))[:grubenv.Size], true
	case "torn":
		return append(make([]byte, grubenv.Size/2), armed[grubenv.Size/2:]...), true
	case "full":
		b, _ := envOf2("default=a trial=b pad=" + strings.Repeat("x", grubenv.Size-len(grubenv.Signature)-
			len("beadm_default=baaaaaaaaaaaa\nbeadm_trial=bbbbbbbbbbbbb\npad=\n")))
		return b, true
	}
	b, err := envOf2(s)
	if err != nil {
		panic(err)
	}
	return b, false
}

func envOf2(s string) ([]byte, error) {
	e := grubenv.New()
	for _, kv := range strings.Fields(s) {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "default", "trial", "tried", "next":
			name = "beadm_" + name
			if len(value) == 1 {
				value = ID(value)
			}
		}
		if err := e.Set(name, value); err != nil {
			return nil, err
		}
	}
	return e.Encode()
}

// Right says whether what was played is what the row wants.
func (r Row) Right(p Played) bool {
	if r.Want.ID == "other" {
		return p.ID != "" && p.ID != r.Default && !p.Trial
	}
	return p == r.Want
}
