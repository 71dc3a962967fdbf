package synclist

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/glob"

	"beadm/be"
	"beadm/be/rooted"
)

// SyntaxError is a line that is no rule.
type SyntaxError struct {
	File   string
	Line   int
	Column int // in bytes, from 1
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
}

// Paths of the list inside a boot environment: ours, and Live Upgrade's,
// which is read where ours is absent.
const (
	Path            = "/etc/beadm/synclist"
	LiveUpgradePath = "/etc/lu/synclist"
)

// maxSize keeps a hostile list from filling the memory.
const maxSize = 1 << 20

// Parse reads a list. name is what its rules and errors call the file. The
// error is a *SyntaxError for the first line that is wrong.
func Parse(name string, data []byte) (List, error) {
	var list List
	for n, line := range strings.Split(string(data), "\n") {
		rule, err := parseLine(strings.TrimSuffix(line, "\r"))
		if err != nil {
			err.File, err.Line = name, n+1
			return List{}, err
		}
		if rule != nil {
			rule.Source, rule.Line = name, n+1
			list.Rules = append(list.Rules, *rule)
		}
	}
	return list, nil
}

// field is a word of a line and where it begins.
type field struct {
	text   string
	column int
}

// fields cuts at blanks; a backslash keeps the byte after it in the word.
func fields(line string) []field {
	var list []field
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			if line[i] == '\\' && i+1 < len(line) {
				i++
			}
			i++
		}
		list = append(list, field{line[start:i], start + 1})
	}
	return list
}

func parseLine(line string) (*Rule, *SyntaxError) {
	words := fields(line)
	for i, w := range words {
		if strings.HasPrefix(w.text, "#") {
			words = words[:i]
			break
		}
	}
	if len(words) == 0 {
		return nil, nil
	}
	rule := &Rule{Pattern: words[0].text, Action: Overwrite}
	column := words[0].column
	if rest, ok := strings.CutPrefix(rule.Pattern, "!"); ok {
		rule.Pattern, rule.Action = rest, Exclude
		column++
		if len(words) > 1 {
			return nil, &SyntaxError{Column: words[1].column, Reason: "a line with ! takes no keyword"}
		}
	}
	if at, err := checkPath(rule.Pattern); err != "" {
		return nil, &SyntaxError{Column: column + at, Reason: err}
	}
	if len(words) > 1 {
		switch a := Action(words[1].text); a {
		case Overwrite, Append, Prepend, Merge, Keep, Force:
			rule.Action = a
		default:
			return nil, &SyntaxError{Column: words[1].column, Reason: fmt.Sprintf(
				"%q is no keyword: use OVERWRITE, APPEND, PREPEND, MERGE, KEEP or OVERWRITE!", words[1].text)}
		}
	}
	if len(words) > 2 {
		return nil, &SyntaxError{Column: words[2].column, Reason: fmt.Sprintf(
			"%q is too much: a line holds a path and a keyword (write a blank in a path as \"\\ \")", words[2].text)}
	}
	if rule.Pattern != "/" {
		rule.Pattern = strings.TrimRight(rule.Pattern, "/")
	}
	if err := rule.compile(); err != nil {
		var syntax *glob.SyntaxError
		if errors.As(err, &syntax) {
			return nil, &SyntaxError{Column: column + syntax.Offset, Reason: syntax.Reason}
		}
		return nil, &SyntaxError{Column: column, Reason: err.Error()}
	}
	return rule, nil
}

// checkPath says what is wrong with a path, and where in it.
func checkPath(path string) (at int, wrong string) {
	switch {
	case path == "":
		return 0, "a path is missing"
	case !strings.HasPrefix(path, "/"):
		return 0, fmt.Sprintf("%q is not an absolute path", path)
	case strings.Trim(path, "/") == "":
		return 0, "the whole root is not carried: name what is in it"
	}
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == 0 {
			return i, "a path holds no NUL"
		}
		// The list is kept as JSON, and printed.
		if r == utf8.RuneError && n == 1 || r < ' ' || r >= 0x7f && r < 0xa0 {
			return i, fmt.Sprintf("%q cannot be written in a list: put ? in its place", path[i:i+n])
		}
		i += n
	}
	if n := len(path) - len(strings.TrimRight(path, `\`)); n%2 == 1 {
		return len(path) - 1, "a backslash with nothing behind it"
	}
	at = 1
	for _, part := range strings.Split(path[1:], "/") {
		if part == ".." || part == "." {
			return at, fmt.Sprintf("%q holds %q: write the path without it", path, part)
		}
		if part == "" && strings.ContainsAny(path, globs) && strings.Trim(path[at:], "/") != "" {
			return at, fmt.Sprintf("%q matches nothing: it has two slashes in a row", path)
		}
		at += len(part) + 1
	}
	return 0, ""
}

// Load returns the list in force in a boot environment: what is built in for
// its system (a GOOS), then its own file.
func Load(root *rooted.Root, goos string) (List, error) {
	list := Builtin(goos)
	for _, path := range []string{Path, LiveUpgradePath} {
		data, err := root.ReadFileLimit(path, maxSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return List{}, fmt.Errorf("cannot read the synclist: %w", err)
		}
		file, err := Parse(path, data)
		if err != nil {
			return List{}, be.E(be.Usage, "the synclist is not valid: %w", err)
		}
		list.Rules = append(list.Rules, file.Rules...)
		break
	}
	return list, nil
}

// String is the list as Parse reads it, one rule a line, with a comment where
// the source changes.
func (l List) String() string {
	var b strings.Builder
	source := ""
	for _, r := range l.Rules {
		if r.Source != source {
			source = r.Source
			fmt.Fprintf(&b, "# %s\n", source)
		}
		if r.Action == Exclude {
			fmt.Fprintf(&b, "!%s\n", r.Pattern)
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", r.Pattern, r.Action)
	}
	return b.String()
}

// Compile makes a list that was read from JSON able to match.
func (l List) Compile() error {
	for i := range l.Rules {
		if err := l.Rules[i].compile(); err != nil {
			return fmt.Errorf("cannot compile %q: %w", l.Rules[i].Pattern, err)
		}
	}
	return nil
}
