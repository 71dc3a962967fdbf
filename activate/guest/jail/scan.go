package jail

import (
	"fmt"
	"strings"
)

// A jail.conf(5) is read as jail(8) of FreeBSD reads it: what is a token is of
// usr.sbin/jail/jaillex.l, what they mean of jailparse.y and config.c, main of
// 2025. Where releases differ, or jail(8) itself reads past a string's end, the
// file is refused.

type kind byte

const (
	isEnd          kind = 0
	isAppend       kind = '+' // +=
	isString       kind = 's' // begins a string, or a name
	isMoreString   kind = 'S' // goes on with it, without a space between
	isVariable     kind = 'v' // $NAME, which begins a string
	isMoreVariable kind = 'V'
	// The others are themselves: , ; = { }
)

type token struct {
	kind kind
	text string
	line int
}

// describe names a token in an error.
func (t token) describe() string {
	switch t.kind {
	case isEnd:
		return "the end of the file"
	case isAppend:
		return "+="
	case isString, isMoreString:
		return fmt.Sprintf("%q", t.text)
	case isVariable, isMoreVariable:
		return fmt.Sprintf("$%s", t.text)
	}
	return fmt.Sprintf("%c", t.kind)
}

type scanner struct {
	file, text string
	pos, line  int
	joined     bool // what follows goes on with the string before
	quoted     bool // inside of double quotes, after a variable
}

// Where is a place in a file.
type where struct {
	file string
	line int
}

func (w where) String() string { return fmt.Sprintf("%s:%d", w.file, w.line) }

func (s *scanner) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s: %s", where{s.file, line}, fmt.Sprintf(format, args...))
}

// take moves on by n bytes and returns them.
func (s *scanner) take(n int) string {
	text := s.text[s.pos : s.pos+n]
	s.pos += n
	s.line += strings.Count(text, "\n")
	return text
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_!%&()-.:<>?@[]^`|~", c) >= 0
}

func isName(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

// unescaped is the index in text of the first of chars that no backslash stands
// before, or -1.
func unescaped(text, chars string) int {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
		} else if strings.IndexByte(chars, text[i]) >= 0 {
			return i
		}
	}
	return -1
}

func (s *scanner) next() (token, error) {
	for {
		rest, line := s.text[s.pos:], s.line
		if rest == "" {
			return token{isEnd, "", line}, nil
		}
		if s.quoted && rest[0] == '"' {
			s.take(1)
			s.quoted = false
			continue
		}
		switch {
		case rest[0] == '$':
			return s.variable()
		case rest[0] == '\\':
			return s.escape()
		case s.quoted:
			return s.inQuotes()
		}
		switch c := rest[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			s.take(1)
			s.joined = false
		case c == '#', strings.HasPrefix(rest, "//"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				rest = rest[:i]
			}
			s.take(len(rest))
			s.joined = false
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				return token{}, s.errorf(line, "a comment has no end")
			}
			s.take(i + 4)
			s.joined = false
		case strings.HasPrefix(rest, "+="):
			s.take(2)
			s.joined = false
			return token{isAppend, "", line}, nil
		case strings.IndexByte(",;={}", c) >= 0:
			s.take(1)
			s.joined = false
			return token{kind(c), "", line}, nil
		case isWord(c):
			n := 1
			for n < len(rest) && isWord(rest[n]) {
				n++
			}
			return s.string(s.take(n), line)
		case strings.IndexByte("*+/", c) >= 0:
			return s.string(s.take(1), line)
		case c == '\'':
			i := unescaped(rest[1:], "'")
			if i < 0 {
				return token{}, s.errorf(line, "a string has no end")
			}
			text := s.take(i + 2)
			return s.string(text[1:len(text)-1], line)
		case c == '"':
			if unescaped(rest[1:], `"`) < 0 {
				return token{}, s.errorf(line, "a string has no end")
			}
			s.take(1)
			s.quoted = true
			return s.inQuotes()
		default:
			return token{}, s.errorf(line, "%q may stand only in quotes", c)
		}
	}
}

// inQuotes takes up to a variable, or to the quote that ends the string, and
// that as well. One is there.
func (s *scanner) inQuotes() (token, error) {
	line := s.line
	i := unescaped(s.text[s.pos:], `"$`)
	if i < 0 {
		return token{}, s.errorf(line, "a string has no end")
	}
	text := s.take(i)
	if s.text[s.pos] == '"' {
		s.take(1)
		s.quoted = false
	}
	return s.string(text, line)
}

// escape takes a backslash and what it is for.
func (s *scanner) escape() (token, error) {
	rest, line := s.text[s.pos:], s.line
	n := 2
	switch {
	case len(rest) < 2:
		return token{}, s.errorf(line, "a backslash is the last of it")
	case rest[1] >= '0' && rest[1] <= '7':
		for n < 4 && n < len(rest) && rest[n] >= '0' && rest[n] <= '7' {
			n++
		}
	case rest[1] == 'x':
		for n < 4 && n < len(rest) && strings.IndexByte("0123456789abcdefABCDEF", rest[n]) >= 0 {
			n++
		}
	}
	return s.string(s.take(n), line)
}

// variable takes $NAME or ${NAME}, or a dollar that is no more than that.
func (s *scanner) variable() (token, error) {
	rest, line := s.text[s.pos:], s.line
	n := 1
	for n < len(rest) && isName(rest[n], n == 1) {
		n++
	}
	var text string
	switch {
	case n > 1:
		text = s.take(n)[1:]
	case strings.HasPrefix(rest, "${"):
		bad := "\n{}"
		if s.quoted {
			bad += `"`
		}
		i := unescaped(rest[2:], bad)
		if i < 0 || rest[2+i] != '}' {
			return token{}, s.errorf(line, "a variable has no end")
		}
		text = s.take(i + 3)
		text = text[2 : len(text)-1]
	default:
		return s.string(s.take(1), line)
	}
	t, err := s.string(text, line)
	if t.kind == isString {
		t.kind = isVariable
	} else {
		t.kind = isMoreVariable
	}
	return t, err
}

// string is a token of the text, with its escapes worked out.
func (s *scanner) string(text string, line int) (token, error) {
	k := isString
	if s.joined {
		k = isMoreString
	}
	s.joined = true
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			i++ // there is one: see unescaped and escape
			switch c = text[i]; c {
			case 'a':
				c = '\a'
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'v':
				c = '\v'
			case '\n':
				continue
			case 'x':
				c, i = number(text, i+1, 16, 2)
			case '0', '1', '2', '3', '4', '5', '6', '7':
				c, i = number(text, i, 8, 3)
			}
		}
		if c == 0 {
			return token{}, s.errorf(line, "a string holds a byte that is zero, and would end there")
		}
		out.WriteByte(c)
	}
	return token{k, out.String(), line}, nil
}

// number is the byte that at most max digits from text[i] on stand for, and the
// index of the last of them.
func number(text string, i, base, max int) (byte, int) {
	value, to := 0, i
	for ; to < len(text) && to < i+max; to++ {
		digit := strings.IndexByte("0123456789abcdef", lower(text[to]))
		if digit < 0 || digit >= base {
			break
		}
		value = value*base + digit
	}
	return byte(value), to - 1
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
