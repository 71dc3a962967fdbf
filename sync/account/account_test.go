package account

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// one merges a single file given as text.
func one(kind Kind, old, new, base, cur string) (string, []Event) {
	o, n := Database{kind: Parse(kind, []byte(old))}, Database{kind: Parse(kind, []byte(new))}
	b, c := Database{kind: Parse(kind, []byte(base))}, Database{kind: Parse(kind, []byte(cur))}
	res, events := Merge(DiffAll(o, n), n, b, c)
	return string(res[kind].Bytes()), events
}

func TestShadow(t *testing.T) {
	for _, row := range []struct {
		why            string
		old, new       string
		base, cur, res string
		what           []What
	}{
		{"usermod -L", "u:h:1::::::", "u:!h:1::::::", "u:h:1::::::", "u:h:1::::::", "u:!h:1::::::", []What{LockedBy}},
		{"usermod -L, another password here", "u:h:1::::::", "u:!h:1::::::", "u:h:1::::::", "u:x:2::::::", "u:!x:2::::::", []What{LockedBy}},
		{"unlocked there", "u:!h:1::::::", "u:h:1::::::", "u:!h:1::::::", "u:!h:1::::::", "u:h:1::::::", []What{Unlocked}},
		{"passwd there", "u:h:1::::::", "u:n:2::::::", "u:h:1::::::", "u:h:1::::::", "u:n:2::::::", []What{Password}},
		{"passwd there and here", "u:h:1::::::", "u:n:2::::::", "u:h:1::::::", "u:m:3::::::", "u:n:2::::::", []What{Password}},
		{"passwd there, locked here", "u:h:1::::::", "u:n:2::::::", "u:h:1::::::", "u:!h:1::::::", "u:!n:2::::::", []What{Password}},
		{"passwd -d there, changed here", "u:h:1::::::", "u::2::::::", "u:h:1::::::", "u:m:3::::::", "u:m:3::::::", []What{Conflict, Conflict}},
		{"chage -E 0", "u:h:1:::::", "u:h:1:::::", "u:h:1:::::", "u:h:1:::::", "u:h:1:::::", nil}, // broken: kept
		{"chage -E", "u:h:1:::::: ", "u:h:1:::::0:", "u:h:1::::::", "u:h:1::::::", "u:h:1:::::0:", nil},
		{"expiry there, later here", "u:h:1::::9:", "u:h:1::::5:", "u:h:1::::9:", "u:h:1::::20:", "u:h:1::::20:", nil},
		{"expired there, later here", "u:h:1:::::9:", "u:h:1:::::5:", "u:h:1:::::9:", "u:h:1:::::20:", "u:h:1:::::5:", []What{Expired}},
		{"longer there, shorter here", "u:h:1:::::9:", "u:h:1:::::50:", "u:h:1:::::9:", "u:h:1:::::3:", "u:h:1:::::3:", []What{Conflict}},
	} {
		res, events := one(Shadow, row.old, row.new, row.base, row.cur)
		if res != row.res+"\n" {
			t.Errorf("%s: %q, want %q", row.why, res, row.res)
		}
		var what []What
		for _, e := range events {
			what = append(what, e.What)
		}
		if row.what != nil && !slices.Equal(what, row.what) {
			t.Errorf("%s: %v", row.why, events)
		}
	}
}

