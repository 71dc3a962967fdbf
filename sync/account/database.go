package account

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Database is the account files of one boot environment. A kind that is
// missing has no file.
type Database map[Kind]*File

// ParseAll reads contents by kind.
func ParseAll(contents map[Kind][]byte) Database {
	db := Database{}
	for kind, data := range contents {
		db[kind] = Parse(kind, data)
	}
	return db
}

func (db Database) clone() Database {
	c := Database{}
	for kind, f := range db {
		c[kind] = f.clone()
	}
	return c
}

// Deltas is what happened to a database.
type Deltas map[Kind]Delta

// DiffAll is Diff for every kind.
func DiffAll(old, new Database) Deltas {
	d := Deltas{}
	for _, kind := range Kinds {
		// A file that is not there says nothing of its records.
		if new[kind] != nil {
			if c := Diff(old[kind], new[kind]); len(c) > 0 {
				d[kind] = c
			}
		}
	}
	return d
}

// Then is d followed by e.
func (d Deltas) Then(e Deltas) Deltas {
	sum := Deltas{}
	for _, kind := range Kinds {
		if c := d[kind].Then(kind, e[kind]); len(c) > 0 {
			sum[kind] = c
		}
	}
	return sum
}

// Security is the part of d that takes rights away.
func (d Deltas) Security() Deltas {
	out := Deltas{}
	for kind, delta := range d {
		if c := delta.Security(kind); len(c) > 0 {
			out[kind] = c
		}
	}
	return out
}

// Merge does d to cur, whose records were base's when last in step with where
// d began. out, the outgoing database after d, may be nil; it tells which
// doubled uids are meant. Doing it twice is doing it once. cur keeps the
// order of its lines. The files agree with each other as far as cur's did.
func Merge(d Deltas, out, base, cur Database) (Database, []Event) {
	m := &merger{d: d, out: out, base: base, res: cur.clone(), cur: cur,
		gone: map[string]bool{}, refused: map[string]bool{}, refusedGroup: map[string]bool{}}
	for _, kind := range Kinds {
		if f := cur[kind]; f != nil && len(d[kind]) > 0 {
			for _, n := range numbers(f.broken) {
				m.say(kind, "", Broken, "line %d is kept as it is", n)
			}
			if n, first := f.carriages(); n > 0 {
				m.say(kind, "", Broken, "%d lines end in a carriage return, line %d first: they are kept, and nothing is given by them", n, first)
			}
		}
	}
	m.removeUsers()
	for _, kind := range []Kind{Passwd, MasterPasswd, Shadow, UserAttr} {
		m.mergeKind(kind, m.userRefused)
	}
	m.removeGroups()
	for _, kind := range []Kind{Group, Gshadow} {
		m.mergeKind(kind, func(key string) bool { return m.refusedGroup[key] })
	}
	m.dropMembers()
	for _, kind := range []Kind{Subuid, Subgid} {
		m.mergeRanges(kind)
	}
	return m.res, m.events
}

type merger struct {
	d              Deltas
	out, base, res Database
	cur            Database
	gone           map[string]bool // users removed
	refused        map[string]bool // users not added
	refusedGroup   map[string]bool
	events         []Event
}

func (m *merger) say(kind Kind, name string, what What, format string, args ...any) {
	m.events = append(m.events, Event{kind, name, what, fmt.Sprintf(format, args...)})
}

func (m *merger) sayOnce(kind Kind, name string, what What, format string, args ...any) {
	if e := (Event{kind, name, what, fmt.Sprintf(format, args...)}); !slices.Contains(m.events, e) {
		m.events = append(m.events, e)
	}
}

func (m *merger) userRefused(key string) bool { return m.refused[key] || m.gone[key] }

// changedHere says whether a record differs from what it was when last in
// step.
func (m *merger) changedHere(kind Kind, key string) bool {
	if f := m.res[kind]; f != nil && f.broken[key] != 0 {
		return true // nobody knows what it is
	}
	cur, base := m.res[kind].Get(key), m.base[kind].Get(key)
	if cur == nil {
		return false // nothing is left that could be lost
	}
	if base == nil {
		base = m.d[kind][key].Old
	}
	return !slices.Equal(cur, base)
}

