// Package lines merges text files: by hunks as diff3(1) does, or as sets of
// lines. It is pure.
package lines

import (
	"bytes"
	"slices"
)

// maxEdits bounds what a diff costs; files further apart are a conflict.
const maxEdits = 1000

// Merge does to cur what turned old into new. ok is false where both changed
// the same lines, or a file is not text.
func Merge(old, new, cur []byte) (merged []byte, ok bool) {
	if bytes.IndexByte(old, 0) >= 0 || bytes.IndexByte(new, 0) >= 0 || bytes.IndexByte(cur, 0) >= 0 {
		return nil, false
	}
	o, n, c := split(old), split(new), split(cur)
	theirs, ok1 := diff(o, n)
	mine, ok2 := diff(o, c)
	if !ok1 || !ok2 {
		return nil, false
	}
	var out []string
	at := 0 // in o
	for len(theirs) > 0 || len(mine) > 0 {
		var h hunk
		switch {
		case len(theirs) > 0 && len(mine) > 0 && theirs[0].touches(mine[0]):
			if !theirs[0].equal(mine[0]) {
				return nil, false
			}
			h, theirs, mine = theirs[0], theirs[1:], mine[1:]
		case len(mine) == 0 || len(theirs) > 0 && theirs[0].from < mine[0].from:
			h, theirs = theirs[0], theirs[1:]
		default:
			h, mine = mine[0], mine[1:]
		}
		out = append(out, o[at:h.from]...)
		out = append(out, h.lines...)
		at = h.to
	}
	out = append(out, o[at:]...)
	var b bytes.Buffer
	for _, l := range out {
		b.WriteString(l)
	}
	return b.Bytes(), true
}

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

// hunk replaces the lines from, to of the old file.
type hunk struct {
	from, to int
	lines    []string
}

// touches: changes side by side are one change, as diff3 sees it.
func (h hunk) touches(g hunk) bool { return h.from <= g.to && g.from <= h.to }

func (h hunk) equal(g hunk) bool {
	return h.from == g.from && h.to == g.to && slices.Equal(h.lines, g.lines)
}

// diff is Myers' greedy algorithm ("An O(ND) difference algorithm", 1986).
func diff(a, b []string) (hunks []hunk, ok bool) {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	enda, endb := len(a), len(b)
	for enda > start && endb > start && a[enda-1] == b[endb-1] {
		enda--
		endb--
	}
	x, y := a[start:enda], b[start:endb]
	trace, ok := search(x, y)
	if !ok {
		return nil, false
	}
	// Back along the path; single edits, last first.
	i, j := len(x), len(y)
	type edit struct{ i, j, di, dj int }
	var edits []edit
	for d := len(trace) - 1; d > 0; d-- {
		v := trace[d-1]
		k := i - j
		prev := k - 1
		if k == -d || k != d && v[k-1] < v[k+1] {
			prev = k + 1
		}
		e := edit{i: v[prev], j: v[prev] - prev}
		if prev == k+1 {
			e.dj = 1 // a line came
		} else {
			e.di = 1 // a line went
		}
		edits = append(edits, e)
		i, j = e.i, e.j
	}
	slices.Reverse(edits)
	for _, e := range edits {
		h := hunk{start + e.i, start + e.i + e.di, y[e.j : e.j+e.dj]}
		if n := len(hunks); n > 0 && hunks[n-1].to == h.from {
			hunks[n-1].to = h.to
			hunks[n-1].lines = append(slices.Clone(hunks[n-1].lines), h.lines...)
			continue
		}
		hunks = append(hunks, h)
	}
	return hunks, true
}

// search returns, for each number of edits, how far each diagonal got.
func search(a, b []string) (trace []map[int]int, ok bool) {
	v := map[int]int{1: 0}
	for d := 0; d <= min(len(a)+len(b), maxEdits); d++ {
		next := make(map[int]int, d+1)
		for k := -d; k <= d; k += 2 {
			var i int
			if k == -d || k != d && v[k-1] < v[k+1] {
				i = v[k+1]
			} else {
				i = v[k-1] + 1
			}
			j := i - k
			for i < len(a) && j < len(b) && a[i] == b[j] {
				i++
				j++
			}
			next[k] = i
			if i >= len(a) && j >= len(b) {
				return append(trace, next), true
			}
		}
		trace = append(trace, next)
		v = next
	}
	return nil, false
}