// What a right was taken from there has it in no line here, not in one that
// cannot be read and not in a second one.
func TestRightsGoFromEveryLine(t *testing.T) {
	const u, locked = "u:h:1::::::", "u:!h:1::::::"
	for _, row := range []struct {
		kind                     Kind
		why                      string
		old, new, base, cur, res string
	}{
		{Shadow, "locked, a second line", u, locked, u, u + "\nu:m:2::::::", locked + "\nu:!m:2::::::\n"},
		{Shadow, "locked, a second line before", u, locked, u, "u:m:2::::::\n" + u, "u:!m:2::::::\n" + locked + "\n"},
		{Shadow, "locked, a short line", u, locked, u, "u:h", "u:!h\n"},
		{Shadow, "locked, a long line", u, locked, u, u + ":::", locked + ":::\n"},
		{Shadow, "expired, a second line", u, "u:h:1:::::1:", u, u + "\nu:m:2::::::", "u:h:1:::::1:\nu:m:2:::::1:\n"},
		{Shadow, "unlocked, a second line", locked, u, locked, locked + "\n" + locked, u + "\n" + locked + "\n"},
		{Shadow, "chage -d 0, changed here", u, "u:h:0::::::", u, "u:m:2::::::", "u:m:0::::::\n"},
		{Group, "thrown out, a second line", "g:x:1:a,b", "g:x:1:b", "g:x:1:a,b", "g:x:1:a,b\ng:x:1:a,c", "g:x:1:b\ng:x:1:c\n"},
		{Group, "joined, a second line", "g:x:1:a", "g:x:1:a,b", "g:x:1:a", "g:x:1:a\ng:x:1:a", "g:x:1:a,b\ng:x:1:a\n"},
		{MasterPasswd, "pw lock, a second line", "u:h:1:1::0:0::/:/bin/sh", "u:*LOCKED*h:1:1::0:0::/:/bin/sh", "u:h:1:1::0:0::/:/bin/sh",
			"u:h:1:1::0:0::/:/bin/sh\nu:m:1:1::0:0::/:/bin/sh", "u:*LOCKED*h:1:1::0:0::/:/bin/sh\nu:*LOCKED*m:1:1::0:0::/:/bin/sh\n"},
	} {
		res, events := one(row.kind, row.old, row.new, row.base, row.cur)
		if res != row.res {
			t.Errorf("%s: %q, want %q", row.why, res, row.res)
		}
		if len(events) == 0 {
			t.Errorf("%s: not said", row.why)
		}
		if again, _ := one(row.kind, row.old, row.new, row.new, res); again != res {
			t.Errorf("%s, twice: %q", row.why, again)
		}
	}
}

// A user removed there who stands in two lines here does not come back by the
// second.
func TestRemovedUserInTwoLines(t *testing.T) {
	side := func(passwd, shadow string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Shadow: Parse(Shadow, []byte(shadow))}
	}
	const root, u, hash = "root:x:0:0::/:/bin/sh\n", "u:x:1:1::/:/bin/sh\n", "u:h:1::::::\n"
	old, here := side(root+u, hash), side(root+u+u, hash+"u:m:1::::::\n")
	res, events := Merge(DiffAll(old, side(root, "")), side(root, ""), old, here)
	if got := string(res[Shadow].Bytes()); got != "u:!h:1:::::1:\nu:!m:1:::::1:\n" {
		t.Errorf("%q, %v", got, events)
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return e.What == Held && e.Name == "u" }) {
		t.Errorf("not said: %v", events)
	}
}

func TestPasswd(t *testing.T) {
	const a, b = "a:x:1:1::/a:/bin/sh", "b:x:2:2::/b:/bin/sh"
	for _, row := range []struct{ why, old, new, base, cur, res string }{
		{"nologin there, another shell here", a, "a:x:1:1::/a:/usr/sbin/nologin", a, "a:x:1:1::/a:/bin/zsh", "a:x:1:1::/a:/usr/sbin/nologin\n"},
		{"different fields", a, "a:x:1:1:A:/a:/bin/sh", a, "a:x:1:1::/a:/bin/zsh", "a:x:1:1:A:/a:/bin/zsh\n"},
		{"uid taken", a, a + "\nc:x:2:2::/c:/bin/sh", a, a + "\n" + b, a + "\n" + b + "\n"},
		{"toor", a, a + "\ntoor:x:1:1::/:/bin/sh", a, a, a + "\ntoor:x:1:1::/:/bin/sh\n"},
		{"removed, changed here", a + "\n" + b, a, a + "\n" + b, a + "\nb:x:2:2::/b:/bin/zsh", a + "\nb:x:2:2::/b:/bin/zsh\n"},
		{"removed here, changed there", a + "\n" + b, a + "\nb:x:2:2:B:/b:/bin/sh", a + "\n" + b, a, a + "\n"},
		{"new before NIS lines", a + "\n+::::::", a + "\n" + b + "\n+::::::", a + "\n+::::::", "# c\n" + a + "\n-bad::::::\n+::::::", "# c\n" + a + "\n" + b + "\n-bad::::::\n+::::::\n"},
		{"NIS line removed", a + "\n+@all::::::", a, a + "\n+@all::::::", a + "\n+@all::::::", a + "\n"},
		{"denied before all are let in", a, a + "\n-bad::::::", a, a + "\n+::::::", a + "\n-bad::::::\n+::::::\n"},
		{"some let in before all are", a, a + "\n+@some::::::", a, a + "\n+@few::::::\n+::::::", a + "\n+@few::::::\n+@some::::::\n+::::::\n"},
		{"comments behind the service", a, a + "\n" + b, a, a + "\n+::::::\n# end", a + "\n" + b + "\n+::::::\n# end\n"},
		{"broken line kept", a, a + "\n" + b, a, a + "\nbroken:x:3", a + "\nbroken:x:3\n" + b + "\n"},
		{"broken here, changed there", a, "a:x:1:1:A:/a:/bin/sh", a, "a:x:1", "a:x:1\n"},
		{"doubled name", a, a + "\n" + b, a, a + "\n" + a, a + "\n" + a + "\n" + b + "\n"},
		{"no newline at the end, an empty line", a, "a:x:1:1:A:/a:/bin/sh", a, "\n" + a, "\na:x:1:1:A:/a:/bin/sh\n"},
	} {
		if res, events := one(Passwd, row.old, row.new, row.base, row.cur); res != row.res {
			t.Errorf("%s: %q, want %q (%v)", row.why, res, row.res, events)
		}
	}
}

