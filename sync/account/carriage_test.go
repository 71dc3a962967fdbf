package account

import (
	"slices"
	"strings"
	"testing"
)

// Lines that end in a carriage return stay so. What takes rights away reaches
// them, and nothing gives any back; those that are there are not brought here.
func TestCarriageReturns(t *testing.T) {
	const u, locked = "u:h:1::::::", "u:!h:1::::::"
	const cr = "\r"
	for _, row := range []struct {
		kind                     Kind
		why                      string
		old, new, base, cur, res string
		said                     bool
	}{
		{Shadow, "locked there, CRLF here", u, locked, u + cr, u + cr, locked + cr, true},
		{Shadow, "expired there, CRLF here", u, "u:h:1:::::5:", u + cr, u + cr, "u:h:1:::::5:" + cr, true},
		{Shadow, "unlocked there, CRLF here", locked, u, locked + cr, locked + cr, locked + cr, true},
		{Shadow, "a password there, CRLF here", u, "u:n:2::::::", u + cr, u + cr, u + cr, true},
		{Shadow, "CRLF there", u, u + cr, u, u, u, true},
		{Shadow, "locked and CRLF there", u, locked + cr, u, u, locked, true},
		{Shadow, "unlocked and CRLF there", locked, u + cr, locked, locked, locked, true},
		{Shadow, "locked, CRLF everywhere", u + cr, locked + cr, u + cr, u + cr, locked + cr, true},
		{Shadow, "unlocked, CRLF everywhere", locked + cr, u + cr, locked + cr, locked + cr, locked + cr, true},
		{Shadow, "CRLF everywhere", u + cr, u + cr, u + cr, u + cr, u + cr, false},
		{Shadow, "CRLF no more there", u + cr, u, u + cr, u + cr, u + cr, false},
		{Shadow, "a second line, CRLF", u, locked, u, u + "\nu:m:2::::::\r", locked + "\nu:!m:2::::::\r", true},
		{Group, "thrown out there, CRLF here", "g:x:1:a,b", "g:x:1:a", "g:x:1:a,b\r", "g:x:1:a,b\r", "g:x:1:a\r", true},
		{Group, "joined there, CRLF here", "g:x:1:a", "g:x:1:a,b", "g:x:1:a\r", "g:x:1:a\r", "g:x:1:a\r", true},
		{Group, "CRLF and thrown out there", "g:x:1:a,b", "g:x:1:a\r", "g:x:1:a,b", "g:x:1:a,b", "g:x:1:a", true},
		{Group, "CRLF and joined there", "g:x:1:a", "g:x:1:a,b\r", "g:x:1:a", "g:x:1:a", "g:x:1:a", true},
		{Passwd, "a shell there, CRLF here", "u:x:1:1::/:/bin/sh", "u:x:1:1::/:/bin/zsh", "u:x:1:1::/:/bin/sh\r", "u:x:1:1::/:/bin/sh\r", "u:x:1:1::/:/bin/sh\r", true},
		{Passwd, "no shell here, CRLF", "u:x:1:1::/:/bin/sh", "u:x:1:1::/:/bin/zsh", "u:x:1:1::/:/usr/sbin/nologin\r", "u:x:1:1::/:/usr/sbin/nologin\r", "u:x:1:1::/:/usr/sbin/nologin\r", true},
		{Passwd, "added there, CRLF", "v:x:2:2::/:/bin/sh", "v:x:2:2::/:/bin/sh\nu:x:1:1::/:/bin/sh\r", "v:x:2:2::/:/bin/sh", "v:x:2:2::/:/bin/sh", "v:x:2:2::/:/bin/sh", true},
		{Passwd, "its uid is one's, CRLF", "", "u:x:1:1::/:/bin/sh", "", "v:x:1:1::/:/bin/sh\r", "v:x:1:1::/:/bin/sh\r", true},
		{Passwd, "added there, CRLF here", "v:x:2:2::/:/bin/sh", "v:x:2:2::/:/bin/sh\nu:x:1:1::/:/bin/sh", "v:x:2:2::/:/bin/sh\r", "v:x:2:2::/:/bin/sh\r", "v:x:2:2::/:/bin/sh\r\nu:x:1:1::/:/bin/sh", true},
		{Subuid, "CRLF there, removed here", "u:1:9", "u:1:9\r", "u:1:9", "v:20:9", "v:20:9", true},
		{Subuid, "removed there, CRLF here", "u:1:9\nv:20:9", "v:20:9", "u:1:9\nv:20:9", "u:1:9\r\nv:20:9", "v:20:9", true},
	} {
		res, events := one(row.kind, row.old, row.new, row.base, row.cur)
		if res != row.res+"\n" {
			t.Errorf("%s: %q, want %q (%v)", row.why, res, row.res, events)
		}
		if said := len(events) > 0; said != row.said {
			t.Errorf("%s: said %v", row.why, events)
		}
		for i, e := range events {
			if slices.Contains(events[:i], e) || strings.Contains(e.Detail, cr) {
				t.Errorf("%s: said %v", row.why, events)
			}
		}
	}
}

// Without a known common state a carriage return lets nobody in, either.
func TestUniteCarriageReturns(t *testing.T) {
	db := func(s string) Database { return Database{Shadow: Parse(Shadow, []byte(s))} }
	for _, row := range []struct{ out, cur, want string }{
		{"u:!h:1::::::\r\n", "u:h:1::::::\n", "u:!h:1::::::\n"},
		{"u:h:1::::::\r\n", "u:!h:1::::::\n", "u:!h:1::::::\n"},
		{"u:n:2::::::\r\n", "u:h:1::::::\n", "u:h:1::::::\n"},
		{"u:!h:1::::::\n", "u:h:1::::::\r\n", "u:!h:1::::::\r\n"},
		{"u:h:1::::::\n", "u:!h:1::::::\r\n", "u:!h:1::::::\r\n"},
		{"u:h:1::::::\nv:h:1::::::\r\n", "u:h:1::::::\n", "u:h:1::::::\n"},
	} {
		res, events := Unite(db(row.out), db(row.cur))
		if got := string(res[Shadow].Bytes()); got != row.want {
			t.Errorf("%q into %q: %q, want %q (%v)", row.out, row.cur, got, row.want, events)
		}
	}
}
