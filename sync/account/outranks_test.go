package account

import (
	"strings"
	"testing"
)

// A lock that is only here is lifted by an unlocking there, and by nothing
// else: not by a new password of somebody who is not locked there.
func TestLockHereOutranksPasswordThere(t *testing.T) {
	for _, row := range []struct{ why, old, new, here, res string }{
		{"passwd there", "u:h:1::::::", "u:n:2::::::", "u:!h:1::::::", "u:!n:2::::::\n"},
		{"passwd there, no password here", "u:h:1::::::", "u:n:2::::::", "u:*:1::::::", "u:!n:2::::::\n"},
		{"passwd -d there", "u:h:1::::::", "u::2::::::", "u:!h:1::::::", "u:!h:2::::::\n"},
		{"unlocked there", "u:!h:1::::::", "u:h:1::::::", "u:!h:1::::::", "u:h:1::::::\n"},
		{"unlocked there with a new password", "u:!h:1::::::", "u:n:2::::::", "u:!h:1::::::", "u:n:2::::::\n"},
	} {
		res, _ := one(Shadow, row.old, row.new, row.here, row.here)
		if res != row.res {
			t.Errorf("%s: %q, want %q", row.why, res, row.res)
		}
		o, n := Database{Shadow: Parse(Shadow, []byte(row.old))}, Database{Shadow: Parse(Shadow, []byte(row.new))}
		h := Database{Shadow: Parse(Shadow, []byte(row.here))}
		d := DiffAll(o, n)
		first, _ := Merge(d, n, h, h)
		if again, _ := Merge(d, n, Moved(d, h, h, first), first); text(again) != text(first) {
			t.Errorf("%s, twice: %s", row.why, text(again))
		}
	}
}

// A lock or an unlocking is that alone: the password is the one that is here.
func TestLockBringsNoPassword(t *testing.T) {
	for _, row := range []struct{ why, old, new, here, res string }{
		{"locked there", "u:h:1::::::", "u:!h:1::::::", "u:m:2::::::", "u:!m:2::::::\n"},
		{"locked there, as on illumos", "u:h:1::::::", "u:*LK*h:1::::::", "u:m:2::::::", "u:*LK*m:2::::::\n"},
		{"locked there, and no password", "u:h:1::::::", "u:!:1::::::", "u:m:2::::::", "u:!:2::::::\n"},
		{"unlocked there", "u:!h:1::::::", "u:h:1::::::", "u:!m:2::::::", "u:m:2::::::\n"},
		{"unlocked there, locked twice here", "u:!h:1::::::", "u:h:1::::::", "u:!!m:2::::::", "u:!!m:2::::::\n"},
		{"unlocked there, none here", "u:!h:1::::::", "u:h:1::::::", "u:!:2::::::", "u:h:2::::::\n"},
	} {
		if res, _ := one(Shadow, row.old, row.new, row.here, row.here); res != row.res {
			t.Errorf("%s: %q, want %q", row.why, res, row.res)
		}
	}
}

// So is an expiry, a password that must be changed, and a shell that lets nobody
// in: a later change there that is none of them lifts none.
func TestRestrictedHereAlone(t *testing.T) {
	for _, row := range []struct {
		kind                 Kind
		why                  string
		old, new, here, want string
	}{
		{Shadow, "expires here", "u:h:1::::::", "u:h:1:::::900:", "u:h:1:::::5:", "u:h:1:::::5:\n"},
		{Shadow, "expires on both, later there", "u:h:1:::::5:", "u:h:1:::::900:", "u:h:1:::::5:", "u:h:1:::::900:\n"},
		{Shadow, "must change here", "u:h:1::::::", "u:n:2::::::", "u:h:0::::::", "u:n:0::::::\n"},
		{Passwd, "no shell here", "u:x:1:1::/:/bin/sh", "u:x:1:1::/:/bin/zsh", "u:x:1:1::/:/bin/false", "u:x:1:1::/:/bin/false\n"},
		{Passwd, "a shell there again", "u:x:1:1::/:/bin/false", "u:x:1:1::/:/bin/zsh", "u:x:1:1::/:/bin/false", "u:x:1:1::/:/bin/zsh\n"},
	} {
		if res, _ := one(row.kind, row.old, row.new, row.here, row.here); res != row.want {
			t.Errorf("%s: %q, want %q", row.why, res, row.want)
		}
	}
}

// A run that began without what an earlier one took away, because the sync
// between them did not come to its end, gives it back to nobody.
func TestThenOfARunThatHadNothing(t *testing.T) {
	for _, row := range []struct {
		kind              Kind
		why               string
		start, one        string
		other, two, there string
	}{
		{Shadow, "locked, then a password", "u:h:1::::::", "u:!h:1::::::", "u:h:1::::::", "u:n:2::::::", "u:!n:2::::::"},
		{Shadow, "locked, then none", "u:h:1::::::", "u:!h:1::::::", "u:h:1::::::", "u::2::::::", "u:!:2::::::"},
		{Shadow, "expired, then later", "u:h:1::::::", "u:h:1:::::5:", "u:h:1::::::", "u:h:1:::::900:", "u:h:1:::::5:"},
		{Shadow, "must change, then changed", "u:h:1::::::", "u:h:0::::::", "u:h:1::::::", "u:n:2::::::", "u:n:0::::::"},
		{Passwd, "no shell, then one", "u:x:1:1::/:/bin/sh", "u:x:1:1::/:/usr/sbin/nologin", "u:x:1:1::/:/bin/sh", "u:x:1:1::/:/bin/zsh", "u:x:1:1::/:/usr/sbin/nologin"},
		{Shadow, "locked, then unlocked", "u:h:1::::::", "u:!h:1::::::", "u:!h:1::::::", "u:i:1::::::", "u:i:1::::::"},
		{Shadow, "expired, then taken back", "u:h:1::::::", "u:h:1:::::5:", "u:h:1:::::5:", "u:h:1:::::900:", "u:h:1:::::900:"},
		{Shadow, "must change, and did", "u:h:1::::::", "u:h:0::::::", "u:h:0::::::", "u:n:2::::::", "u:n:2::::::"},
	} {
		diff := func(a, b string) Delta { return Diff(Parse(row.kind, []byte(a)), Parse(row.kind, []byte(b))) }
		sum := diff(row.start, row.one).Then(row.kind, diff(row.other, row.two))
		if got := strings.Join(sum["u"].New, ":"); got != row.there {
			t.Errorf("%s: %q, want %q", row.why, got, row.there)
		}
	}
}