// A record that cannot be read any more there is not removed here, and that is
// said, once, also over two runs.
func TestBrokenThere(t *testing.T) {
	const good, bad = "a:x:1:1::/a:/bin/sh\nb:x:2:2::/b:/bin/sh\n", "a:x:1:1::/a:/bin/sh\nb:x:2:2::/b\n"
	db := func(s string) Database { return Database{Passwd: Parse(Passwd, []byte(s))} }
	for name, d := range map[string]Deltas{
		"one run":  DiffAll(db(good), db(bad)),
		"two runs": DiffAll(db(good), db(bad)).Then(DiffAll(db(bad), db(bad+"c:x:3:3::/c:/bin/sh\n"))),
	} {
		res, events := Merge(d, db(bad), db(good), db(good))
		if res[Passwd].Get("b") == nil {
			t.Errorf("%s: b is gone", name)
		}
		if len(events) == 0 || events[0].What != Broken || events[0].Name != "b" || !strings.Contains(events[0].Detail, "line 2 there") {
			t.Errorf("%s: %v", name, events)
		}
	}
}

// Whoever is added there is in no group here that was not meant, and no group
// here has a member who is nobody here.
func TestNumbersAndMembersOfOthers(t *testing.T) {
	side := func(passwd, group string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Group: Parse(Group, []byte(group))}
	}
	const root, rootg = "root:x:0:0::/:/bin/sh\n", "root:x:0:\n"
	old := side(root+"bob:x:20:20::/:/bin/sh\n", rootg+"adm:x:4:\nbob:x:20:\n")
	new := side(root+"bob:x:20:20::/:/bin/sh\ncarol:x:30:30::/:/bin/sh\n", rootg+"adm:x:4:bob,carol,ldapuser\nbob:x:20:\ncarol:x:30:\n")
	// Here a package has gid 30, and bob is gone.
	here := side(root, rootg+"adm:x:4:\nsecrets:x:30:\n")
	res, events := Merge(DiffAll(old, new), new, old, here)
	if got := string(res[Passwd].Bytes()); got != root {
		t.Errorf("passwd: %s", got)
	}
	if got := string(res[Group].Bytes()); got != rootg+"adm:x:4:ldapuser\nsecrets:x:30:\n" {
		t.Errorf("group: %s", got)
	}
	said := fmt.Sprint(events)
	for _, want := range []string{"its gid 30 is the group secrets here", "bob is no user here"} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %s in %s", want, said)
		}
	}
	// The same where his group changes.
	old = side(root+"bob:x:20:20::/:/bin/sh\n", rootg+"bob:x:20:\n")
	new = side(root+"bob:x:20:30::/:/bin/sh\n", rootg+"bob:x:20:\nnew:x:30:\n")
	here = side(root+"bob:x:20:20::/:/bin/sh\n", rootg+"bob:x:20:\nsecrets:x:30:\n")
	if res, _ := Merge(DiffAll(old, new), new, old, here); res[Passwd].Get("bob")[3] != "20" {
		t.Errorf("bob is in the group secrets: %q", res[Passwd].Get("bob"))
	}
}

