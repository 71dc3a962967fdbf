// Package manifest describes the files on a synclist as they are in one boot
// environment at one moment, and stores descriptions and contents in the
// state file system.
//
// On disk, below the sync folder of the state: blobs/HH/HASH holds content by
// the hex of its SHA-256, HH being its first two digits; manifests/ID.json
// one manifest each. Both are written once and never changed. All of it can
// be read by root only.
package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"beadm/be/rooted"
)

// Text is a name or link target, of any bytes but NUL. In JSON a byte that is
// not UTF-8, or of a control character, is written \xNN and a backslash \\.
type Text string

// MarshalText escapes what JSON cannot hold.
func (t Text) MarshalText() ([]byte, error) {
	var b []byte
	for i := 0; i < len(t); {
		r, n := utf8.DecodeRuneInString(string(t[i:]))
		switch {
		case r == utf8.RuneError && n <= 1, r < ' ', r >= 0x7f && r < 0xa0:
			for _, c := range []byte(t[i : i+n]) {
				b = fmt.Appendf(b, `\x%02x`, c)
			}
		case r == '\\':
			b = append(b, `\\`...)
		default:
			b = append(b, t[i:i+n]...)
		}
		i += n
	}
	return b, nil
}

// UnmarshalText is the reverse.
func (t *Text) UnmarshalText(data []byte) error {
	var b strings.Builder
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			b.WriteByte(data[i])
			continue
		}
		switch {
		case i+1 < len(data) && data[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case i+3 < len(data) && data[i+1] == 'x':
			v, err := strconv.ParseUint(string(data[i+2:i+4]), 16, 8)
			if err != nil {
				return fmt.Errorf("%q is no escaped byte", data[i:i+4])
			}
			b.WriteByte(byte(v))
			i += 3
		default:
			return fmt.Errorf("%q ends in an unknown escape", data)
		}
	}
	*t = Text(b.String())
	return nil
}

// Type of an entry.
type Type string

// The types. Special is a device, FIFO or socket: seen, never carried.
const (
	File    Type = "file"
	Dir     Type = "dir"
	Link    Type = "link"
	Special Type = "special"
)

// Entry is one name.
type Entry struct {
	Path   Text              `json:"path"`
	Type   Type              `json:"type"`
	Mode   uint32            `json:"mode"` // as chmod(2) takes it
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // ACLs are among them
	Mtime  time.Time         `json:"mtime,omitzero"`   // carried, never compared
	Size   int64             `json:"size,omitempty"`
	Hash   string            `json:"hash,omitempty"`   // SHA-256 of a file's content
	Target Text              `json:"target,omitempty"` // of a link
	Kind   string            `json:"kind,omitempty"`   // of a Special: "fifo", "socket", "device 0x103"
	Stored bool              `json:"stored,omitempty"` // the content is a blob
	Tail   *Tail             `json:"tail,omitempty"`   // or its end is
	Heads  map[string]int64  `json:"heads,omitempty"`  // hash of an earlier state that this one begins with → its length
	Begins *Begins           `json:"begins,omitempty"` // of a large log, whose content is not kept
	// Of a log that is carried by appending and was rotated: hash of an earlier
	// state → blobs of what was written between that and this file.
	Before map[string][]string `json:"before,omitempty"`
	Gap    bool                `json:"gap,omitempty"` // something of that was not found

	// Of the file as it was read, where it is one of the manifest's own boot
	// environment: unchanged says what they are for. Never compared, never
	// carried.
	Ino   uint64    `json:"ino,omitempty"`
	Ctime time.Time `json:"ctime,omitzero"`
	// The same in all entries of a manifest that are names of one file; empty
	// where it has but one. Never compared.
	Links string `json:"links,omitempty"`
}

// Tail is the end of a file that is only carried by appending.
type Tail struct {
	From int64  `json:"from"` // offset
	Hash string `json:"hash"` // of the blob
}

// Begins is what is kept of a log that is more than Inline long, so that it is
// known again where it is cut back to its beginning.
type Begins struct {
	Blob   string   `json:"blob"`   // of its first Inline bytes
	Step   int64    `json:"step"`   // bytes
	Hashes []string `json:"hashes"` // of its first Step bytes, first two Steps, and so on
}

// SameContent says that two entries have the same type and content; nil is
// absence.
func SameContent(a, b *Entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && a.Hash == b.Hash && a.Target == b.Target && a.Kind == b.Kind
}

// SameMeta says that mode, owner and attributes are the same. A link's mode
// means nothing.
func SameMeta(a, b *Entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.UID != b.UID || a.GID != b.GID {
		return false
	}
	if a.Type == Link && b.Type == Link {
		return true
	}
	return a.Mode == b.Mode && maps.EqualFunc(a.Xattrs, b.Xattrs, slices.Equal)
}

// Same is both.
func Same(a, b *Entry) bool { return SameContent(a, b) && SameMeta(a, b) }

// WithMetaOf is the entry with mode, owner and attributes of another.
func (e *Entry) WithMetaOf(x *Entry) *Entry {
	c := *e
	c.Mode, c.UID, c.GID, c.Xattrs = x.Mode, x.UID, x.GID, x.Xattrs
	return &c
}

// Attr is what a file that is written as this entry gets.
func (e *Entry) Attr() rooted.Attr {
	attrs := e.Xattrs
	if attrs == nil {
		attrs = map[string][]byte{}
	}
	return rooted.Attr{Mode: fs.FileMode(e.Mode), UID: int(e.UID), GID: int(e.GID), Mtime: e.Mtime, Xattrs: attrs}
}
