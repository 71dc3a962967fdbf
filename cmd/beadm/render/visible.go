package render

import (
	"strings"
	"unicode/utf8"
)

// Visible is a text of anybody's for a terminal and for JSON: as cat -v shows
// it, lines and tabs kept. What is UTF-8 stays, but for U+0080 to U+009F, which
// a terminal obeys as it does ESC, and what turns the direction of writing, by
// which a line reads as another than it is.
func Visible(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		turns := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
		switch {
		case r == '\n' || r == '\t', r >= ' ' && r < 0x7f, r >= 0xa0 && !turns && !(r == utf8.RuneError && n == 1):
			b.WriteString(text[i : i+n])
		default:
			for _, c := range []byte(text[i : i+n]) {
				caret(&b, c)
			}
		}
		i += n
	}
	return b.String()
}

// caret is one byte in cat -v's notation.
func caret(b *strings.Builder, c byte) {
	if c >= 0x80 {
		b.WriteString("M-")
		c -= 0x80
	}
	switch {
	case c < ' ':
		b.Write([]byte{'^', c + '@'})
	case c == 0x7f:
		b.WriteString("^?")
	default:
		b.WriteByte(c)
	}
}