func TestGroup(t *testing.T) {
	for _, row := range []struct{ why, old, new, base, cur, res string }{
		{"added and removed", "g:x:5:a,b", "g:x:5:b,c", "g:x:5:a,b", "g:x:5:a,b,d", "g:x:5:b,d,c\n"},
		{"removal outranks the addition here", "g:x:5:a", "g:x:5:", "g:x:5:", "g:x:5:a", "g:x:5:\n"},
		{"removal here outranks the addition there", "g:x:5:", "g:x:5:a", "g:x:5:a", "g:x:5:", "g:x:5:\n"},
		{"group gone", "g:x:5:a", "", "g:x:5:a", "g:x:5:a", ""},
		{"group gone, changed here", "g:x:5:a", "", "g:x:5:a", "g:x:5:a,b", "g:x:5:b\n"},
		{"gid taken", "", "h:x:5:", "", "g:x:5:", "g:x:5:\n"},
	} {
		if res, events := one(Group, row.old, row.new, row.base, row.cur); res != row.res {
			t.Errorf("%s: %q, want %q (%v)", row.why, res, row.res, events)
		}
	}
}

func TestRanges(t *testing.T) {
	res, _ := one(Subuid, "a:1:10\nb:11:10", "a:1:10\nc:21:10\nc:100:10\nd:15:2", "a:1:10\nb:11:10", "a:1:10\nb:11:10\nn:21:10")
	if res != "a:1:10\nn:21:10\nc:100:10\nd:15:2\n" {
		t.Errorf("subuid: %q", res)
	}
}

func TestKindOf(t *testing.T) {
	for path, want := range map[string]bool{"/etc/passwd": true, "/etc/gshadow": true, "/etc/passwd-": false,
		"/srv/etc/passwd": false, "/etc/subgid": true, "/etc/master.passwd": true} {
		if _, got := KindOf(path); got != want {
			t.Errorf("KindOf(%q) = %v", path, got)
		}
	}
}

// drawDB draws a consistent database of few users, so that sides meet.
func drawDB(t *rapid.T, label string) map[Kind][]byte {
	var passwd, shadow, group, gshadow strings.Builder
	var names []string
	for i, name := range []string{"a", "b", "c", "d"} {
		if rapid.IntRange(0, 3).Draw(t, label+name) == 0 {
			continue
		}
		names = append(names, name)
		uid := 10 + i
		if rapid.IntRange(0, 5).Draw(t, label+"uid") == 0 {
			uid = 10 + (i+1)%4
		}
		fmt.Fprintf(&passwd, "%s:x:%d:5:%s:/:%s\n", name, uid, rapid.SampledFrom([]string{"", "G"}).Draw(t, label+"gecos"),
			rapid.SampledFrom([]string{"/bin/sh", "/bin/zsh", "/usr/sbin/nologin"}).Draw(t, label+"shell"))
		fmt.Fprintf(&shadow, "%s:%s:%d:::::%s:\n", name, rapid.SampledFrom([]string{"h", "!h", "i", "!i", "*", ""}).Draw(t, label+"pw"),
			rapid.IntRange(1, 2).Draw(t, label+"day"), rapid.SampledFrom([]string{"", "5", "9"}).Draw(t, label+"expire"))
	}
	for i, g := range []string{"g", "h"} {
		var m []string
		for _, name := range names {
			if rapid.Bool().Draw(t, label+"member") {
				m = append(m, name)
			}
		}
		fmt.Fprintf(&group, "%s:x:%d:%s\n", g, 5+i, strings.Join(m, ","))
		fmt.Fprintf(&gshadow, "%s:!::%s\n", g, strings.Join(m, ","))
	}
	return map[Kind][]byte{Passwd: []byte(passwd.String()), Shadow: []byte(shadow.String()),
		Group: []byte(group.String()), Gshadow: []byte(gshadow.String())}
}

