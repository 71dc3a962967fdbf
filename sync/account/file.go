// Package account merges account files by record and field: passwd(5),
// shadow(5), group(5), gshadow(5), FreeBSD's master.passwd (passwd(5)),
// illumos' user_attr(5), subuid(5) and subgid(5).
//
// What the outgoing boot environment did since a known state (a delta) is
// done again to the incoming one's files, so that what packages changed there
// survives. Security outranks: who was locked, expired, removed or thrown out
// of a group stays so.
//
// The package is pure: bytes in, bytes and a report out.
package account

import (
	"bytes"
	"path"
	"strconv"
	"strings"
)

// Kind is the format of an account file, its base name.
type Kind string

// The kinds.
const (
	Passwd       Kind = "passwd"
	Shadow       Kind = "shadow"
	Group        Kind = "group"
	Gshadow      Kind = "gshadow"
	MasterPasswd Kind = "master.passwd"
	UserAttr     Kind = "user_attr"
	Subuid       Kind = "subuid"
	Subgid       Kind = "subgid"
)

// Kinds in the order they are merged: who exists is decided first.
var Kinds = []Kind{Passwd, MasterPasswd, Shadow, UserAttr, Group, Gshadow, Subuid, Subgid}

// KindOf says whether an absolute path without links is an account file.
func KindOf(p string) (Kind, bool) {
	dir, base := path.Split(p)
	if dir != "/etc/" {
		return "", false
	}
	if _, ok := formats[Kind(base)]; !ok {
		return "", false
	}
	return Kind(base), true
}

// Path is where a kind's file is.
func (k Kind) Path() string { return "/etc/" + string(k) }

// role is what a field means to the merge.
type role int

const (
	plain role = iota
	password
	id // uid of a user, gid of a group
	lastchg
	expire
	shell
	members
)

type format struct {
	fields []role
	names  []string
}

var formats = map[Kind]format{
	Passwd: {[]role{plain, password, id, plain, plain, plain, shell},
		[]string{"name", "password", "uid", "gid", "gecos", "home", "shell"}},
	MasterPasswd: {[]role{plain, password, id, plain, plain, plain, expire, plain, plain, shell},
		[]string{"name", "password", "uid", "gid", "class", "change", "expire", "gecos", "home", "shell"}},
	Shadow: {[]role{plain, password, lastchg, plain, plain, plain, plain, expire, plain},
		[]string{"name", "password", "last change", "min", "max", "warn", "inactive", "expire", "flag"}},
	Group:    {[]role{plain, plain, id, members}, []string{"name", "password", "gid", "members"}},
	Gshadow:  {[]role{plain, plain, members, members}, []string{"name", "password", "administrators", "members"}},
	UserAttr: {[]role{plain, plain, plain, plain, plain}, []string{"user", "qualifier", "res1", "res2", "attr"}},
	// One user may have several ranges: the whole line is the key.
	Subuid: {[]role{plain}, []string{"range"}},
	Subgid: {[]role{plain}, []string{"range"}},
}

func (k Kind) ranges() bool { return k == Subuid || k == Subgid }

// line is one line of a file; key is empty for a comment, an empty line, and
// one that is broken.
type line struct {
	text   string
	key    string
	fields []string
	// A carriage return ends the text, and is in no field. To the system's own
	// readers it is part of the last one: a shell there is not, a shadow(5)
	// line that is none.
	carriage bool
}

// File is an account file in its order. Lines that are no record are kept as
// they are.
type File struct {
	kind   Kind
	lines  []line
	index  map[string]int // of keys
	broken map[string]int // name in a line that cannot be read → its number
}

// Parse never fails: what it cannot read is kept and named by Broken.
func Parse(kind Kind, data []byte) *File {
	f := &File{kind: kind, index: map[string]int{}, broken: map[string]int{}}
	data = bytes.TrimSuffix(data, []byte("\n"))
	if len(data) == 0 {
		return f
	}
	for n, text := range strings.Split(string(data), "\n") {
		l := line{text: text}
		text, l.carriage = strings.CutSuffix(text, "\r")
		key, fields := parseLine(kind, text)
		_, double := f.index[key]
		switch {
		case key == "" && fields == nil: // comment or empty
		case fields == nil || double:
			f.broken[key] = n + 1
		default:
			l.key, l.fields = key, fields
			f.index[key] = len(f.lines)
		}
		f.lines = append(f.lines, l)
	}
	return f
}