// mergeKind does what was added or changed.
func (m *merger) mergeKind(kind Kind, skip func(key string) bool) {
	f := m.res[kind]
	if f == nil {
		if len(m.d[kind]) > 0 {
			m.say(kind, "", Conflict, "there is no such file here")
		}
		return
	}
	// A number may be free only once its owner has moved: who meets a clash
	// waits until nothing else moves.
	todo := sorted(m.d[kind])
	for last := false; len(todo) > 0; {
		var wait []string
		for _, key := range todo {
			switch {
			case skip(key):
				m.restrict(kind, key)
			case !m.mergeOne(kind, key, last):
				wait = append(wait, key)
			}
		}
		last = len(wait) == len(todo)
		todo = wait
	}
}

// mergeOne does what happened to one record; false where its number is
// another's and last is not set.
func (m *merger) mergeOne(kind Kind, key string, last bool) bool {
	f, c := m.res[kind], m.d[kind][key]
	if c.Broken != 0 {
		m.sayOnce(kind, key, Broken, "line %d there cannot be read: left as it is here", c.Broken)
		if c.Old == nil && c.New != nil {
			m.refuse(kind, key)
			return true
		}
		if slices.Equal(c.Old, c.New) {
			return true
		}
	}
	cur := f.Get(key)
	if n := m.cur[kind].carriage(key); n != 0 && cur != nil && c.Old != nil && c.New != nil {
		less := c.less(kind, key)
		if !slices.Equal(less, c.New) && !slices.Equal(cur, c.New) {
			m.sayOnce(kind, key, Conflict, "line %d ends in a carriage return", n)
		}
		if slices.Equal(less, c.Old) {
			return true
		}
		c.New = less
	}
	if n := f.broken[key]; n != 0 {
		closed := f.closeBroken(key, c)
		if cur == nil {
			m.say(kind, key, Conflict, "line %d cannot be read", n)
			return true
		}
		if closed || !slices.Equal(cur, c.New) {
			m.sayOnce(kind, key, Conflict, "line %d is one more for it, or cannot be read", n)
		}
	}
	switch {
	case c.New == nil:
		m.removeRest(kind, key)
	case cur == nil && m.base[kind].Get(key) != nil:
		m.refuse(kind, key)
		m.say(kind, key, Conflict, "removed here, changed there: stays removed")
	case cur == nil && c.Old != nil && m.base[kind] != nil:
		m.refuse(kind, key)
		m.say(kind, key, Conflict, "changed there, not there here")
	case cur == nil:
		if owner, taken := f.idOwner(key, c.New); taken && !m.meant(kind, owner, c.New) {
			if !last {
				return false
			}
			i := kind.idField()
			m.refuse(kind, key)
			m.say(kind, key, Conflict, "not added: its %s %s is %s's here", formats[kind].names[i], c.New[i], owner)
			return true
		}
		if owner, taken := m.otherGroup(kind, c.New); taken {
			m.refuse(kind, key)
			m.say(kind, key, Conflict, "not added: its gid %s is the group %s here", c.New[gidField], owner)
			return true
		}
		if name, gone := m.groupGone(kind, c.New); gone {
			m.refuse(kind, key)
			m.say(kind, key, Conflict, "not added: its group %s is not here", name)
			return true
		}
		if m.exists(kind, key) {
			f.put(key, c.New)
			if kind != Shadow && kind != Gshadow {
				m.say(kind, key, Added, "")
			}
		}
	default:
		return m.change(kind, key, c, cur, last)
	}
	return true
}

// restrict takes from a user who was added on both sides, and is not merged,
// what the record there has not: who is locked or expired there is not let in
// here.
func (m *merger) restrict(kind Kind, key string) {
	f, n := m.res[kind], m.d[kind][key].New
	if n == nil || !m.refused[key] || m.res[Passwd].Get(key) == nil && m.res[MasterPasswd].Get(key) == nil {
		return
	}
	if f.broken[key] != 0 {
		f.closeBroken(key, m.d[kind][key])
	}
	cur := f.Get(key)
	if cur == nil || !sameShape(cur, n) {
		return
	}
	cur = slices.Clone(cur)
	for i := range cur {
		switch r := kind.role(i); {
		case r == password && Locked(n[i]) && !Locked(cur[i]) && !hasShadow(cur[i]):
			cur[i] = lock(kind, cur[i])
			m.say(kind, key, LockedBy, "")
		case r == expire && expiry(kind, n[i]) < expiry(kind, cur[i]):
			cur[i] = n[i]
			m.say(kind, key, Expired, "%s", n[i])
		}
	}
	f.put(key, cur)
}

