package zfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// HostID is the hostid of the system that the pool belongs to, as the newest
// label of its disks says: an initramfs with another one does not import it.
// 0 is none. It costs one run of zpool(8) and one read a disk.
func (s *Store) HostID(ctx context.Context) (uint32, error) {
	out, err := s.output(ctx, "zpool", "list", "-HvPL", s.pool)
	if err != nil {
		return 0, problem(err, "cannot list the disks of pool %s", s.pool)
	}
	id, err := newestHost(out, s.pool, readLabel)
	return id, problem(err, "cannot read the hostid of pool %s", s.pool)
}

// away are the states of a disk whose label ZFS does not write (zpoolconcepts(7)).
var away = []string{"OFFLINE", "FAULTED", "REMOVED", "UNAVAIL"}

// newestHost reads the disks of a list: what was written to one while another
// was away holds.
func newestHost(list, pool string, read func(disk string) ([]byte, error)) (hostid uint32, err error) {
	var newest uint64
	found := false
	err = errors.New("it has no disk")
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "/dev/") || slices.ContainsFunc(f, func(w string) bool { return slices.Contains(away, w) }) {
			continue
		}
		label, rerr := read(f[0])
		if rerr != nil {
			err = rerr
			continue
		}
		name, id, txg, lerr := labelHost(label)
		if lerr == nil && name != pool { // a spare or a cache device has another label
			lerr = fmt.Errorf("the label of %s is not the pool's", f[0])
		}
		if lerr != nil {
			err = lerr
			continue
		}
		if !found || txg > newest {
			found, newest, hostid = true, txg, id
		}
	}
	if found {
		return hostid, nil
	}
	return 0, err
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
func labelHost(b []byte) (pool string, hostid uint32, txg uint64, err error) {
	broken := errors.New("the label is not one of ZFS, or damaged")
	if len(b) < 12 || b[0] != 1 {
		return "", 0, 0, broken
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
			return "", 0, 0, broken
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
		case name == "txg" && kind == kindUint64 && n == 1:
			txg = uint64(r.uint32())<<32 | uint64(r.uint32())
		}
		at += size
	}
	if pool == "" {
		return "", 0, 0, broken
	}
	return pool, hostid, txg, nil
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
