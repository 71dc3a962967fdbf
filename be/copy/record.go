package copier

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// seen is what a pass saw of a name in the source, just before it copied it.
type seen struct {
	Ino   uint64
	Sec   int64 // change time
	Nsec  int64
	Size  int64
	Mode  uint32
	Trust bool // a later change shows in the above
}

// same says that the name is still what was copied. nil is never the same.
func (s *seen) same(st *unix.Stat_t) bool {
	if s == nil || !s.Trust {
		return false
	}
	sec, nsec := ctime(st)
	return s.Ino == st.Ino && s.Sec == sec && s.Nsec == nsec && s.Size == st.Size && s.Mode == uint32(st.Mode)
}

// racy is how young a change can be for the next one to bear the same time:
// kernels count change times in ticks of up to 10 ms, and file systems may
// round them to more.
const racy = 2 * time.Second

// record is what one pass saw, in the order of its walk, in a file that has
// no name: a million messages must not be a million entries in memory. The
// next pass walks in the same order and reads along.
type record struct {
	f   *os.File
	w   *bufio.Writer
	err error

	r   *bufio.Reader
	at  []byte // the entry read last
	cur seen
	eof bool
}

func newRecord() (*record, error) {
	f, err := os.CreateTemp("", "beadm-copy-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	return &record{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

// key is a path in a form whose byte order is the order of the walk.
func key(at []string) []byte { return []byte(strings.Join(at, "\x00")) }

// add writes an entry. trust false makes the next pass copy it again.
func (r *record) add(at []string, st *unix.Stat_t, trust bool) {
	sec, nsec := ctime(st)
	if age := time.Since(time.Unix(sec, nsec)); age < racy && age > -racy {
		trust = false
	}
	k := key(at)
	b := binary.AppendUvarint(nil, uint64(len(k)))
	b = append(b, k...)
	b = binary.AppendUvarint(b, st.Ino)
	b = binary.AppendVarint(b, sec)
	b = binary.AppendVarint(b, nsec)
	b = binary.AppendVarint(b, st.Size)
	b = binary.AppendUvarint(b, uint64(uint32(st.Mode)))
	t := byte(0)
	if trust {
		t = 1
	}
	if _, err := r.w.Write(append(b, t)); err != nil && r.err == nil {
		r.err = err
	}
}

// flush ends writing and begins reading.
func (r *record) flush() error {
	if err := r.w.Flush(); err != nil && r.err == nil {
		r.err = err
	}
	if _, err := r.f.Seek(0, io.SeekStart); err != nil && r.err == nil {
		r.err = err
	}
	r.r = bufio.NewReaderSize(r.f, 64<<10)
	return r.err
}

// find returns what the pass saw of the name, nil if it saw none. It must be
// asked in the order of the walk. What cannot be read counts as not seen: it
// is copied again.
func (r *record) find(at []string) *seen {
	if r == nil || r.err != nil {
		return nil
	}
	k := key(at)
	for !r.eof {
		switch bytes.Compare(r.at, k) {
		case 0:
			if r.at != nil {
				return &r.cur
			}
		case 1:
			return nil
		}
		r.read()
	}
	return nil
}

func (r *record) read() {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.eof = true
		return
	}
	at := make([]byte, n)
	if _, err = io.ReadFull(r.r, at); err != nil {
		r.eof = true
		return
	}
	var cur seen
	var mode uint64
	var t byte
	for _, step := range []func(){
		func() { cur.Ino, err = binary.ReadUvarint(r.r) },
		func() { cur.Sec, err = binary.ReadVarint(r.r) },
		func() { cur.Nsec, err = binary.ReadVarint(r.r) },
		func() { cur.Size, err = binary.ReadVarint(r.r) },
		func() { mode, err = binary.ReadUvarint(r.r) },
		func() { t, err = r.r.ReadByte() },
	} {
		if step(); err != nil {
			r.eof = true
			return
		}
	}
	cur.Mode, cur.Trust = uint32(mode), t == 1
	r.at, r.cur = at, cur
}

func (r *record) close() {
	if r != nil {
		r.f.Close()
	}
}
