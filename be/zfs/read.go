package zfs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

var datasetRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.: -]*(/[A-Za-z0-9_.: %-]+)*$`)

// property is a value and where it comes from.
type property struct {
	value  string
	source string // "local", "default", "inherited from …", "received", "temporary", "-"
}

// dataset is a file system, volume or snapshot with the properties asked for.
// A pool may have tens of thousands: all that were read together share keys.
type dataset struct {
	name  string
	keys  []string
	props []property // one for each of keys
}

// property is the zero one if name was not asked for.
func (d *dataset) property(name string) property {
	if i := slices.Index(d.keys, name); i >= 0 {
		return d.props[i]
	}
	return property{}
}

func (d *dataset) value(prop string) string { return d.property(prop).value }

// local is the value if it was set on the dataset itself, or empty.
func (d *dataset) local(prop string) string {
	if p := d.property(prop); p.source == "local" {
		return p.value
	}
	return ""
}

func (d *dataset) number(prop string) int64 {
	n, err := strconv.ParseInt(d.value(prop), 10, 64)
	if err != nil { // "-" where it does not apply
		return 0
	}
	return n
}

func (d *dataset) created() time.Time { return time.Unix(d.number("creation"), 0) }

// snapshotOf cuts a snapshot's name; snap is empty for other datasets.
func (d *dataset) split() (ds, snap string) {
	ds, snap, _ = strings.Cut(d.name, "@")
	return ds, snap
}

// tree is datasets by name, and their names sorted: parents come first.
type tree struct {
	by    map[string]*dataset
	names []string

	boots map[string]string // of roots whose /boot is in another pool: which that is
	away  map[string]string // of those where that is not there: in what it should be
	why   map[string]string // of what is not there, if it is imported: why
}

// read asks for properties of datasets in one command. depth 0 is the dataset
// alone, a negative one everything below it.
func (s *Store) read(ctx context.Context, types string, depth int, ds string, props ...string) (*tree, error) {
	argv := []string{"zfs", "get", "-Hp", "-o", "name,property,source,value", "-t", types}
	switch {
	case depth < 0:
		argv = append(argv, "-r")
	case depth > 0:
		argv = append(argv, "-d", strconv.Itoa(depth))
	}
	argv = append(argv, strings.Join(props, ","), ds)
	t, err := s.get(ctx, props, argv, ds)
	return t, asBE(err)
}

// get runs a zfs get -Hp -o name,property,source,value of props and tops.
func (s *Store) get(ctx context.Context, props, argv []string, tops ...string) (t *tree, err error) {
	err = s.reads(ctx, func(r io.Reader) (err error) {
		t, err = parseGet(r, props, tops...)
		return err
	}, argv...)
	return t, err
}

// asBE gives a failed command the kind that its words stand for.
func asBE(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); text != "" {
		return problem(err, "cannot ask ZFS")
	}
	return err
}

// parseGet reads `zfs get -Hp -o name,property,source,value` to its end. The
// value is the last field, so that a tab in it does no harm. A newline in a value
// that somebody else set could pass for lines of its own: every dataset has each
// property exactly once, or the answer is refused.
func parseGet(r io.Reader, props []string, tops ...string) (*tree, error) {
	t := &tree{by: map[string]*dataset{}}
	in := bufio.NewReaderSize(r, 1<<16)
	last := &dataset{props: make([]property, len(props))}
	at := -1
	for {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		name, rest, one := bytes.Cut(line, tab)
		key, rest, two := bytes.Cut(rest, tab)
		source, value, three := bytes.Cut(rest, tab)
		// ZFS answers in the order it was asked.
		if at++; at >= len(props) || props[at] != string(key) {
			at = slices.Index(props, string(key))
		}
		if !one || !two || !three || at < 0 || len(name) == 0 || len(source) == 0 {
			return nil, fmt.Errorf("zfs get says what cannot be understood: %q", line)
		}
		d := last
		if string(name) != d.name {
			if d = t.by[string(name)]; d == nil {
				if !slices.ContainsFunc(tops, func(top string) bool { return ofTop(string(name), top) }) {
					return nil, fmt.Errorf("zfs get says what cannot be understood: %q", line)
				}
				d = &dataset{name: string(name), keys: props, props: make([]property, len(props))}
				t.by[d.name] = d
				t.names = append(t.names, d.name)
			}
		}
		p, before := &d.props[at], last.props[at]
		if p.source != "" {
			return nil, fmt.Errorf("zfs get names %s of %s twice: %q", key, d.name, line)
		}
		p.source, p.value = shared(source, before.source), shared(value, before.value)
		last = d
	}
	for _, d := range t.by {
		for i, p := range d.props {
			if p.source == "" {
				return nil, fmt.Errorf("zfs get does not name %s of %s", props[i], d.name)
			}
		}
	}
	sort.Strings(t.names)
	return t, nil
}

var tab = []byte{'\t'}

// shared is text as a string: before, if that is the same.
func shared(text []byte, before string) string {
	if string(text) == before {
		return before
	}
	return string(text)
}

// ofTop says whether the name is top's, or that of a dataset or snapshot below.
func ofTop(name, top string) bool {
	return name == top || strings.HasPrefix(name, top+"/") || strings.HasPrefix(name, top+"@")
}

// parseLocal reads the same command for all properties with a source of
// local or received. Here a value may go on in the next line.
func parseLocal(out, top string) (map[string][]setting, error) {
	all := map[string][]setting{}
	var last *setting
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		f := strings.SplitN(line, "\t", 4)
		if len(f) == 4 && within(f[0], top) && (f[2] == "local" || f[2] == "received") {
			list := append(all[f[0]], setting{f[1], f[3]})
			all[f[0]] = list
			last = &list[len(list)-1]
			continue
		}
		if last == nil {
			if out == "" {
				break
			}
			return nil, fmt.Errorf("zfs get says what cannot be understood: %q", line)
		}
		last.value += "\n" + line
	}
	return all, nil
}

// setting is a property to set.
type setting struct{ name, value string }

// unescape and escape keep a text free of what would break a line of output.
func escape(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == 0x7f || c == '%' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				out.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
