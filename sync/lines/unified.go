package lines

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// context is how many lines stand around a change.
const context = 3

// ErrNotText says that there are no lines to show.
var ErrNotText = errors.New("not text, or too much to compare")

// Unified shows what turned old into new, as diff -u does (POSIX, diff,
// "Diff -u Output Format"); nothing if they are the same.
func Unified(old, new []byte, oldName, newName string) (string, error) {
	if bytes.IndexByte(old, 0) >= 0 || bytes.IndexByte(new, 0) >= 0 {
		return "", ErrNotText
	}
	o := split(old)
	hunks, ok := diff(o, split(new))
	if !ok {
		return "", ErrNotText
	}
	if len(hunks) == 0 {
		return "", nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
	shift := 0 // of the new file's lines
	for len(hunks) > 0 {
		// Changes whose context touches are one group.
		n := 1
		for n < len(hunks) && hunks[n].from-hunks[n-1].to <= 2*context {
			n++
		}
		group := hunks[:n]
		hunks = hunks[n:]
		from, to := max(0, group[0].from-context), min(len(o), group[n-1].to+context)
		grown := 0
		for _, h := range group {
			grown += len(h.lines) - (h.to - h.from)
		}
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(from, to-from), span(from+shift, to-from+grown))
		shift += grown
		at := from
		for _, h := range group {
			show(&b, ' ', o[at:h.from])
			show(&b, '-', o[h.from:h.to])
			show(&b, '+', h.lines)
			at = h.to
		}
		show(&b, ' ', o[at:to])
	}
	return b.String(), nil
}

// span is a range of lines; an empty one is named by the line before it.
func span(from, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, n)
}

func show(b *strings.Builder, sign byte, lines []string) {
	for _, l := range lines {
		b.WriteByte(sign)
		b.WriteString(l)
		if !strings.HasSuffix(l, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