func (m *merger) change(kind Kind, key string, c Change, cur []string, last bool) bool {
	f, base := m.res[kind], m.base[kind].Get(key)
	i := kind.idField()
	if i >= 0 && c.Old == nil && len(c.New) > i && len(cur) > i && !sameNumber(c.New[i], cur[i]) {
		m.say(kind, key, Conflict, "added on both sides, %s there and %s here", c.New[i], cur[i])
		m.refuse(kind, key)
		m.restrict(kind, key)
		return true
	}
	res, events := mergeRecord(kind, key, c, base, cur)
	refuse := func(field int, why string, args ...any) {
		m.say(kind, key, Conflict, why, args...)
		res[field] = cur[field]
		events = unchanged(events, formats[kind].names[field])
	}
	if i >= 0 && len(res) > i && res[i] != cur[i] {
		if owner, taken := f.idOwner(key, res); taken && !m.meant(kind, owner, res) {
			if !last {
				return false
			}
			refuse(i, "its new number %s is %s's here", res[i], owner)
		}
	}
	if (kind == Passwd || kind == MasterPasswd) && len(res) > gidField && res[gidField] != cur[gidField] {
		if owner, taken := m.otherGroup(kind, res); taken {
			refuse(gidField, "its new gid %s is the group %s here", res[gidField], owner)
		} else if name, gone := m.groupGone(kind, res); gone {
			refuse(gidField, "its new group %s is not here", name)
		}
	}
	if !slices.Equal(res, cur) {
		f.put(key, res)
	}
	m.events = append(m.events, events...)
	return true
}

// dropMembers takes out of groups who is no user any more.
func (m *merger) dropMembers() {
	absent := map[string]bool{}
	for name := range m.gone {
		absent[name] = true
	}
	for name := range m.refused {
		if m.res[Passwd].Get(name) == nil && m.res[MasterPasswd].Get(name) == nil {
			absent[name] = true
		}
	}
	for _, kind := range []Kind{Group, Gshadow} {
		for _, key := range m.res[kind].Keys() {
			r, old := slices.Clone(m.res[kind].Get(key)), m.res[kind].Get(key)
			before := m.cur[kind].Get(key)
			out := map[string]bool{}
			for i := range r {
				if kind.role(i) != members {
					continue
				}
				r[i] = strings.Join(slices.DeleteFunc(split(r[i]), func(n string) bool {
					// A user of that side who is none here: of this side's
					// own members, and a directory service's, nothing is
					// known.
					stranger := m.localThere(n) && !m.localHere(n) && !(i < len(before) && slices.Contains(split(before[i]), n))
					out[n] = out[n] || stranger || absent[n]
					if stranger && !absent[n] && kind == Group {
						m.events = slices.DeleteFunc(m.events, func(e Event) bool {
							return e == Event{kind, key, Joined, n}
						})
						m.say(kind, key, Conflict, "%s is no user here: not added", n)
					}
					return stranger || absent[n]
				}), ",")
			}
			// A list that only was written oddly is left as it was.
			if !slices.Equal(r, old) && lists(kind, old, out) {
				m.res[kind].put(key, r)
			}
		}
	}
}

func (m *merger) localThere(name string) bool {
	return m.out[Passwd].Get(name) != nil || m.out[MasterPasswd].Get(name) != nil
}

func (m *merger) localHere(name string) bool {
	return m.res[Passwd].Get(name) != nil || m.res[MasterPasswd].Get(name) != nil ||
		m.res[Passwd] == nil && m.res[MasterPasswd] == nil // not looked at
}

func lists(kind Kind, r []string, names map[string]bool) bool {
	for i := range r {
		if kind.role(i) == members {
			for _, n := range split(r[i]) {
				if names[n] {
					return true
				}
			}
		}
	}
	return false
}

func sorted[V any](set map[string]V) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func numbers(set map[string]int) []int {
	var list []int
	for _, n := range set {
		list = append(list, n)
	}
	sort.Ints(list)
	return list
}
