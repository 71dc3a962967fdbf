package account

import "slices"

// Moved is base after d was done to cur, which became res: the state against which
// later changes here and there are told apart. A field that d changed is the
// outgoing's then, taken or not; what this side changed itself stays a change
// of its own. A record that was not added here is not in it.
func Moved(d Deltas, base, cur, res Database) Database {
	moved := Database{}
	for kind, f := range res {
		b := base[kind]
		if b == nil {
			b = Parse(kind, nil)
		}
		b = b.clone()
		for _, key := range sorted(d[kind]) {
			c, was := d[kind][key], b.Get(key)
			switch {
			case c.New == nil:
				b.remove(key)
			case was == nil:
				if r := f.Get(key); r != nil {
					b.put(key, locksKept(kind, c.New, c.Old, cur[kind].Get(key), r))
				}
			case c.Old == nil || !sameShape(was, c.Old, c.New):
				b.put(key, locksKept(kind, c.New, was, cur[kind].Get(key), f.Get(key)))
			default:
				n := slices.Clone(was)
				for i := range n {
					switch {
					case c.Old[i] == c.New[i]:
					case kind.role(i) == members && was[i] != c.Old[i]:
						n[i] = applyMembers(was[i], c.Old[i], c.New[i])
					default:
						n[i] = c.New[i]
					}
				}
				b.put(key, locksKept(kind, n, was, cur[kind].Get(key), f.Get(key)))
			}
		}
		moved[kind] = b
	}
	return moved
}

// locksKept is n, but with was's password where this side's lock was not
// lifted: a lock that holds against an unlocking is no change made here. So it
// is where this side had locked a password of its own before n did: that lock is
// not the other side's to lift.
func locksKept(kind Kind, n, was, cur, res []string) []string {
	if was == nil || res == nil || !sameShape(n, was, res) {
		return n
	}
	n = slices.Clone(n)
	for i := range n {
		if kind.role(i) != password || !Locked(res[i]) {
			continue
		}
		own := i < len(cur) && Locked(cur[i]) && !Locked(was[i]) && cur[i] != n[i]
		if own || !Locked(n[i]) {
			n[i] = was[i]
		}
	}
	return n
}
