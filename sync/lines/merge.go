// Package lines merges text files: by hunks as diff3(1) does, or as sets of
// lines. It is pure.
package lines

import (
	"bytes"
	"slices"

	"github.com/aymanbagabas/go-udiff"
)

// Merge does to cur what turned old into new. ok is false where both changed
// the same lines or lines side by side, as diff3 sees it, or a file is not
// text. What it costs is bounded: texts far apart get hunks larger than need
// be, so at worst a conflict more.
func Merge(old, new, cur []byte) (merged []byte, ok bool) {
	if !text(old) || !text(new) || !text(cur) {
		return nil, false
	}
	theirs, mine := udiff.Lines(string(old), string(new)), udiff.Lines(string(old), string(cur))
	var both []udiff.Edit
	for len(theirs) > 0 && len(mine) > 0 {
		t, m := theirs[0], mine[0]
		switch {
		case t == m:
			both, theirs, mine = append(both, t), theirs[1:], mine[1:]
		case t.End < m.Start:
			both, theirs = append(both, t), theirs[1:]
		case m.End < t.Start:
			both, mine = append(both, m), mine[1:]
		default:
			return nil, false
		}
	}
	both = append(append(both, theirs...), mine...)
	merged, err := udiff.ApplyBytes(old, both)
	return merged, err == nil
}

func text(data []byte) bool { return bytes.IndexByte(data, 0) < 0 }

// Set does to cur what turned old into new, where the order of lines means
// nothing: lines that went there go, lines that came there come, at the end.
// A line removed on either side is gone.
func Set(old, new, cur []byte) []byte {
	o, n, c := split(ended(old)), split(ended(new)), split(ended(cur))
	var b bytes.Buffer
	for _, l := range c {
		if blank(l) || !slices.Contains(o, l) || slices.Contains(n, l) {
			b.WriteString(l)
		}
	}
	for _, l := range n {
		if !blank(l) && !slices.Contains(o, l) && !slices.Contains(c, l) {
			b.WriteString(l)
		}
	}
	return b.Bytes()
}

// Removed is the part of old → new that only takes lines away.
func Removed(old, new []byte) []byte {
	n := split(ended(new))
	var b bytes.Buffer
	for _, l := range split(ended(old)) {
		if slices.Contains(n, l) {
			b.WriteString(l)
		}
	}
	return b.Bytes()
}

func blank(l string) bool { return len(bytes.TrimSpace([]byte(l))) == 0 }

// ended gives the last line its newline.
func ended(data []byte) []byte {
	if len(data) == 0 || data[len(data)-1] == '\n' {
		return data
	}
	return append(slices.Clone(data), '\n')
}

// split cuts behind every newline.
func split(data []byte) []string {
	var list []string
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n') + 1
		if i == 0 {
			i = len(data)
		}
		list = append(list, string(data[:i]))
		data = data[i:]
	}
	return list
}
