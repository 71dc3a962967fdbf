package rooted

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Printable is a path in UTF-8 and on one line, for people: bytes that are not,
// and those that would move a cursor, are written \xNN, a backslash \\.
func Printable(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		switch {
		case r == utf8.RuneError && n <= 1, r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0:
			for _, c := range []byte(p[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(p[i : i+n])
		}
		i += n
	}
	return b.String()
}
