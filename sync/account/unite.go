package account

import (
	"slices"
	"strings"
)

// Unite is the merge without a known common state: records of both sides are
// kept, out's fields win, what takes rights away holds of either side (locks,
// the earlier expiry, a shell that lets nobody in, a password to be changed),
// groups have the members of both. Names that are only here stay.
func Unite(out, cur Database) (Database, []Event) {
	// Against cur as its own base nothing was changed here: every field that
	// differs is taken, after the checks for numbers.
	return Merge(Unison(out, cur), out, Database{}, cur)
}

// Unison is what Unite does to the files that both have.
func Unison(out, cur Database) Deltas {
	d := Deltas{}
	for kind, theirs := range out {
		mine := cur[kind]
		if mine == nil {
			continue
		}
		delta := Delta{}
		for _, key := range theirs.Keys() {
			n, c := theirs.Get(key), mine.Get(key)
			switch {
			case c == nil:
				delta[key] = read(theirs, key, nil, n)
			case (!slices.Equal(n, c) || theirs.carriage(key) > 0 && mine.carriage(key) == 0) && sameShape(n, c):
				delta[key] = read(theirs, key, c, uniteRecord(kind, n, c))
			}
		}
		if len(delta) > 0 {
			d[kind] = delta
		}
	}
	return d
}

func uniteRecord(kind Kind, n, c []string) []string {
	n = slices.Clone(n)
	for i := range n {
		switch kind.role(i) {
		case password:
			if Locked(c[i]) {
				n[i] = lock(kind, n[i])
			}
		case lastchg:
			if c[i] == mustChange {
				n[i] = c[i]
			}
		case shell:
			if noShell(c[i]) {
				n[i] = c[i]
			}
		case expire:
			if expiry(kind, c[i]) < expiry(kind, n[i]) {
				n[i] = c[i]
			}
		case members:
			list := split(c[i])
			for _, m := range split(n[i]) {
				if !slices.Contains(list, m) {
					list = append(list, m)
				}
			}
			n[i] = strings.Join(list, ",")
		}
	}
	return n
}
