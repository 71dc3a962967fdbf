package copier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// aclAttr is where Linux keeps an ACL of POSIX.1e draft 17: kind is access or
// default.
func aclAttr(kind string) string { return "system.posix_acl_" + kind }

// errNoSuchID says that an ACL has a name for somebody whose number is not known.
var errNoSuchID = errors.New("there is no such user or group")

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

const noACLID = 0xffffffff

// parseACL makes what Linux keeps (linux/posix_acl_xattr.h) of an ACL's text, as
// star, tar(1) and bsdtar write it: entries TAG:WHO:rwx[:ID] apart by commas or
// lines. ids, if given, says who somebody is. It is nil for one
// without entries.
func parseACL(text string, ids func(group bool, name string) (uint32, bool)) ([]byte, error) {
	tags := map[string][2]uint16{ // without and with a name
		"user": {1, 2}, "u": {1, 2}, "group": {4, 8}, "g": {4, 8}, "mask": {0x10, 0}, "m": {0x10, 0}, "other": {0x20, 0}, "o": {0x20, 0},
	}
	var list []aclEntry
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		f := strings.Split(line, ":")
		tag, known := tags[f[0]]
		if !known || len(f) < 2 {
			return nil, fmt.Errorf("the entry %q is not known", line)
		}
		if len(f) == 2 { // other:r--
			f = []string{f[0], "", f[1]}
		}
		e := aclEntry{tag: tag[0], id: noACLID}
		for _, r := range f[2] {
			bit := strings.IndexRune("xwr", r)
			if bit < 0 && r != '-' {
				return nil, fmt.Errorf("the entry %q is not known", line)
			}
			if bit >= 0 {
				e.perm |= 1 << bit
			}
		}
		if f[1] != "" {
			if e.tag = tag[1]; e.tag == 0 {
				return nil, fmt.Errorf("the entry %q is not known", line)
			}
			id, err := strconv.ParseUint(f[1], 10, 32)
			if err != nil && len(f) > 3 {
				id, err = strconv.ParseUint(f[3], 10, 32)
			}
			if err != nil {
				is, known := uint32(0), false
				if ids != nil {
					is, known = ids(e.tag == 8, f[1])
				}
				if !known {
					return nil, fmt.Errorf("%s: %w", f[1], errNoSuchID)
				}
				id = uint64(is)
			}
			e.id = uint32(id)
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, nil
	}
	slices.SortFunc(list, func(a, b aclEntry) int {
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range list {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out, nil
}
