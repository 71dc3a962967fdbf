// Package grubenv reads and writes GRUB's environment block: bytes in, bytes
// out. The format is that of grub-core/lib/envblk.c in GRUB 2.06: a signature
// line, lines of NAME=VALUE where a backslash or newline in the value has a
// backslash before it, lines that begin with # for remarks, and # up to the
// end of the block.
package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Signature is what a block begins with.
const Signature = "# GRUB Environment Block\n"

// Size is that of the blocks we make: one sector, so that writing it is
// atomic. LargeSize is what grub-editenv makes.
const (
	Size      = 512
	LargeSize = 1024
)

// ErrFull is what Encode says of variables that do not fit in the block.
var ErrFull = errors.New("the environment block is full")

// Env is a parsed block. Variables that nobody sets, and remarks, keep their
// value and their place.
type Env struct {
	size  int
	lines []line
}

type line struct {
	remark bool
	name   string // of a variable, or the whole remark
	value  string
}

// New is an empty block of 512 bytes.
func New() *Env { return &Env{size: Size} }

// Parse accepts a block of 512 or 1024 bytes that GRUB reads to the same
// variables, and nothing else: what looks damaged is refused.
func Parse(b []byte) (*Env, error) {
	if len(b) != Size && len(b) != LargeSize {
		return nil, fmt.Errorf("an environment block has %d or %d bytes, this has %d", Size, LargeSize, len(b))
	}
	rest, ok := bytes.CutPrefix(b, []byte(Signature))
	if !ok {
		return nil, errors.New("no environment block: its signature is missing")
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, errors.New("damaged environment block: it holds a NUL")
	}
	e := &Env{size: len(b)}
	for len(rest) > 0 {
		if rest[0] == '#' {
			text, after, ended := bytes.Cut(rest, []byte("\n"))
			if !ended {
				if strings.Trim(string(rest), "#") != "" {
					return nil, errors.New("damaged environment block: something stands in its padding")
				}
				break
			}
			e.lines = append(e.lines, line{remark: true, name: string(text)})
			rest = after
			continue
		}
		name, after, ok := bytes.Cut(rest, []byte("="))
		if !ok || checkName(string(name)) != nil {
			return nil, errors.New("damaged environment block: a line is no NAME=VALUE")
		}
		value, after, err := unescape(after)
		if err != nil {
			return nil, err
		}
		e.lines = append(e.lines, line{name: string(name), value: value})
		rest = after
	}
	return e, nil
}

// unescape takes one value and its newline off b.
func unescape(b []byte) (string, []byte, error) {
	var value []byte
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\n':
			return string(value), b[i+1:], nil
		case '\\':
			i++
			if i == len(b) {
				return "", nil, errors.New("damaged environment block: it ends inside an escape")
			}
			fallthrough
		default:
			value = append(value, b[i])
		}
	}
	return "", nil, errors.New("damaged environment block: its last line has no end")
}

func checkName(name string) error {
	if name == "" || name[0] == '#' || strings.ContainsAny(name, "=\n\\\x00") {
		return fmt.Errorf("%q cannot name a variable of an environment block", name)
	}
	return nil
}

// Get returns the value GRUB would load: of several lines with the name, the
// last. ok is false when there is none.
func (e *Env) Get(name string) (value string, ok bool) {
	for _, l := range e.lines {
		if !l.remark && l.name == name {
			value, ok = l.value, true
		}
	}
	return value, ok
}

// Names lists the variables in the order of the block.
func (e *Env) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, l := range e.lines {
		if !l.remark && !seen[l.name] {
			seen[l.name] = true
			names = append(names, l.name)
		}
	}
	return names
}

// Set gives the variable its value, in its old place if it has one. It fails
// only for names and values that the format cannot hold; whether all fits is
// said by Encode.
func (e *Env) Set(name, value string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("the value of %s holds a NUL", name)
	}
	at := -1
	kept := e.lines[:0:0]
	for _, l := range e.lines {
		if !l.remark && l.name == name {
			if at >= 0 {
				continue
			}
			at = len(kept)
		}
		kept = append(kept, l)
	}
	if at < 0 {
		at = len(kept)
		kept = append(kept, line{})
	}
	kept[at] = line{name: name, value: value}
	e.lines = kept
	return nil
}

// Unset takes the variable out; none is no error.
func (e *Env) Unset(name string) {
	kept := e.lines[:0:0]
	for _, l := range e.lines {
		if l.remark || l.name != name {
			kept = append(kept, l)
		}
	}
	e.lines = kept
}

// Encode returns the block, as long as the one that was parsed, or an error
// that wraps ErrFull.
func (e *Env) Encode() ([]byte, error) {
	b := []byte(Signature)
	for _, l := range e.lines {
		b = append(b, l.name...)
		if !l.remark {
			b = append(b, '=')
			for i := 0; i < len(l.value); i++ {
				if c := l.value[i]; c == '\\' || c == '\n' {
					b = append(b, '\\')
				}
				b = append(b, l.value[i])
			}
		}
		b = append(b, '\n')
	}
	if len(b) > e.size {
		return nil, fmt.Errorf("%d bytes do not fit in %d: %w", len(b), e.size, ErrFull)
	}
	return append(b, bytes.Repeat([]byte("#"), e.size-len(b))...), nil
}
