package boot

import "strings"

// compareVersions orders as dpkg does (deb-version(7), Sorting algorithm):
// runs of non-digits with ~ before everything, letters before other
// characters, and runs of digits as numbers, in turn. Epochs do not occur in
// kernel releases.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !digit(a[0])) || (b != "" && !digit(b[0])) {
			x, y := order(a), order(b)
			if x != y {
				return x - y
			}
			a, b = a[1:], b[1:]
		}
		x, restA := number(a)
		y, restB := number(b)
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// order of the first character; the end and digits are alike.
func order(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

// number takes a run of digits off s, without its leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}
