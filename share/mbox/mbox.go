// Package mbox reads mailboxes of one file and puts two states of one together.
//
// Such a file is messages one after another; each begins with a line "From " at
// the file's start or behind an empty line (RFC 4155, appendix A; mbox(5) of
// mutt and qmail). A writer of the kind called mboxcl2 leaves such lines in
// texts as they are: a message is then read as two, which stay together.
package mbox

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// Message is where one stands in its file.
type Message struct {
	Offset, Size int64
	// Key is the same for two copies of a message that differ in nothing but
	// what readers of mail write into it.
	Key [sha256.Size]byte
}

var separator = []byte("From ")

// Is says whether a file that begins with head may be a mailbox with something
// in it.
func Is(head []byte) bool { return bytes.HasPrefix(head, separator) }

// ErrMany is what Scan says of a file with more messages than it keeps entries
// of: whoever owns the file could fill any memory.
var ErrMany = errors.New("it holds more than 500000 messages")

const maxMessages = 500_000

// Scan reads the messages of a file; ok is false if it is no mailbox. What
// stands in memory is an entry a message, of ErrMany's number at most.
func Scan(r io.Reader) (list []Message, ok bool, err error) {
	in := bufio.NewReaderSize(r, 256<<10)
	var at int64
	var cur *reading
	empty := true // the line before, or the file's start
	for {
		line, err := in.ReadSlice('\n')
		whole := err == nil
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, false, err
		}
		if len(line) > 0 {
			if empty && bytes.HasPrefix(line, separator) {
				if len(list) == maxMessages {
					return nil, false, ErrMany
				}
				if cur != nil {
					list = append(list, cur.end(at))
				}
				cur = &reading{at: at, sum: sha256.New(), header: true}
			}
			if cur == nil {
				return nil, false, nil // it begins with something else
			}
			cur.line(line, whole)
			at += int64(len(line))
			empty = cur.fresh && len(bytes.TrimRight(line, "\r\n")) == 0
			cur.fresh = whole
		}
		if err == io.EOF {
			break
		}
	}
	if cur != nil {
		list = append(list, cur.end(at))
	}
	return list, true, nil
}

// reading is a message that is being read.
type reading struct {
	at      int64
	sum     hash.Hash
	header  bool
	skips   bool // a header that is left out goes on in the next line
	pending int  // empty lines that count only if something follows
	fresh   bool // the last line was whole: the next piece begins one
	begun   bool
}

// volatile are the headers that readers of mail write: mutt, Pine, Dovecot,
// UW-IMAP, Thunderbird.
var volatile = [][]byte{
	[]byte("status:"), []byte("x-status:"), []byte("x-keywords:"), []byte("x-uid:"), []byte("x-imap:"), []byte("x-imapbase:"),
	[]byte("content-length:"), []byte("lines:"), []byte("x-mozilla-status:"), []byte("x-mozilla-status2:"), []byte("x-mozilla-keys:"),
}

// line takes a line, or a piece of one that is longer than the buffer.
func (m *reading) line(line []byte, whole bool) {
	goesOn := m.begun && !m.fresh
	m.begun = true
	text := bytes.TrimRight(line, "\r\n")
	if m.header && !goesOn {
		switch {
		case len(text) == 0:
			m.header, m.skips = false, false
			m.sum.Write([]byte("\n"))
			return
		case line[0] == ' ' || line[0] == '\t':
		default:
			m.skips = false
			for _, name := range volatile {
				m.skips = m.skips || len(text) >= len(name) && bytes.EqualFold(text[:len(name)], name)
			}
		}
	}
	if m.header && m.skips {
		return
	}
	if len(text) == 0 && !goesOn {
		m.pending++
		return
	}
	for ; m.pending > 0; m.pending-- {
		m.sum.Write([]byte("\n"))
	}
	m.sum.Write(text)
	if whole {
		m.sum.Write([]byte("\n"))
	}
}

func (m *reading) end(at int64) Message {
	out := Message{Offset: m.at, Size: at - m.at}
	m.sum.Sum(out.Key[:0])
	return out
}

// Part is a message of the union, and which of the two files has it.
type Part struct {
	Message
	Old bool
}

// Union is every message of old in its order and then what now has beyond it,
// each as often as the one of the two that has it more often. A message that
// both have is now's, with what was marked in it since. lacks is the number of
// those that now does not have.
func Union(old, now []Message) (parts []Part, lacks int) {
	has := map[[sha256.Size]byte][]Message{}
	for _, m := range now {
		has[m.Key] = append(has[m.Key], m)
	}
	used := map[int64]bool{} // of now, by offset
	for _, m := range old {
		if same := has[m.Key]; len(same) > 0 {
			parts = append(parts, Part{Message: same[0]})
			used[same[0].Offset] = true
			has[m.Key] = same[1:]
			continue
		}
		parts = append(parts, Part{Message: m, Old: true})
		lacks++
	}
	for _, m := range now {
		if !used[m.Offset] {
			parts = append(parts, Part{Message: m})
		}
	}
	return parts, lacks
}

// Reader reads the parts out of the two files, an empty line between two
// wherever there is none.
func Reader(old, now io.ReaderAt, parts []Part) io.Reader {
	var list []io.Reader
	for _, p := range parts {
		from := now
		if p.Old {
			from = old
		}
		list = append(list, &closing{r: io.NewSectionReader(from, p.Offset, p.Size)})
	}
	return io.MultiReader(list...)
}

// closing adds what a message's end lacks for another to follow.
type closing struct {
	r    io.Reader
	tail []byte // the last two bytes
	add  []byte
	done bool
}

func (c *closing) Read(p []byte) (int, error) {
	if !c.done {
		n, err := c.r.Read(p)
		c.tail = append(c.tail, p[max(0, n-2):n]...)
		c.tail = c.tail[max(0, len(c.tail)-2):]
		if err != io.EOF {
			return n, err
		}
		c.done = true
		for len(c.add) < 2 && !bytes.HasSuffix(append(c.tail, c.add...), []byte("\n\n")) {
			c.add = append(c.add, '\n')
		}
		if n > 0 {
			return n, nil
		}
	}
	if len(c.add) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.add)
	c.add = c.add[n:]
	return n, nil
}
