package account

import (
	"math"
	"path"
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
