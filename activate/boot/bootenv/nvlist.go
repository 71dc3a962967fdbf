package bootenv

import "strings"

// parseLabel reads what zfsbootcfg(8) -p and eeprom(8) -b -p print of a pool's
// boot environment area: libnvpair's nvlist_print, a first line
//
//	nvlist version: 0
//
// and then a pair in each line, a tab, the key, " = " and the value
// (lib/libnvpair/libnvpair.c of OpenZFS and illumos). Nested lists are
// indented once more and are not looked at. A key that stands there twice is
// no answer: ok is false, and so it is for anything that is no such list.
func parseLabel(text string) (pairs map[string]string, ok bool) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if !strings.HasPrefix(lines[0], "nvlist version: ") {
		return nil, false
	}
	pairs = map[string]string{}
	for _, line := range lines[1:] {
		rest, is := strings.CutPrefix(line, "\t")
		if !is || strings.HasPrefix(rest, "\t") || strings.HasPrefix(rest, "(") || rest == "" {
			continue
		}
		key, value, is := strings.Cut(rest, " = ")
		if !is {
			continue
		}
		if _, twice := pairs[key]; twice {
			return nil, false
		}
		pairs[key] = value
	}
	return pairs, true
}
