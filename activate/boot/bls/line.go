// Package bls reads and writes the text files of systemd-boot: entries of type
// #1 of the Boot Loader Specification (uapi-group.org, "Type #1 Boot Loader
// Specification Entries") and loader.conf (loader.conf(5)). Bytes in, bytes
// out.
//
// Both are lines of a key, blanks and a value. What counts is how the loader
// takes them apart (systemd 252, src/boot/efi/boot.c, line_get_key_value): a
// line ends at a line feed or a carriage return, blanks around it go, a line
// that begins with # is a remark, and a value that begins and ends with a
// double quote loses both.
package bls

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// splitLines cuts where the loader does; each piece keeps its end.
func splitLines(s string) []string {
	var lines []string
	for s != "" {
		i := strings.IndexAny(s, "\n\r") + 1
		if i == 0 {
			i = len(s)
		}
		lines = append(lines, s[:i])
		s = s[i:]
	}
	return lines
}

// keyValue is what the loader makes of a line; key is empty for a remark, an
// empty line, and a key without a value.
func keyValue(line string) (key, value string) {
	line, _, _ = strings.Cut(line, "\x00") // it is a C string there
	line = strings.Trim(line, " \t\n\r")
	if strings.HasPrefix(line, "#") {
		return "", ""
	}
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return "", ""
	}
	key, value = line[:i], strings.TrimLeft(line[i:], " \t")
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return key, value
}

// checkValue refuses what could be read as more than a value, or as another:
// nothing is quoted or left out, because readers differ in what they undo
// (bootctl keeps quotes that the loader takes off).
func checkValue(key, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("the value of %s is empty", key)
	case !utf8.ValidString(value):
		return fmt.Errorf("the value %q of %s is not UTF-8", value, key)
	case strings.Trim(value, " \t") != value:
		return fmt.Errorf("the value %q of %s begins or ends with a blank", value, key)
	case value[0] == '"' && value[len(value)-1] == '"':
		return fmt.Errorf("the value %q of %s is in quotes, which would be taken off", value, key)
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("the value %q of %s holds the control character %q", value, key, rune(c))
		}
	}
	return nil
}