// Without a known common state nobody gets back what this side took away.
func TestUniteGivesNothingBack(t *testing.T) {
	side := func(passwd, shadow string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Shadow: Parse(Shadow, []byte(shadow))}
	}
	out := side("u:x:1:1::/:/bin/sh\n", "u:h:9::::::\n")
	cur := side("u:x:1:1::/:/usr/sbin/nologin\n", "u:h:0::::::\n")
	res, _ := Unite(out, cur)
	if got := text(res); got != text(cur) {
		t.Errorf("%s", got)
	}
}

// Nobody is added whose group is not here: its number is free for the next
// package's.
func TestUserOfAGroupThatIsGone(t *testing.T) {
	side := func(passwd, group string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Group: Parse(Group, []byte(group))}
	}
	const root, games = "root:x:0:0::/:/bin/sh\n", "root:x:0:\ngames:x:60:\n"
	old, new := side(root, games), side(root+"u:x:1:60::/:/bin/sh\n", games)
	here := side(root, "root:x:0:\n")
	res, events := Merge(DiffAll(old, new), new, old, here)
	if got := text(res); got != text(here) || len(events) != 1 || events[0].What != Conflict {
		t.Errorf("%s%v", got, events)
	}
	// The same where a user who is here moves into it.
	old, new, here = side(root+"u:x:1:0::/:/bin/sh\n", games), side(root+"u:x:1:60::/:/bin/sh\n", games), side(root+"u:x:1:0::/:/bin/sh\n", "root:x:0:\n")
	if res, events = Merge(DiffAll(old, new), new, old, here); text(res) != text(here) || len(events) == 0 || events[0].What != Conflict {
		t.Errorf("%s%v", text(res), events)
	}
	// A group that comes along is one.
	old, new, here = side(root, "root:x:0:\n"), side(root+"u:x:1:60::/:/bin/sh\n", games), side(root, "root:x:0:\n")
	if res, events = Merge(DiffAll(old, new), new, old, here); text(res) != text(new) {
		t.Errorf("%s%v", text(res), events)
	}
}

// Who was locked by a lock from there is unlocked by its being lifted there, and
// keeps the password of this side.
func TestLockLiftedWhereItCameFrom(t *testing.T) {
	db := func(pw string) Database { return Database{Shadow: Parse(Shadow, []byte("u:"+pw+":1::::::\n"))} }
	for _, row := range []struct{ old, lock, here, want string }{
		{"h", "!h", "h", "h"},
		{"h", "!h", "m", "m"},
		{"h", "*LK*h", "m", "m"},
		{"h", "!h", "", ""},
		{"h", "!h", "*", "*"}, // this side's own
		{"h", "!h", "!", "!"},
		{"h", "!h", "!m", "!m"},
	} {
		old, lock, here, base := db(row.old), db(row.lock), db(row.here), db(row.old)
		there := DiffAll(old, lock)
		locked, _ := Merge(there, lock, base, here)
		if !Locked(locked[Shadow].Get("u")[1]) {
			t.Errorf("%+v: not locked: %s", row, text(locked))
		}
		base = Moved(there, base, here, locked)
		there = DiffAll(lock, old)
		res, events := Merge(there, old, base, locked)
		if got := res[Shadow].Get("u")[1]; got != row.want && row.here != "" {
			t.Errorf("%+v: %q, %v", row, got, events)
		}
		if len(events) == 0 {
			t.Errorf("%+v: not said", row)
		}
	}
}

// Over all passwords of the four sides: a lock here is lifted only by one that is
// lifted there and was on both, one that is put there is put here, nobody's
// password goes but by passwd -d, and twice is once.
func TestLocksOverAllPasswords(t *testing.T) {
	passwords := []string{"h", "m", "!h", "!m", "!", "*", "", "!!h", "*LK*m"}
	db := func(pw string) Database { return Database{Shadow: Parse(Shadow, []byte("u:"+pw+":1::::::\n"))} }
	pw := func(db Database) string { return db[Shadow].Get("u")[1] }
	for _, old := range passwords {
		for _, n := range passwords {
			d := DiffAll(db(old), db(n))
			for _, base := range passwords {
				for _, cur := range passwords {
					merged, _ := Merge(d, db(n), db(base), db(cur))
					res, wrong := pw(merged), ""
					switch again, _ := Merge(d, db(n), Moved(d, db(base), db(cur), merged), merged); {
					case Locked(cur) && !Locked(res) && !(Locked(old) && !Locked(n) && Locked(base)):
						wrong = "unlocked"
					case Locked(n) && !Locked(old) && !Locked(res):
						wrong = "not locked"
					case res == "" && cur != "" && n != "":
						wrong = "without a password"
					case pw(again) != res:
						wrong = "and then " + pw(again)
					}
					if wrong != "" {
						t.Errorf("%q to %q there, %q to %q here: %q, %s", old, n, base, cur, res, wrong)
					}
				}
			}
		}
	}
}
