package account

import (
	"slices"
	"strings"
)

// Change is what happened to one record; nil fields are no record.
type Change struct {
	Old, New []string
	// Broken is the number of the line in which the record cannot be read any
	// more, or that ends in a carriage return. It counts as unchanged then, but
	// for what the latter takes away; where it is new it is not to be added.
	Broken int
}

// Delta is what happened to one file, by key.
type Delta map[string]Change

// Diff is what turns the records of old into those of new. Order, comments
// and broken lines are no matter of it. A nil file has no records.
func Diff(old, new *File) Delta {
	d := Delta{}
	for _, key := range old.Keys() {
		if o, n := old.Get(key), new.Get(key); !slices.Equal(o, n) {
			if n == nil && new != nil && new.broken[key] != 0 {
				d[key] = Change{Old: o, New: o, Broken: new.broken[key]} // not removed
				continue
			}
			d[key] = read(new, key, o, n)
		} else if new.carriage(key) != 0 && old.carriage(key) == 0 {
			d[key] = read(new, key, o, n)
		}
	}
	for _, key := range new.Keys() {
		if old.Get(key) == nil {
			if old != nil && old.broken[key] != 0 {
				continue
			}
			d[key] = read(new, key, nil, new.Get(key))
		}
	}
	return d
}

// read is the change from old to new, which is key's record in f.
func read(f *File, key string, old, new []string) Change {
	c := Change{Old: old, New: new, Broken: f.carriage(key)}
	if c.Broken != 0 && old != nil {
		c.New = c.less(f.kind, key)
	}
	return c
}

// less is Old with what c takes away taken from it.
func (c Change) less(kind Kind, key string) []string {
	if less, any := (Delta{key: {Old: c.Old, New: c.New}}).Security(kind)[key]; any {
		return less.New
	}
	return c.Old
}

// Then is d followed by e. Where e began in another state than d ended in,
// only what e changed counts.
func (d Delta) Then(kind Kind, e Delta) Delta {
	sum := Delta{}
	for k, c := range d {
		sum[k] = c
	}
	for k, second := range e {
		first, both := sum[k]
		if !both {
			sum[k] = second
			continue
		}
		c := Change{Old: first.Old, Broken: second.Broken}
		switch {
		case second.New == nil:
		case first.New == nil && second.Old != nil: // removed before: outranks
		case first.New == nil || second.Old == nil || !sameShape(first.New, second.Old, second.New):
			c.New = second.New
		default:
			c.New = slices.Clone(first.New)
			for i := range c.New {
				if second.Old[i] == second.New[i] {
					continue
				}
				c.New[i] = follow(kind, i, first.New[i], second.Old[i], second.New[i])
			}
		}
		sum[k] = c
		if slices.Equal(c.Old, c.New) && (c.Old == nil) == (c.New == nil) && c.Broken == 0 {
			delete(sum, k)
		}
	}
	return sum
}

// follow is field i of a kind, that came to first, with what turned old into new
// done to it. Where old had not what first takes away, new did not give it back.
func follow(kind Kind, i int, first, old, new string) string {
	switch kind.role(i) {
	case members:
		return applyMembers(first, old, new)
	case password:
		if Locked(first) && !Locked(old) {
			return lock(kind, new)
		}
	case lastchg:
		if first == mustChange && old != mustChange {
			return first
		}
	case expire:
		if expiry(kind, first) < min(expiry(kind, old), expiry(kind, new)) {
			return first
		}
	case shell:
		if noShell(first) && !noShell(old) && !noShell(new) {
			return first
		}
	}
	return new
}

// Security is the part of d that takes rights away: locks, expiries, removals,
// shells that let nobody in, memberships revoked.
func (d Delta) Security(kind Kind) Delta {
	out := Delta{}
	for key, c := range d {
		if c.New == nil {
			if !strings.HasPrefix(key, "-") {
				out[key] = c
			}
			continue
		}
		if c.Old == nil {
			if strings.HasPrefix(key, "-") { // denies what a directory allows
				out[key] = c
			}
			continue
		}
		if !sameShape(c.Old, c.New) {
			continue
		}
		n := slices.Clone(c.Old)
		for i := range n {
			switch kind.role(i) {
			case password:
				if Locked(c.New[i]) {
					n[i] = lock(kind, n[i])
				}
			case expire:
				if expiry(kind, c.New[i]) < expiry(kind, n[i]) {
					n[i] = c.New[i]
				}
			case lastchg:
				if c.New[i] == mustChange {
					n[i] = c.New[i]
				}
			case shell:
				if noShell(c.New[i]) {
					n[i] = c.New[i]
				}
			case members:
				n[i] = onlyOf(n[i], c.New[i])
			}
		}
		if !slices.Equal(n, c.Old) {
			out[key] = Change{Old: c.Old, New: n}
		}
	}
	return out
}

func (k Kind) role(i int) role {
	roles := formats[k].fields
	if i < len(roles) {
		return roles[i]
	}
	return plain
}

func sameShape(records ...[]string) bool {
	for _, r := range records {
		if len(r) != len(records[0]) {
			return false
		}
	}
	return true
}

// split reads a member list.
func split(list string) []string {
	var names []string
	for _, m := range strings.Split(list, ",") {
		if m != "" {
			names = append(names, m)
		}
	}
	return names
}

// applyMembers does to list what turned old into new.
func applyMembers(list, old, new string) string {
	o, n := split(old), split(new)
	out := slices.DeleteFunc(split(list), func(m string) bool {
		return slices.Contains(o, m) && !slices.Contains(n, m)
	})
	for _, m := range n {
		if !slices.Contains(o, m) && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return strings.Join(out, ",")
}
