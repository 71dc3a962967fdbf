package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// limited is a connection to a bus of which no more is read than a guest has to
// say, and no message that only claims to be long: the library makes room for
// what is claimed.
type limited struct {
	net.Conn
	r     io.Reader
	begun atomic.Bool // messages follow
	head  []byte      // of the next one, read and not handed out
	left  int         // of the message that is being handed out, behind its head
}

// headSize is the fixed part of a message's header (D-Bus Specification,
// Message Format).
const headSize = 16

// Write knows the end of the authentication by what the client says.
func (l *limited) Write(p []byte) (int, error) {
	if bytes.Equal(p, []byte("BEGIN\r\n")) {
		l.begun.Store(true)
	}
	return l.Conn.Write(p)
}

func (l *limited) Read(p []byte) (int, error) {
	if !l.begun.Load() {
		return l.r.Read(p)
	}
	if len(l.head) == 0 && l.left == 0 {
		head := make([]byte, headSize)
		if _, err := io.ReadFull(l.r, head); err != nil {
			return 0, err
		}
		var order binary.ByteOrder = binary.LittleEndian
		if head[0] == 'B' {
			order = binary.BigEndian
		}
		body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
		if body > manyUnits || fields > manyUnits {
			return 0, errors.New("it sends a message that is too long")
		}
		// The fields end at a multiple of eight.
		l.head, l.left = head, int(body)+int(fields+7)/8*8
	}
	if len(l.head) > 0 {
		n := copy(p, l.head)
		l.head = l.head[n:]
		return n, nil
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
