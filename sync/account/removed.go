package account

import "slices"

var userKinds = []Kind{Passwd, MasterPasswd, Shadow, UserAttr}

// removeUsers decides for all files of a user at once: a user is in all of
// them or in none.
func (m *merger) removeUsers() {
	names := map[string]Kind{}
	for _, kind := range []Kind{Passwd, MasterPasswd} {
		for key, c := range m.d[kind] {
			if c.New == nil {
				names[key] = kind
			}
		}
	}
	for _, name := range sorted(names) {
		held, present := false, false
		for _, kind := range userKinds {
			present = present || m.res[kind].Get(name) != nil
			held = held || m.changedHere(kind, name)
		}
		if !present {
			continue
		}
		if held && !nis(name) {
			closed := false
			for _, kind := range userKinds {
				if r := m.res[kind].Get(name); r != nil && kind != UserAttr {
					if c := closeRecord(kind, r); !slices.Equal(c, r) {
						m.res[kind].put(name, c)
						closed = true
					}
				}
				if f := m.res[kind]; f != nil && f.closeBroken(name, Change{}) {
					closed = true
				}
			}
			m.refused[name] = true
			if closed || !m.closedAlready(name) {
				m.say(names[name], name, Held, "removed there, changed here: kept, locked and expired")
			}
			continue
		}
		for _, kind := range userKinds {
			if f := m.res[kind]; f != nil {
				f.remove(name)
			}
		}
		m.gone[name] = true
		m.say(names[name], name, Removed, "")
	}
}

func (m *merger) closedAlready(name string) bool {
	for _, kind := range []Kind{Shadow, MasterPasswd} {
		if r := m.res[kind].Get(name); r != nil {
			return slices.Equal(r, closeRecord(kind, r))
		}
	}
	return false
}

// removeGroups removes groups from group and gshadow together, but none that
// somebody's files belong to.
func (m *merger) removeGroups() {
	for _, name := range sorted(m.d[Group]) {
		c := m.d[Group][name]
		r := m.res[Group].Get(name)
		if c.New != nil || r == nil {
			continue
		}
		if user := m.primaryOf(r); user != "" {
			m.refusedGroup[name] = true
			m.say(Group, name, Held, "removed there, primary group of %s here: kept", user)
			continue
		}
		if m.groupChangedHere(Group, name) || m.groupChangedHere(Gshadow, name) {
			// What was a member there is one no more; what this side made
			// of the group stays.
			for _, kind := range []Kind{Group, Gshadow} {
				m.revokeAll(kind, name)
			}
			m.refusedGroup[name] = true
			m.say(Group, name, Held, "removed there, changed here: kept without the members it had there")
			continue
		}
		for _, kind := range []Kind{Group, Gshadow} {
			if f := m.res[kind]; f != nil {
				f.remove(name)
			}
		}
		m.refusedGroup[name] = true
		m.say(Group, name, Removed, "")
	}
}

// groupChangedHere looks past members who were removed everywhere.
func (m *merger) groupChangedHere(kind Kind, name string) bool {
	if f := m.cur[kind]; f != nil && f.broken[name] != 0 {
		return true
	}
	cur := m.cur[kind].Get(name)
	if cur == nil {
		return false
	}
	base := m.base[kind].Get(name)
	if base == nil {
		base = m.d[kind][name].Old
	}
	return !slices.Equal(cur, base)
}

func (m *merger) revokeAll(kind Kind, name string) {
	if f := m.res[kind]; f != nil {
		f.closeBroken(name, Change{Old: m.d[kind][name].Old})
	}
	r, old := m.res[kind].Get(name), m.d[kind][name].Old
	if r == nil || old == nil || !sameShape(r, old) {
		return
	}
	r = slices.Clone(r)
	for i := range r {
		if kind.role(i) == members {
			r[i] = applyMembers(r[i], old[i], "")
		}
	}
	m.res[kind].put(name, r)
}

func (m *merger) primaryOf(group []string) string {
	for _, kind := range []Kind{Passwd, MasterPasswd} {
		for _, key := range m.res[kind].Keys() {
			if r := m.res[kind].Get(key); len(r) > 3 && len(group) > 2 && !nis(key) && sameNumber(r[3], group[2]) {
				return key
			}
		}
	}
	return ""
}

// removeRest removes a record whose owner in passwd or group stays; a user's
// shadow record is closed instead, so that the files agree.
func (m *merger) removeRest(kind Kind, key string) {
	r := m.res[kind].Get(key)
	if r == nil {
		return
	}
	switch {
	case kind == Shadow && m.res[Passwd].Get(key) != nil:
		m.res[kind].put(key, closeRecord(kind, r))
		m.say(kind, key, Held, "removed there from shadow alone: locked and expired")
	case kind == Gshadow && m.res[Group].Get(key) != nil:
		m.say(kind, key, Conflict, "removed there from gshadow alone")
	default:
		m.res[kind].remove(key)
		m.say(kind, key, Removed, "")
	}
}
