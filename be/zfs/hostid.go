package zfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// HostID is the hostid of the system that the pool belongs to, as the label of
// the first of its disks says that can be read: an initramfs with another one
// does not import it. 0 is none. It costs one run of zpool(8) and one read.
func (s *Store) HostID(ctx context.Context) (uint32, error) {
	out, err := s.output(ctx, "zpool", "list", "-HvPL", s.pool)
	if err != nil {
		return 0, problem(err, "cannot list the disks of pool %s", s.pool)
	}
	err = errors.New("it has no disk")
	for _, word := range strings.Fields(out) {
		if !strings.HasPrefix(word, "/dev/") {
			continue
		}
		var label []byte
		if label, err = readLabel(word); err != nil {
			continue
		}
		var name string
		var id uint32
		if name, id, err = labelHost(label); err == nil && name == s.pool {
			return id, nil
		}
		if err == nil { // a spare or a cache device has another label
			err = fmt.Errorf("the label of %s is not the pool's", word)
		}
	}
	return 0, problem(err, "cannot read the hostid of pool %s", s.pool)
}

// Where the first label of a disk has its configuration (OpenZFS,
// include/sys/vdev_impl.h: vdev_label_t, vl_vdev_phys).
const (
	labelAt   = 16 << 10
	labelSize = 112 << 10
)

// Kinds of a pair's value (OpenZFS, include/sys/nvpair.h, data_type_t).
const (
	kindUint64 = 8
	kindString = 9
)

// labelHost reads a label's configuration, an nvlist in XDR (RFC 4506; OpenZFS,
// module/nvpair/nvpair.c): four bytes of which the first says so, version and
// flags; then pairs of encoded size, decoded size, name, kind, number of
// elements and value, the last with sizes of zero.
func labelHost(b []byte) (pool string, hostid uint32, err error) {
	broken := errors.New("the label is not one of ZFS, or damaged")
	if len(b) < 12 || b[0] != 1 {
		return "", 0, broken
	}
	at := 12
	for {
		r := xdr{b[min(at, len(b)):]}
		size := int(r.uint32())
		r.uint32()
		if size == 0 && at+8 <= len(b) {
			break
		}
		if size < 20 || at+size > len(b) {
			return "", 0, broken
		}
		r.b = r.b[:size-8]
		name := r.string()
		kind, n := r.uint32(), r.uint32()
		switch {
		case name == "name" && kind == kindString && n == 1:
			pool = r.string()
		case name == "hostid" && kind == kindUint64 && n == 1:
			r.uint32()
			hostid = r.uint32()
		}
		at += size
	}
	if pool == "" {
		return "", 0, broken
	}
	return pool, hostid, nil
}

// xdr reads values; what is not there is zero.
type xdr struct{ b []byte }

func (r *xdr) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b = nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *xdr) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *xdr) string() string {
	n := int(r.uint32())
	s := r.take(n)
	r.take((4 - n%4) % 4)
	return string(s)
}

// readFull reads a label from an open disk into a buffer that suits it.
func readFull(f io.ReaderAt, buf []byte) ([]byte, error) {
	if n, err := f.ReadAt(buf, labelAt); n < len(buf) {
		return nil, err
	}
	return buf, nil
}