// parseLine returns "", nil for a line that holds no record, and no fields
// for one that is broken.
func parseLine(kind Kind, text string) (key string, fields []string) {
	if text == "" || text[0] == '#' || strings.TrimSpace(text) == "" {
		return "", nil
	}
	fields = strings.Split(text, ":")
	if nis(fields[0]) { // passwd(5), nsswitch.conf(5) compat: any number of fields
		return fields[0], fields
	}
	if kind.ranges() {
		if len(fields) != 3 || fields[0] == "" {
			return text, nil
		}
		return text, []string{text}
	}
	if fields[0] == "" {
		return text, nil
	}
	if len(fields) != len(formats[kind].fields) {
		return fields[0], nil
	}
	return fields[0], fields
}

// nis says whether a name stands for users or groups of a directory service.
func nis(name string) bool { return name != "" && (name[0] == '+' || name[0] == '-') }

// Bytes is the file's content.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range f.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Readable is the file's content without the lines that cannot be read.
func (f *File) Readable() []byte {
	var b bytes.Buffer
	for _, l := range f.lines {
		if key, fields := parseLine(f.kind, strings.TrimSuffix(l.text, "\r")); key != "" && (fields == nil || l.key == "") {
			continue // broken, or a name a second time
		}
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Get returns the fields of a record, nil if there is none.
func (f *File) Get(key string) []string {
	if f == nil {
		return nil
	}
	i, ok := f.index[key]
	if !ok {
		return nil
	}
	return f.lines[i].fields
}

// carriage is the number of the line of a record that a carriage return ends, 0
// where there is no such.
func (f *File) carriage(key string) int {
	if f == nil {
		return 0
	}
	if i, ok := f.index[key]; ok && f.lines[i].carriage {
		return i + 1
	}
	return 0
}

// carriages counts the records that a carriage return ends; first is the line of
// the first.
func (f *File) carriages() (n, first int) {
	for i, l := range f.lines {
		if l.carriage && l.key != "" {
			if n++; n == 1 {
				first = i + 1
			}
		}
	}
	return n, first
}

// Keys lists the records in the file's order.
func (f *File) Keys() []string {
	if f == nil {
		return nil
	}
	var keys []string
	for _, l := range f.lines {
		if l.key != "" {
			keys = append(keys, l.key)
		}
	}
	return keys
}

func (f *File) clone() *File {
	c := &File{kind: f.kind, lines: append([]line(nil), f.lines...), index: map[string]int{}, broken: f.broken}
	for k, v := range f.index {
		c.index[k] = v
	}
	return c
}

// put replaces a record where it stands. A new one goes to the end, but before
// the first line that lets a directory service in: what is behind it comes too
// late (nsswitch.conf(5), compat), a denial as well as a local name. A line for
// the service stands behind those that are there, but before "+" alone, which
// is everybody.
func (f *File) put(key string, fields []string) {
	l := line{text: strings.Join(fields, ":"), key: key, fields: fields}
	if i, ok := f.index[key]; ok {
		if l.carriage = f.lines[i].carriage; l.carriage {
			l.text += "\r"
		}
		f.lines[i] = l
		return
	}
	at := len(f.lines)
	for i, l := range f.lines {
		if l.key != "" && l.key[0] == '+' && (key[0] != '+' || l.key == "+") {
			at = i
			break
		}
	}
	for !nis(key) && at > 0 && nis(f.lines[at-1].key) {
		at--
	}
	f.lines = append(f.lines, line{})
	copy(f.lines[at+1:], f.lines[at:])
	f.lines[at] = l
	f.reindex()
}

func (f *File) remove(key string) {
	i, ok := f.index[key]
	if !ok {
		return
	}
	f.lines = append(f.lines[:i:i], f.lines[i+1:]...)
	f.reindex()
}

func (f *File) reindex() {
	f.index = map[string]int{}
	for i, l := range f.lines {
		if l.key != "" {
			f.index[l.key] = i
		}
	}
}

// idOwner is the first record beside key that has the same uid or gid.
func (f *File) idOwner(key string, fields []string) (string, bool) {
	i := f.kind.idField()
	if i < 0 || len(fields) <= i {
		return "", false
	}
	for _, l := range f.lines {
		if l.key != "" && l.key != key && len(l.fields) > i && !nis(l.key) && sameNumber(l.fields[i], fields[i]) {
			return l.key, true
		}
	}
	return "", false
}

func (k Kind) idField() int {
	for i, r := range formats[k].fields {
		if r == id {
			return i
		}
	}
	return -1
}

func sameNumber(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err1 == nil && err2 == nil && x == y
}
