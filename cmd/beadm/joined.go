package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// apart takes joined short flags apart, -nF to -n -F, if args[i] is such. Only
// the last of them may take a value, which is the next word: -dry-run, mistyped,
// is no description "ry-run". A letter that is no flag is left for the library
// to name.
func apart(flags []cli.Flag, args []string, i int) []string {
	letters, is := strings.CutPrefix(args[i], "-")
	if !is || len(letters) < 2 || letters[0] == '-' || strings.Contains(letters, "=") || flagIn(flags, letters) {
		return args
	}
	var words []string
	for at, letter := range letters {
		name := string(letter)
		known := flagIn(flags, name)
		if at == 0 && !known || known && at < len(letters)-1 && takesValue(flags, name) {
			return args
		}
		if words = append(words, "-"+name); !known {
			break
		}
	}
	return slices.Concat(args[:i], words, args[i+1:])
}
