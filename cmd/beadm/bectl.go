package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
)

// bectlHidden is the command that all of bectl's stand behind, so that the
// global options and their variables are what they are everywhere.
const bectlHidden = "as-bectl"

// What bectl ends with: sysexits(3) for a wrong command line, 255 where there
// is nothing to work on, and otherwise the numbers of libbe(3).
const (
	exUsage = 64
	exInit  = 255

	errInvalidName = 1
	errExists      = 2
	errNoEnt       = 3
	errPerms       = 4
	errDestroyAct  = 5
	errDestroyMnt  = 6
	errBadPath     = 7
	errPathBusy    = 8
	errMounted     = 12
	errUnknown     = 19
	errHasClones   = 21
)

// libbeWords are what libbe says of its numbers. Of the others our own sentence
// says more than "unknown error".
var libbeWords = map[int]string{
	errInvalidName: "invalid boot environment name",
	errExists:      "boot environment name already taken",
	errNoEnt:       "specified boot environment does not exist",
	errPerms:       "insufficient permissions",
	errDestroyAct:  "cannot destroy active boot environment",
	errDestroyMnt:  "cannot destroy mounted boot env unless forced",
	errMounted:     "boot environment is already mounted",
}

const bectlUsage = `Usage:	bectl {-h | subcommand [args...]}
	bectl [-r beroot] activate [-t] beName
	bectl [-r beroot] activate [-T]
	bectl [-r beroot] check
	bectl [-r beroot] create [-r] [-e {nonActiveBe | beName@snapshot}] beName
	bectl [-r beroot] create [-r] beName@snapshot
	bectl [-r beroot] create -E beName
	bectl [-r beroot] destroy [-Fo] {beName | beName@snapshot}
	bectl [-r beroot] export sourceBe
	bectl [-r beroot] import targetBe
	bectl [-r beroot] jail [-bU] [{-o key=value | -u key}]... beName
	      [utility [argument ...]]
	bectl [-r beroot] list [-aDHs] [{-c property | -C property}]
	bectl [-r beroot] mount beName [mountpoint]
	bectl [-r beroot] rename origBeName newBeName
	bectl [-r beroot] {ujail | unjail} {jailID | jailName | beName}
	bectl [-r beroot] {umount | unmount} [-f] beName
`

// bectlStatus ends the program with that status: all there is to say is said.
type bectlStatus int

func (s bectlStatus) Error() string { return fmt.Sprintf("bectl ended with status %d", int(s)) }

func reportBectl(io streams, err error) int {
	var status bectlStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(io.err, "bectl: interrupted: %v\n", err)
		return 130
	}
	fmt.Fprintf(io.err, "bectl: %v\n", err)
	if be.KindOf(err) == be.Usage {
		return exUsage
	}
	return errUnknown
}

// bectl is one call of one of its commands.
type bectl struct {
	*cli.Context
	name     string // as it was called: umount is unmount
	args     []string
	out, err io.Writer
	t        *activate.Target
	list     []activate.Listed
}

// bectlSub is one of bectl's commands: the letters that getopt(3) takes, and
// what is done after the store is open.
type bectlSub struct {
	letters string
	check   func(b *bectl, given []option) error // of the command line, before anything is opened
	run     func(b *bectl, given []option) error
}

var bectlCommands = map[string]*bectlSub{
	"activate": {"tT", bectlActivateArgs, bectlActivate},
	"check":    {"", (*bectl).noArguments, bectlCheck},
	"create":   {"e:rE", bectlCreateArgs, bectlCreate},
	"destroy":  {"Fo", (*bectl).oneArgument, bectlDestroy},
	"export":   {"", bectlStreamArgs, bectlExport},
	"import":   {"", bectlStreamArgs, bectlImport},
	"jail":     {"bo:Uu:", bectlJailArgs, bectlJail},
	"list":     {"aDHsc:C:", bectlListArgs, bectlList},
	"mount":    {"", bectlMountArgs, bectlMount},
	"rename":   {"", bectlRenameArgs, bectlRename},
	"ujail":    {"", (*bectl).noOptions, bectlUnjail},
	"unjail":   {"", (*bectl).noOptions, bectlUnjail},
	"umount":   {"f", (*bectl).oneArgument, bectlUnmount},
	"unmount":  {"f", (*bectl).oneArgument, bectlUnmount},
}

func bectlCommand() *cli.Command {
	return &cli.Command{Name: bectlHidden, Hidden: true, SkipFlagParsing: true, Action: runBectl}
}

