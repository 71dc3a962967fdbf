package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const bectlName = "bectl"

// asBectl says whether the program is to be bectl, and gives the words for our
// own command line that make it so: what was given to bectl stands, untouched,
// behind the hidden command. By name it is bectl whatever follows; by --dialect
// or BEADM_DIALECT what bectl has no command for is beadm's, so that a machine
// where the variable is set boots and confirms all the same.
func asBectl(app *cli.App, args []string) (words []string, is bool) {
	if len(args) == 0 {
		return nil, false
	}
	globals, rest := leadingFlags(app.Flags, args[1:])
	said, given := os.LookupEnv("BEADM_DIALECT")
	for i, g := range globals {
		name, value, joined := strings.Cut(strings.TrimLeft(g, "-"), "=")
		if name != "dialect" {
			continue
		}
		if given = true; joined {
			said = value
		} else if i+1 < len(globals) {
			said = globals[i+1]
		}
	}
	byName := filepath.Base(args[0]) == bectlName
	switch {
	case given && said != "" && said != bectlName:
		return nil, false
	case byName && !slices.ContainsFunc(globals, isDialect):
		return slices.Concat([]string{args[0], bectlHidden}, args[1:]), true
	case !byName && said != bectlName:
		return nil, false
	case !byName && (len(rest) == 0 || bectlCommands[rest[0]] == nil):
		return nil, false
	}
	return slices.Concat(args[:1], globals, []string{bectlHidden}, rest), true
}

func isDialect(word string) bool { return strings.HasPrefix(strings.TrimLeft(word, "-"), "dialect") }
