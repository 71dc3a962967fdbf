package account

import (
	"strconv"
	"strings"
)

// mergeRanges treats a file as a set of lines; a range that somebody else has
// here is not given a second time.
func (m *merger) mergeRanges(kind Kind) {
	f := m.res[kind]
	if f == nil {
		return
	}
	for _, key := range sorted(m.d[kind]) {
		if c := m.d[kind][key]; c.New == nil && f.Get(key) != nil {
			f.remove(key)
			m.say(kind, rangeOwner(key), Removed, "%s", key)
		}
	}
	for _, key := range sorted(m.d[kind]) {
		if c := m.d[kind][key]; c.New == nil || f.Get(key) != nil || m.userRefused(rangeOwner(key)) {
			continue
		}
		if c := m.d[kind][key]; c.Broken != 0 {
			m.say(kind, rangeOwner(key), Broken, "line %d there cannot be read: left as it is here", c.Broken)
			continue
		}
		clash := ""
		for _, other := range f.Keys() {
			if rangeOwner(other) != rangeOwner(key) && overlap(other, key) {
				clash = other
			}
		}
		if clash != "" {
			m.say(kind, rangeOwner(key), Conflict, "%s overlaps %s", key, clash)
			continue
		}
		f.put(key, []string{key})
		m.say(kind, rangeOwner(key), Added, "%s", key)
	}
}

func rangeOwner(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}

func overlap(a, b string) bool {
	start := func(s string) (from, to uint64, ok bool) {
		parts := strings.Split(s, ":")
		if len(parts) != 3 {
			return 0, 0, false
		}
		from, err1 := strconv.ParseUint(parts[1], 10, 64)
		n, err2 := strconv.ParseUint(parts[2], 10, 63)
		return from, from + n, err1 == nil && err2 == nil
	}
	a1, a2, ok1 := start(a)
	b1, b2, ok2 := start(b)
	return ok1 && ok2 && a1 < b2 && b1 < a2
}