func runBectl(c *cli.Context) error {
	b := &bectl{Context: c, out: c.App.Writer, err: c.App.ErrWriter}
	given, rest, wrong := getopt("hr:", c.Args().Slice())
	if wrong != nil {
		return b.illegal(wrong)
	}
	for _, o := range given {
		if o.letter == 'h' {
			fmt.Fprint(b.out, bectlUsage)
			return nil
		}
		if err := c.Set("beroot", o.value); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return b.usage("")
	}
	sub := bectlCommands[rest[0]]
	if sub == nil {
		return b.usage("Unknown command: " + rest[0])
	}
	b.name, b.args = rest[0], rest[1:]
	if sub.letters != "" {
		if given, b.args, wrong = getopt(sub.letters, b.args); wrong != nil {
			fmt.Fprintf(b.err, "bectl: %v\n", wrong)
			return b.wrong("unknown option '-%c'", wrong.letter)
		}
	}
	if err := sub.check(b, given); err != nil {
		return err
	}
	done, err := b.open()
	if err != nil {
		if b.name != "check" { // which is asked for its status alone
			fmt.Fprintf(b.err, "libbe_init(%q) failed.\nbectl: %v\n", c.String("beroot"), err)
		}
		return bectlStatus(exInit)
	}
	defer done()
	return sub.run(b, given)
}

// open is libbe_init.
func (b *bectl) open() (func(), error) {
	if os.Geteuid() != 0 {
		return nil, be.E(be.Denied, "it must be run as root")
	}
	t, done, err := target(b.Context)
	if err != nil {
		return nil, err
	}
	b.t = t
	if b.list, err = t.List(b.Context.Context); err != nil {
		done()
		return nil, err
	}
	b.silent()
	return done, nil
}

// silent keeps what is said beside the answer to warnings: bectl says nothing
// of what went well.
func (b *bectl) silent() {
	say := b.t.Report.(talk)
	say.out, say.err = io.Discard, io.Discard
	b.t.Report = say
}

// usage is what bectl says of a wrong command line, after why.
func (b *bectl) usage(why string) error {
	if why != "" {
		fmt.Fprintln(b.err, why)
	}
	fmt.Fprint(b.err, bectlUsage)
	return bectlStatus(exUsage)
}

func (b *bectl) wrong(format string, args ...any) error {
	return b.usage("bectl " + b.name + ": " + fmt.Sprintf(format, args...))
}

func (b *bectl) illegal(wrong *badOption) error {
	return b.usage("bectl: " + wrong.Error())
}

func (b *bectl) oneArgument([]option) error {
	if len(b.args) != 1 {
		return b.wrong("wrong number of arguments")
	}
	return nil
}

func (b *bectl) noArguments([]option) error {
	if len(b.args) != 0 {
		return b.wrong("wrong number of arguments")
	}
	return nil
}

func (b *bectl) noOptions([]option) error { return b.oneArgument(nil) }

// find is the boot environment of that name, or of that dataset.
func (b *bectl) find(name string) *activate.Listed {
	for i := range b.list {
		if b.list[i].Name == name || b.list[i].Location == name {
			return &b.list[i]
		}
	}
	return nil
}

// named finds a boot environment or says that there is none, with what bectl
// says after libbe.
func (b *bectl) named(name string, after string) (*activate.Listed, error) {
	if l := b.find(name); l != nil {
		return l, nil
	}
	return nil, b.fail(errNoEnt, nil, after)
}

// fail says what libbe says of the number, or else our sentence, and then what
// bectl says.
func (b *bectl) fail(number int, err error, after string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if words := libbeWords[number]; words != "" {
		fmt.Fprintln(b.err, words)
	} else if err != nil {
		fmt.Fprintf(b.err, "bectl: %v\n", err)
	}
	if after != "" {
		fmt.Fprintln(b.err, after)
	}
	return bectlStatus(number)
}

// plain ends with 1, which is no number of libbe there.
func (b *bectl) plain(text string) error {
	fmt.Fprintln(b.err, text)
	return bectlStatus(1)
}

// number is libbe's for an error whose circumstances nobody has looked at.
func number(err error) int {
	switch be.KindOf(err) {
	case be.Denied:
		return errPerms
	case be.NotFound:
		return errNoEnt
	}
	return errUnknown
}

// option is one that getopt found.
type option struct {
	letter byte
	value  string
}

func has(given []option, letter byte) bool {
	for _, o := range given {
		if o.letter == letter {
			return true
		}
	}
	return false
}

// badOption is one that getopt refuses.
type badOption struct {
	letter byte
	lacks  bool // its argument
}

func (o *badOption) Error() string {
	if o.lacks {
		return fmt.Sprintf("option requires an argument -- %c", o.letter)
	}
	return fmt.Sprintf("illegal option -- %c", o.letter)
}

// getopt is getopt(3): options end at the first argument, or after --; a letter
// with a colon takes what is left of the word or the next one.
func getopt(letters string, args []string) (given []option, rest []string, wrong *badOption) {
	for len(args) > 0 {
		word, is := strings.CutPrefix(args[0], "-")
		if !is || word == "" {
			return given, args, nil
		}
		args = args[1:]
		if word == "-" {
			return given, args, nil
		}
		for word != "" {
			o := option{letter: word[0]}
			word = word[1:]
			at := strings.IndexByte(letters, o.letter)
			if at < 0 || o.letter == ':' {
				return nil, nil, &badOption{letter: o.letter}
			}
			if strings.HasPrefix(letters[at+1:], ":") {
				switch {
				case word != "":
					o.value, word = word, ""
				case len(args) > 0:
					o.value, args = args[0], args[1:]
				default:
					return nil, nil, &badOption{o.letter, true}
				}
			}
			given = append(given, o)
		}
	}
	return given, nil, nil
}
