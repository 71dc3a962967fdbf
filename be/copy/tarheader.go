package copier

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
)

// header is one entry of a tar. archive/tar writes no holes, and lets nobody
// else say where they are.
type header struct {
	name  string
	kind  byte // a type flag of tar
	mode  uint32
	uid   uint32
	gid   uint32
	size  int64 // of what follows
	sec   int64
	nsec  int64
	link  string
	major uint32
	minor uint32
	pax   map[string]string
}

const tarBlock = 512

// write writes a pax header where one is needed, and the header.
func (h *header) write(w io.Writer) error {
	pax := map[string]string{}
	for k, v := range h.pax {
		pax[k] = v
	}
	if h.kind != 'g' {
		if !fits(h.name) {
			pax["path"] = h.name
		}
		if !fits(h.link) {
			pax["linkpath"] = h.link
		}
		if h.uid > 0o7777777 {
			pax["uid"] = strconv.FormatUint(uint64(h.uid), 10)
		}
		if h.gid > 0o7777777 {
			pax["gid"] = strconv.FormatUint(uint64(h.gid), 10)
		}
		if h.size > 0o77777777777 {
			pax["size"] = strconv.FormatInt(h.size, 10)
		}
		pax["mtime"] = paxTime(h.sec, h.nsec)
		if len(pax) > 0 {
			if err := writePax(w, 'x', pax); err != nil {
				return err
			}
		}
		return h.block(w)
	}
	return writePax(w, 'g', pax)
}

// fits says whether a name needs no pax record.
func fits(name string) bool {
	if len(name) > 99 {
		return false
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}

// paxTime is a time before 1970 too: -1.25 is a quarter of a second before -1.
func paxTime(sec, nsec int64) string {
	if nsec == 0 {
		return strconv.FormatInt(sec, 10)
	}
	sign := ""
	if sec < 0 {
		sign = "-"
		sec, nsec = -(sec + 1), 1e9-nsec
	}
	return sign + strings.TrimRight(fmt.Sprintf("%d.%09d", sec, nsec), "0")
}

func writePax(w io.Writer, kind byte, records map[string]string) error {
	keys := make([]string, 0, len(records))
	for k := range records {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var body strings.Builder
	for _, k := range keys {
		// The number at its beginning counts itself.
		rest := len(k) + len(records[k]) + 3
		n := rest + len(strconv.Itoa(rest))
		if len(strconv.Itoa(n)) > len(strconv.Itoa(rest)) {
			n++
		}
		fmt.Fprintf(&body, "%d %s=%s\n", n, k, records[k])
	}
	h := &header{name: "././@PaxHeader", kind: kind, mode: 0o644, size: int64(body.Len())}
	if err := h.block(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, body.String()); err != nil {
		return err
	}
	return pad(w, int64(body.Len()))
}

// block writes the header alone; what does not fit is in its pax records.
func (h *header) block(w io.Writer) error {
	var b [tarBlock]byte
	put := func(at, size int, text string) { copy(b[at:at+size], text) }
	octal := func(at, size int, v int64) {
		text := strconv.FormatInt(v, 8)
		if v < 0 || len(text) >= size {
			text = "0"
		}
		put(at, size, strings.Repeat("0", size-1-len(text))+text)
	}
	put(0, 100, h.name)
	octal(100, 8, int64(h.mode))
	octal(108, 8, int64(h.uid))
	octal(116, 8, int64(h.gid))
	octal(124, 12, h.size)
	octal(136, 12, h.sec)
	put(148, 8, "        ")
	b[156] = h.kind
	put(157, 100, h.link)
	put(257, 8, "ustar\x0000")
	octal(329, 8, int64(h.major))
	octal(337, 8, int64(h.minor))
	sum := int64(0)
	for _, x := range b {
		sum += int64(x)
	}
	put(148, 8, fmt.Sprintf("%06o\x00 ", sum))
	_, err := w.Write(b[:])
	return err
}

// pad fills up the last block of size bytes.
func pad(w io.Writer, size int64) error {
	var zero [tarBlock]byte
	_, err := w.Write(zero[:(tarBlock-size%tarBlock)%tarBlock])
	return err
}
