package account

import (
	"fmt"
	"slices"
	"strings"
)

// Event is one thing the merge did, or did not do, to a record. It never
// holds a password.
type Event struct {
	File   Kind   `json:"file"`
	Name   string `json:"name"`
	What   What   `json:"what"`
	Detail string `json:"detail,omitempty"`
}

// String is the event for a terminal.
func (e Event) String() string {
	s := string(e.What)
	if e.Name != "" {
		s = e.Name + " " + s
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// What happened to a record.
type What string

// What can happen. Held and Conflict ask for somebody to look.
const (
	Added    What = "added"
	Removed  What = "removed"
	Changed  What = "changed"
	Password What = "password"
	LockedBy What = "locked"
	Unlocked What = "unlocked"
	Expired  What = "expired"
	Joined   What = "joined"   // a group got a member
	Revoked  What = "revoked"  // a group lost one
	Held     What = "held"     // removed there, changed here: kept, locked and expired
	Conflict What = "conflict" // left as it is here
	Broken   What = "broken"   // a line that cannot be read, kept
)

// mergeRecord does the change c, of a record that exists before and after it
// or was added, to the record cur, that was base when last in step.
func mergeRecord(kind Kind, key string, c Change, base, cur []string) ([]string, []Event) {
	var events []Event
	say := func(what What, format string, args ...any) {
		events = append(events, Event{kind, key, what, fmt.Sprintf(format, args...)})
	}
	if !sameShape(c.New, cur) || c.Old != nil && !sameShape(c.Old, cur) || base != nil && !sameShape(base, cur) {
		if !slices.Equal(c.New, cur) {
			say(Conflict, "the fields differ in number")
		}
		return cur, events
	}
	res := slices.Clone(cur)
	names := formats[kind].names
	name := func(i int) string {
		if i < len(names) {
			return names[i]
		}
		return fmt.Sprintf("field %d", i+1)
	}
	var changed, clashed []string
	tookPassword := false
	for i := range res {
		n, old := c.New[i], ""
		if c.Old != nil {
			old = c.Old[i]
			if old == n {
				continue
			}
		}
		untouched := c.Old != nil && cur[i] == old
		if base != nil {
			untouched = cur[i] == base[i]
		}
		switch r := kind.role(i); r {
		case password:
			was := old
			if base != nil {
				was = base[i]
			}
			value, what := mergePassword(kind, old, n, was, cur[i], untouched)
			res[i] = value
			tookPassword = what == Password || what == LockedBy || what == Unlocked
			if what == Conflict || what != "" && value != cur[i] {
				say(what, "")
			}
		case members:
			b, o := "", old
			if base != nil {
				b = base[i]
			} else {
				b = o
			}
			if res[i] = mergeMembers(o, n, b, cur[i]); cur[i] == o && b == o {
				res[i] = n // in its own order
			}
			before, after := split(cur[i]), split(res[i])
			for _, m := range after {
				if !slices.Contains(before, m) {
					say(Joined, "%s", m)
				}
			}
			for _, m := range before {
				if !slices.Contains(after, m) {
					say(Revoked, "%s", m)
				}
			}
		case lastchg:
			// Follows the password, which stands before it.
			if n == cur[i] {
				continue
			}
			if n == mustChange {
				res[i] = n
				say(Expired, "the password")
				continue
			}
			if cur[i] == mustChange && old != mustChange {
				continue
			}
			if tookPassword || untouched {
				res[i] = n
				if !tookPassword {
					changed = append(changed, name(i))
				}
			} else if !Locked(res[1]) {
				clashed = append(clashed, name(i))
			}
		case expire:
			switch {
			case n == cur[i]:
			case untouched && expiry(kind, old) <= expiry(kind, cur[i]) || expiry(kind, n) < expiry(kind, cur[i]):
				res[i] = n
				if expiry(kind, n) < expiry(kind, cur[i]) {
					say(Expired, "%s", n)
				} else {
					changed = append(changed, name(i))
				}
			case expiry(kind, n) != expiry(kind, cur[i]):
				clashed = append(clashed, name(i))
			}
		default:
			switch {
			case n == cur[i]:
			case r == shell && noShell(cur[i]) && !noShell(old) && !noShell(n):
				clashed = append(clashed, name(i))
			case untouched || r == shell && noShell(n) && !noShell(old):
				res[i] = n
				changed = append(changed, name(i))
			default:
				clashed = append(clashed, name(i))
			}
		}
	}
	if len(changed) > 0 {
		say(Changed, "%s", strings.Join(changed, ", "))
	}
	if len(clashed) > 0 {
		say(Conflict, "%s: changed on both sides", strings.Join(clashed, ", "))
	}
	return res, events
}

// unchanged is events without the field among those that changed.
func unchanged(events []Event, field string) []Event {
	var left []Event
	for _, e := range events {
		if e.What == Changed {
			names := slices.DeleteFunc(strings.Split(e.Detail, ", "), func(n string) bool { return n == field })
			if len(names) == 0 {
				continue
			}
			e.Detail = strings.Join(names, ", ")
		}
		left = append(left, e)
	}
	return left
}

// mergePassword decides one password field: old → n on the outgoing side, was
// → cur here. what is empty where nothing is to be said.
func mergePassword(kind Kind, old, n, was, cur string, untouched bool) (value string, what What) {
	switch {
	case n == cur:
		return cur, ""
	case untouched && Locked(n) && !Locked(cur):
		if mark, ok := strings.CutSuffix(n, old); ok && old != "" {
			return mark + cur, LockedBy // only locked: this side's password, locked
		}
		return n, LockedBy
	case untouched && Locked(cur) && !Locked(n) && Locked(old):
		if mark := lifted(old, n); mark != "" && strings.HasPrefix(cur, mark) && cur != mark {
			if Locked(cur[len(mark):]) { // a second lock
				return cur, Conflict
			}
			return cur[len(mark):], Unlocked
		}
		return n, Unlocked
	case untouched && (Locked(n) || !Locked(cur)):
		return n, Password
	case Locked(n):
		// Locked there, another password here: this one, locked.
		if Locked(cur) {
			return cur, ""
		}
		return lock(kind, cur), LockedBy
	case Locked(cur) && Locked(was) && lifted(old, n) != "":
		// The lock came from there. Lifted, this side's password counts.
		for _, mark := range []string{lifted(old, n), lock(kind, "")} {
			if own, ok := strings.CutPrefix(cur, mark); ok && own != "" && !Locked(own) {
				return own, Unlocked
			}
		}
		return cur, Conflict
	case Locked(cur) && (!Locked(was) || !Locked(old)) && n != "" && lifted(old, n) == "":
		// Locked here, a new password there: that one, locked. A lock that is
		// only here is lifted by nothing that was no unlocking there.
		return lock(kind, n), Password
	case Locked(cur) || n == "" || Locked(old):
		// A right is given there that was not there when both parted.
		return cur, Conflict
	}
	return n, Password
}

// lifted is the mark of a lock that n has not and old had before the same
// password; empty where that is not what turned old into n.
func lifted(old, n string) string {
	if mark, ok := strings.CutSuffix(old, n); ok && n != "" && Locked(old) && !Locked(n) {
		return mark
	}
	return ""
}

// mergeMembers does to cur what turned old into n; who was thrown out here
// since base is not brought back.
func mergeMembers(old, n, base, cur string) string {
	o, b, c := split(old), split(base), split(cur)
	allowed := slices.DeleteFunc(split(n), func(m string) bool {
		return !slices.Contains(o, m) && slices.Contains(b, m) && !slices.Contains(c, m)
	})
	return applyMembers(cur, old, strings.Join(allowed, ","))
}
