package zfs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// constructedStream is one of zfs send, by sys/zfs_ioctl.h of OpenZFS 2.1, with a
// record of each type that has a payload, in either order of bytes.
func constructedStream(order binary.ByteOrder, name string, change func(begin []byte)) []byte {
	record := func(kind uint32, set map[int]any) []byte {
		r := make([]byte, recordSize)
		order.PutUint32(r, kind)
		for at, v := range set {
			switch v := v.(type) {
			case uint32:
				order.PutUint32(r[at:], v)
			case uint64:
				order.PutUint64(r[at:], v)
			case byte:
				r[at] = v
			}
		}
		return r
	}
	begin := record(recordBegin, map[int]any{4: uint32(8), 8: uint64(streamMagic), 16: uint64(1), 32: uint32(2), 40: uint64(77)})
	copy(begin[56:], name)
	if change != nil {
		change(begin)
	}
	// What follows a record looks like the beginning of another one.
	like := func(n int) []byte { return bytes.Repeat(record(recordEnd, nil)[:8], n/8) }
	return slices.Concat(begin, like(8),
		record(recordObject, map[int]any{28: uint32(13)}), like(16),
		record(recordObject, map[int]any{28: uint32(13), 36: uint32(40)}), like(40),
		record(2, nil),
		record(recordWrite, map[int]any{32: uint64(1024)}), like(1024),
		record(recordWrite, map[int]any{32: uint64(1024), 50: byte(15), 96: uint64(512)}), like(512),
		record(recordSpill, map[int]any{16: uint64(512)}), like(512),
		record(recordSpill, map[int]any{16: uint64(1024), 40: uint64(512)}), like(512),
		record(recordEmbedded, map[int]any{48: uint32(400), 52: uint32(21)}), like(24),
		record(4, nil), record(recordEnd, nil))
}

// Streams that stand one behind the other are told apart, and where one is cut
// off is known at every byte.
func TestStreamsOneBehindTheOther(t *testing.T) {
	ctx := context.Background()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		one, two := constructedStream(order, "rpool/ROOT/web@s", nil), constructedStream(order, "rpool/ROOT/web/var@s", nil)
		if !IsStream(one) || IsStream(one[1:]) || IsStream(one[:8]) {
			t.Error("it is not told what is a stream")
		}
		r := bufio.NewReader(bytes.NewReader(slices.Concat(one, two)))
		for i, want := range [][]byte{one, two} {
			b, err := readBegin(r)
			if err != nil {
				t.Fatal(err)
			}
			if name := []string{"rpool/ROOT/web@s", "rpool/ROOT/web/var@s"}[i]; b.name != name {
				t.Errorf("it is of %q", b.name)
			}
			var out bytes.Buffer
			if err := b.copyTo(ctx, r, &out); err != nil || !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%d of %d bytes came through: %v", out.Len(), len(want), err)
			}
		}
		if _, err := readBegin(r); err != io.EOF {
			t.Errorf("behind the last: %v", err)
		}
		for at := 1; at < len(one); at += 7 {
			r := bufio.NewReader(bytes.NewReader(one[:at]))
			b, err := readBegin(r)
			if err == nil {
				err = b.copyTo(ctx, r, io.Discard)
			}
			if !errors.Is(err, errCutOff) {
				t.Fatalf("cut at byte %d of %d: %v", at, len(one), err)
			}
		}
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	le := binary.LittleEndian
	for says, change := range map[string]func(begin []byte){
		"-R, -p or -I":   func(b []byte) { le.PutUint64(b[16:], 2) },
		"has changed":    func(b []byte) { le.PutUint64(b[48:], 5) },
		"file system":    func(b []byte) { le.PutUint32(b[32:], 3) },
		"longer than":    func(b []byte) { le.PutUint32(b[4:], 1<<30) },
		"no stream of z": func(b []byte) { b[9] = 0 },
	} {
		_, err := readBegin(bufio.NewReader(bytes.NewReader(constructedStream(le, "a/b@c", change))))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, wanted %q", err, says)
		}
	}
	long := constructedStream(le, "a/b@c", nil)
	le.PutUint32(long[recordSize+8+28:], 1<<31)
	r := bufio.NewReader(bytes.NewReader(long))
	b, err := readBegin(r)
	if err == nil {
		err = b.copyTo(context.Background(), r, io.Discard)
	}
	if err == nil || !strings.Contains(err.Error(), "longer than any") {
		t.Errorf("a record of two gigabytes: %v", err)
	}
}

// The line behind the streams is believed only as it was written, and nothing in
// it has a file system mounted, shared, or marked as somebody else's.
func TestExportedLine(t *testing.T) {
	text, err := json.Marshal(exported{Version: 1, Name: "web", Datasets: []exportedPart{
		{Path: "", CanMount: "off", Properties: map[string]string{"compression": "lz4", "org.beadm:uuid": "x", "canmount": "on", "sharenfs": "on", "reservation": "1", "org.openzfs.systemd:wanted-by": "local-fs.target", "org.opensolaris.libbe:policy": "x"}},
		{Path: "/var", CanMount: "off", Properties: map[string]string{"mountpoint": "/var"}},
		{Path: "/srv", CanMount: "on"},
		{Path: "/bad", Properties: map[string]string{"-r": "x"}},
		{Path: "/bad", Properties: map[string]string{"a:b": "one\ntwo"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("%s%s %s\n", exportLine, sumOf(text), text)
	list, err := parseExported(line)
	if err != nil || list.Name != "web" || len(list.Datasets) != 5 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []string{"[{canmount noauto} {compression lz4}]", "[{canmount off} {mountpoint /var} {org.openzfs.systemd:ignore on}]", "[{canmount noauto} {org.openzfs.systemd:ignore on}]"} {
		got, err := list.Datasets[i].importSettings()
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("dataset %q is given %v, not %s (%v)", list.Datasets[i].Path, got, want, err)
		}
	}
	for _, i := range []int{3, 4} {
		if _, err := list.Datasets[i].importSettings(); err == nil {
			t.Errorf("%v is taken for properties", list.Datasets[i].Properties)
		}
	}
	for _, bad := range []string{line[:len(line)-1], strings.Replace(line, "lz4", "off", 1), exportLine + "\n", strings.Replace(line, "zfs", "zfz", 1)} {
		if _, err := parseExported(bad); err == nil {
			t.Errorf("%q is believed", bad)
		}
	}
}
