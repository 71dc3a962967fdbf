package account

import "slices"

// gidField is where passwd and master.passwd name a user's group.
const gidField = 3

// otherGroup says whether the group that a user has there is another one here,
// whose rights nobody gave to that user.
func (m *merger) otherGroup(kind Kind, user []string) (owner string, taken bool) {
	if kind != Passwd && kind != MasterPasswd || len(user) <= gidField || nis(user[0]) || m.out[Group] == nil {
		return "", false
	}
	there := groupsOf(m.out[Group], user[gidField])
	for _, name := range groupsOf(m.cur[Group], user[gidField]) {
		if slices.Contains(there, name) {
			return "", false
		}
		c, changed := m.d[Group][name]
		if changed && (c.New == nil || len(c.New) > 2 && !sameNumber(c.New[2], user[gidField])) {
			continue // about to go, or to another number
		}
		owner = name
	}
	return owner, owner != "" && len(there) > 0
}

// groupGone says whether the group that a user has there is none here, nor comes
// along: its number is the next new group's.
func (m *merger) groupGone(kind Kind, user []string) (name string, gone bool) {
	here := m.cur[Group]
	if kind != Passwd && kind != MasterPasswd || len(user) <= gidField || nis(user[0]) || m.out[Group] == nil || here == nil {
		return "", false
	}
	gid := user[gidField]
	there := groupsOf(m.out[Group], gid)
	if len(there) == 0 || len(groupsOf(here, gid)) > 0 {
		return "", false
	}
	for _, name := range there {
		c := m.d[Group][name]
		if c.Broken != 0 || len(c.New) <= 2 || !sameNumber(c.New[2], gid) {
			continue
		}
		if r := here.Get(name); r == nil && m.base[Group].Get(name) == nil && (c.Old == nil || m.base[Group] == nil) ||
			r != nil && len(c.Old) > 2 && !sameNumber(c.Old[2], gid) {
			return "", false
		}
	}
	return there[0], true
}

func groupsOf(f *File, gid string) []string {
	var names []string
	for _, key := range f.Keys() {
		if r := f.Get(key); len(r) > 2 && !nis(key) && sameNumber(r[2], gid) {
			names = append(names, key)
		}
	}
	return names
}

// exists says whether the record that a shadow record belongs to is there.
func (m *merger) exists(kind Kind, key string) bool {
	switch kind {
	case Shadow:
		return m.res[Passwd] == nil || m.res[Passwd].Get(key) != nil
	case Gshadow:
		return m.res[Group] == nil || m.res[Group].Get(key) != nil
	}
	return true
}

func (m *merger) refuse(kind Kind, key string) {
	switch kind {
	case Passwd, MasterPasswd:
		m.refused[key] = true
	case Group:
		m.refusedGroup[key] = true
	}
}

// meant says whether the outgoing side shares the number between both names
// itself, as root and toor do.
func (m *merger) meant(kind Kind, owner string, fields []string) bool {
	i := kind.idField()
	o := m.out[kind].Get(owner)
	return len(o) > i && sameNumber(o[i], fields[i])
}
