package account

import (
	"slices"
	"testing"
)

// Somebody who was added on both sides with two uids and is locked there is let
// in by no file here.
func TestAddedOnBothSidesLockedThere(t *testing.T) {
	side := func(passwd, shadow string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Shadow: Parse(Shadow, []byte(shadow))}
	}
	const root = "root:x:0:0::/:/bin/sh\n"
	for _, row := range []struct{ why, there, here, want string }{
		{"locked", "u:!h:1::::::\n", "u:m:2::::::\n", "u:!m:2::::::\n"},
		{"never a password", "u:*:1::::::\n", "u:m:2::::::\n", "u:!m:2::::::\n"},
		{"expired", "u:h:1:::::5:\n", "u:m:2::::::\n", "u:m:2:::::5:\n"},
		{"locked on both", "u:!h:1::::::\n", "u:*:2::::::\n", "u:*:2::::::\n"},
		{"locked, in two lines here", "u:!h:1::::::\n", "u:m:2::::::\nu:n:2::::::\n", "u:!m:2::::::\nu:!n:2::::::\n"},
		{"not locked", "u:h:1::::::\n", "u:m:2::::::\n", "u:m:2::::::\n"},
		{"locked here", "u:h:1::::::\n", "u:!m:2::::::\n", "u:!m:2::::::\n"},
	} {
		base := side(root, "")
		there, here := side(root+"u:x:7:0::/:/bin/sh\n", row.there), side(root+"u:x:8:0::/:/bin/sh\n", row.here)
		d := DiffAll(base, there)
		res, events := Merge(d, there, base, here)
		if got := string(res[Shadow].Bytes()); got != row.want {
			t.Errorf("%s: %q, want %q", row.why, got, row.want)
		}
		closed := slices.ContainsFunc(events, func(e Event) bool {
			return e.File == Shadow && e.Name == "u" && (e.What == LockedBy || e.What == Expired)
		})
		if closed != (row.want != row.here) {
			t.Errorf("%s: said %v", row.why, events)
		}
		if again, more := Merge(d, there, Moved(d, base, here, res), res); text(again) != text(res) {
			t.Errorf("%s, twice: %s%v", row.why, text(again), more)
		}
	}
	// On FreeBSD all is in one file.
	m := func(s string) Database { return Database{MasterPasswd: Parse(MasterPasswd, []byte(s))} }
	there, here := m("u:*LOCKED*h:7:1::0:5::/:/bin/sh\n"), m("u:m:8:1::0:0::/:/bin/sh\n")
	res, events := Merge(DiffAll(m(""), there), there, m(""), here)
	if got, want := string(res[MasterPasswd].Bytes()), "u:*LOCKED*m:8:1::0:5::/:/bin/sh\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return e.What == LockedBy }) {
		t.Errorf("said %v", events)
	}
}

// A number that is refused is not said to have changed, too.
func TestRefusedNumberIsSaidOnce(t *testing.T) {
	side := func(passwd, group string) Database {
		return Database{Passwd: Parse(Passwd, []byte(passwd)), Group: Parse(Group, []byte(group))}
	}
	const u, v = "u:x:1:1::/:/bin/sh\n", "v:x:9:1::/:/bin/sh\n"
	for _, row := range []struct {
		why                 string
		old, new, here      Database
		refused, and, never string
	}{
		{"its uid is another's", side(u, "g:x:1:\n"), side("u:x:9:1::/:/bin/sh\n", "g:x:1:\n"), side(u+v, "g:x:1:\n"),
			"its new number 9 is v's here", "", "uid"},
		{"its gid is another's", side(u, "g:x:1:\nh:x:2:\n"), side("u:x:1:2::/home/u:/bin/sh\n", "g:x:1:\nh:x:2:\n"), side(u, "g:x:1:\ni:x:2:\n"),
			"its new gid 2 is the group i here", "home", "gid"},
		{"its group is not here", side(u, "g:x:1:\nh:x:2:\n"), side("u:x:1:2::/:/bin/zsh\n", "g:x:1:\nh:x:2:\n"), side(u, "g:x:1:\n"),
			"its new group h is not here", "shell", "gid"},
		{"the number of a group", side(u, "h:x:2:\n"), side(u, "h:x:3:\n"), side(u, "h:x:2:\ni:x:3:\n"),
			"its new number 3 is i's here", "", "gid"},
	} {
		_, events := Merge(DiffAll(row.old, row.new), row.new, row.old, row.here)
		var said []string
		for _, e := range events {
			said = append(said, e.Detail)
		}
		want := []string{row.refused}
		if row.and != "" {
			want = append(want, row.and)
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s: said %v, want %q", row.why, events, want)
		}
	}
}
