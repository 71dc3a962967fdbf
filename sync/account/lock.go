package account

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Locked says whether a password field lets nobody in: "!" before the hash is
// usermod -L and passwd -l, "*" a password that never was, *LK* illumos'
// passwd -l, *LOCKED* FreeBSD's pw lock.
func Locked(pw string) bool {
	return strings.HasPrefix(pw, "!") || strings.HasPrefix(pw, "*")
}

// lock puts a mark before the password as the system's own tools do, so that
// they can take it away again. On illumos "!" is no mark, but no crypt(3)
// ever gives it, which locks as well.
func lock(kind Kind, pw string) string {
	switch {
	case Locked(pw):
		return pw
	case kind == MasterPasswd:
		return "*LOCKED*" + pw
	}
	return "!" + pw
}

// expiry is the day or second an account ends, for comparison.
func expiry(kind Kind, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || kind == MasterPasswd && n == 0 {
		return math.MaxInt64 // never
	}
	return n
}

// mustChange is the day of a password's last change that asks for a new one at
// the next login (shadow(5), chage -d 0).
const mustChange = "0"

// noShell are the shells that let nobody in.
func noShell(s string) bool {
	switch path.Base(s) {
	case "nologin", "false", "noshell", "sync", "shutdown", "halt":
		return s != ""
	}
	return false
}

// hasShadow says that the password is elsewhere: "x" in passwd.
func hasShadow(pw string) bool { return pw == "x" }

// close locks and expires a record in place of removing it.
func closeRecord(kind Kind, fields []string) []string {
	fields = append([]string(nil), fields...)
	for i, r := range formats[kind].fields {
		switch {
		case i >= len(fields):
		case r == password && !(kind == Passwd && hasShadow(fields[i])):
			fields[i] = lock(kind, fields[i])
		case r == expire && expiry(kind, fields[i]) > 1:
			fields[i] = "1"
		}
	}
	return fields
}

// closeBroken takes from the lines for key that cannot be read, or come a second
// time, what c took away: getpwnam(3) and initgroups(3) of some systems read
// them. It says whether that changed anything.
func (f *File) closeBroken(key string, c Change) (changed bool) {
	roles := formats[f.kind].fields
	for n, l := range f.lines {
		text, carriage := strings.CutSuffix(l.text, "\r")
		fields := strings.Split(text, ":")
		if l.key != "" || fields[0] != key || f.kind.ranges() {
			continue
		}
		for i := range min(len(fields), len(roles)) {
			was, is := "", ""
			if c.Old != nil && i < len(c.Old) {
				was = c.Old[i]
			}
			if c.New != nil && i < len(c.New) {
				is = c.New[i]
			}
			if c.New != nil && was == is {
				continue
			}
			whole := len(fields) == len(roles) // it is known which field is which
			switch r := roles[i]; {
			case r == password && (c.New == nil || Locked(is)) && !(f.kind == Passwd && hasShadow(fields[i])):
				fields[i] = lock(f.kind, fields[i])
			case r == expire && whole && c.New == nil && expiry(f.kind, fields[i]) > 1:
				fields[i] = "1"
			case r == expire && whole && c.New != nil && expiry(f.kind, is) < expiry(f.kind, fields[i]):
				fields[i] = is
			case r == members && whole:
				fields[i] = applyMembers(fields[i], was, onlyOf(was, is))
			}
		}
		if text = strings.Join(fields, ":"); carriage {
			text += "\r"
		}
		if text != l.text {
			f.lines[n].text, changed = text, true
		}
	}
	return changed
}

// onlyOf is the members of list that is still has.
func onlyOf(list, is string) string {
	keep := split(is)
	return strings.Join(slices.DeleteFunc(split(list), func(m string) bool { return !slices.Contains(keep, m) }), ",")
}
