package zfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A record of a stream of zfs send (OpenZFS, sys/zfs_ioctl.h,
// dmu_replay_record) has 312 bytes, and some are followed by a payload.
const (
	recordSize  = 312
	streamMagic = 0x2f5bacbac

	recordBegin    = 0
	recordObject   = 1
	recordWrite    = 3
	recordEnd      = 5
	recordSpill    = 7
	recordEmbedded = 8
	recordLast     = 10 // redact
)

// maxPayload is more than any block is long.
const maxPayload = 64 << 20

var errCutOff = errors.New("the stream is cut off: its end is missing")

// IsStream says whether what begins so is a stream of zfs send.
func IsStream(head []byte) bool {
	_, err := orderOf(head)
	return err == nil
}

func orderOf(record []byte) (binary.ByteOrder, error) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if len(record) >= 16 && order.Uint32(record) == recordBegin && order.Uint64(record[8:]) == streamMagic {
			return order, nil
		}
	}
	return nil, errors.New("it is damaged, or no stream of zfs send")
}

// begin is the head of the stream of one file system.
type begin struct {
	order   binary.ByteOrder
	name    string // DATASET@SNAP it was sent from
	record  []byte
	payload []byte
}

// readBegin reads the head of the next stream; io.EOF if there is none.
func readBegin(r *bufio.Reader) (*begin, error) {
	record := make([]byte, recordSize)
	switch _, err := io.ReadFull(r, record); err {
	case nil:
	case io.ErrUnexpectedEOF:
		return nil, errCutOff
	default:
		return nil, err
	}
	order, err := orderOf(record)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(string(record[56:]), "\x00")
	b := &begin{order: order, name: name, record: record}
	switch {
	case order.Uint64(record[16:])&3 != 1:
		return nil, errors.New("it is of zfs send with -R, -p or -I: send each file system on its own, or let beadm export or bectl export do it")
	case order.Uint64(record[48:]) != 0:
		return nil, errors.New("it holds what has changed since another snapshot only: send the whole")
	case order.Uint32(record[32:]) != 2: // DMU_OST_ZFS
		return nil, errors.New("it is no stream of a file system")
	}
	n := order.Uint32(record[4:])
	if n > maxPayload {
		return nil, errors.New("it is damaged: a record is longer than any")
	}
	b.payload = make([]byte, n)
	if _, err := io.ReadFull(r, b.payload); err != nil {
		return nil, cutOff(err)
	}
	return b, nil
}

// copyTo writes the stream down to its end record, and reads no further.
func (b *begin) copyTo(ctx context.Context, r *bufio.Reader, w io.Writer) error {
	out := &output{w: w}
	out.write(b.record)
	out.write(b.payload)
	record := make([]byte, recordSize)
	var payload []byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, record); err != nil {
			return cutOff(err)
		}
		n, err := b.payloadOf(record)
		if err != nil {
			return err
		}
		if uint64(cap(payload)) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(r, payload); err != nil {
			return cutOff(err)
		}
		out.write(record)
		out.write(payload)
		if out.err != nil || b.order.Uint32(record) == recordEnd {
			return out.err
		}
	}
}

// output keeps its first error.
type output struct {
	w   io.Writer
	err error
}

func (o *output) write(p []byte) {
	if o.err == nil && len(p) > 0 {
		_, o.err = o.w.Write(p)
	}
}

// payloadOf is how many bytes follow a record.
func (b *begin) payloadOf(record []byte) (n uint64, err error) {
	u32 := func(at int) uint64 { return uint64(b.order.Uint32(record[at:])) }
	u64 := func(at int) uint64 { return b.order.Uint64(record[at:]) }
	round := func(n uint64) uint64 { return (n + 7) &^ 7 }
	switch kind := u32(0); {
	case kind == recordBegin || kind > recordLast:
		return 0, fmt.Errorf("the stream is damaged: a record of type %d", kind)
	case kind == recordObject:
		if n = u32(36); n == 0 { // raw
			n = round(u32(28))
		}
	case kind == recordWrite:
		if n = u64(32); record[50] != 0 { // compressed
			n = u64(96)
		}
	case kind == recordSpill:
		if n = u64(40); n == 0 { // compressed
			n = u64(16)
		}
	case kind == recordEmbedded:
		n = round(u32(52))
	}
	if n > maxPayload {
		return 0, errors.New("the stream is damaged: a record is longer than any")
	}
	return n, nil
}

func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCutOff
	}
	return err
}