func text(db Database) string {
	var b strings.Builder
	for _, kind := range Kinds {
		if f := db[kind]; f != nil {
			fmt.Fprintf(&b, "%s:\n%s", kind, f.Bytes())
		}
	}
	return b.String()
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := ParseAll(drawDB(t, "old")), ParseAll(drawDB(t, "new"))
		base, cur := ParseAll(drawDB(t, "base")), ParseAll(drawDB(t, "cur"))
		if rapid.Bool().Draw(t, "in step") {
			base = old
		}
		d := DiffAll(old, new)

		if res, events := Merge(DiffAll(old, old), old, base, cur); text(res) != text(cur) || len(events) > 0 {
			t.Fatalf("nothing changed there, but %v\n%s", events, text(res))
		}
		if text(base) == text(old) {
			res, _ := Merge(d, new, old, old)
			for _, kind := range Kinds {
				if got := DiffAll(Database{kind: res[kind]}, Database{kind: new[kind]}); len(got) > 0 && len(dup(new)) == 0 && !swapped(old, new) {
					t.Fatalf("changed there only, but %s differs: %v", kind, got)
				}
			}
		}
		res, _ := Merge(d, new, base, cur)
		again, _ := Merge(d, new, Moved(d, base, cur, res), res)
		if text(again) != text(res) {
			t.Fatalf("twice:\n%s\nonce:\n%s", text(again), text(res))
		}
		for _, name := range res[Passwd].Keys() {
			s := res[Shadow].Get(name)
			if s == nil {
				t.Fatalf("%s has no shadow:\n%s", name, text(res))
			}
			o, n := old[Shadow].Get(name), new[Shadow].Get(name)
			if o != nil && n != nil && Locked(n[1]) && !Locked(o[1]) && cur[Passwd].Get(name) != nil && !Locked(s[1]) {
				t.Fatalf("%s was locked there and is not here:\n%s", name, text(res))
			}
			if o != nil && n == nil && !Locked(s[1]) {
				t.Fatalf("%s was removed there and is open here:\n%s", name, text(res))
			}
		}
		for _, name := range res[Shadow].Keys() {
			if res[Passwd].Get(name) == nil {
				t.Fatalf("%s has a shadow and no passwd:\n%s", name, text(res))
			}
		}
		for _, g := range []string{"g", "h"} {
			o, n, r := split(old[Group].Get(g)[3]), split(new[Group].Get(g)[3]), split(res[Group].Get(g)[3])
			for _, m := range o {
				if !slices.Contains(n, m) && slices.Contains(r, m) {
					t.Fatalf("%s was thrown out of %s there:\n%s", m, g, text(res))
				}
			}
		}
		// A failback gives nobody anything.
		less, _ := Merge(d.Security(), new, base, cur)
		for _, name := range less[Passwd].Keys() {
			if cur[Passwd].Get(name) == nil {
				t.Fatalf("a failback added %s", name)
			}
			if s, c := less[Shadow].Get(name), cur[Shadow].Get(name); s != nil && c != nil && s[1] != c[1] && !Locked(s[1]) {
				t.Fatalf("a failback changed the password of %s from %q to %q", name, c[1], s[1])
			}
		}
	})
}

// swapped says that names changed numbers, which may be in a circle.
func swapped(old, new Database) bool {
	for _, key := range old[Passwd].Keys() {
		if n := new[Passwd].Get(key); n != nil && n[2] != old[Passwd].Get(key)[2] {
			return true
		}
	}
	return false
}

// dup are the uids that two names of a database share.
func dup(db Database) []string {
	seen := map[string]bool{}
	var list []string
	for _, key := range db[Passwd].Keys() {
		uid := db[Passwd].Get(key)[2]
		if seen[uid] {
			list = append(list, uid)
		}
		seen[uid] = true
	}
	return list
}

// Two changes one after the other are the change from the first state to the
// last.
func TestThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := ParseAll(drawDB(t, "a")), ParseAll(drawDB(t, "b")), ParseAll(drawDB(t, "c"))
		sum, whole := DiffAll(a, b).Then(DiffAll(b, c)), DiffAll(a, c)
		for _, kind := range Kinds {
			if kind == Group || kind == Gshadow {
				continue // the order of members may differ
			}
			if fmt.Sprint(sum[kind]) != fmt.Sprint(whole[kind]) {
				t.Fatalf("%s: %v, want %v", kind, sum[kind], whole[kind])
			}
		}
	})
}
