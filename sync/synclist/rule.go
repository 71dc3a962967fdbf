// Package synclist reads the list of files that are carried from the boot
// environment that ran last into the one that runs next (synclist(5)).
//
// The format is Solaris Live Upgrade's synclist(4), PATH [OVERWRITE|APPEND|
// PREPEND], with these additions: globs, MERGE, KEEP, OVERWRITE! and !PATH.
package synclist

import (
	"path"
	"sort"
	"strings"

	"github.com/gobwas/glob"
)

// Action says how a path is carried.
type Action string

// The actions. The first three are Live Upgrade's.
const (
	Overwrite Action = "OVERWRITE"  // copy what only the outgoing side changed
	Append    Action = "APPEND"     // put what was added there at the end here
	Prepend   Action = "PREPEND"    // or at the beginning
	Merge     Action = "MERGE"      // three-way, with removal
	Keep      Action = "KEEP"       // never carry
	Force     Action = "OVERWRITE!" // OVERWRITE for account files too, which are merged otherwise
	Exclude   Action = "!"          // as if no line named the path
)

// Rule is one line of a list.
type Rule struct {
	Pattern string `json:"pattern"`
	Action  Action `json:"action"`
	Source  string `json:"source"` // the file's name, or "built-in"
	Line    int    `json:"line,omitempty"`

	// One of these, made by compile.
	literal string
	pattern *glob.Pattern
	parents []*glob.Pattern // what leads there, by depth; shorter than the depth after a "**"
}

// List is the rules in the order they apply; the last that matches wins.
type List struct {
	Rules []Rule `json:"rules"`
}

// globs are the bytes that make a path a pattern.
const globs = `*?[]{}\`

// compiler knows a path's parts: * and ? stay within one, ** does not.
var compiler = glob.Compiler{Separators: []rune{'/'}, Globstar: true}

// compile makes the rule able to match.
func (r *Rule) compile() error {
	if !strings.ContainsAny(r.Pattern, globs) {
		r.literal = path.Clean(r.Pattern)
		return nil
	}
	pattern, err := compiler.Compile(r.Pattern)
	if err != nil {
		return err
	}
	r.pattern = pattern
	// A pattern whose parts can be told apart says which directories lead to
	// it. {a/b,c} cannot be cut at its slashes: all below is looked at then.
	var lead string
	for _, part := range strings.Split(strings.TrimPrefix(r.Pattern, "/"), "/") {
		if strings.Contains(part, "**") {
			break
		}
		lead += "/" + part
		p, err := compiler.Compile(lead)
		if err != nil {
			break
		}
		r.parents = append(r.parents, p)
	}
	return nil
}

// start is the directory or file from which a walk finds all that the rule
// can match.
func (r *Rule) start() string {
	if r.pattern == nil {
		return r.literal
	}
	dir := ""
	for _, part := range strings.Split(strings.TrimPrefix(r.Pattern, "/"), "/") {
		if strings.ContainsAny(part, globs) {
			break
		}
		dir += "/" + part
	}
	if dir == "" {
		return "/"
	}
	return dir
}

// matches says whether the rule names path or a directory above it.
func (r *Rule) matches(path string) bool {
	if r.pattern == nil {
		return path == r.literal || r.literal == "/" || strings.HasPrefix(path, r.literal+"/")
	}
	for p := path; ; {
		if r.pattern.Match(p) {
			return true
		}
		i := strings.LastIndexByte(p, '/')
		if i <= 0 {
			return false
		}
		p = p[:i]
	}
}

// leads says whether something below the directory dir could match.
func (r *Rule) leads(dir string) bool {
	if dir == "/" || r.matches(dir) {
		return true
	}
	if r.pattern == nil {
		return strings.HasPrefix(r.literal, dir+"/")
	}
	depth := strings.Count(dir, "/")
	if depth > len(r.parents) {
		depth = len(r.parents)
		if depth == 0 {
			return true
		}
		// Below the parts that could be cut out: only if those match.
		dir = strings.Join(strings.Split(dir, "/")[:depth+1], "/")
	}
	return r.parents[depth-1].Match(dir)
}

// Match returns the rule for an absolute path without links: the last that
// names it or a directory above it. Excluded is as not named.
func (l List) Match(path string) (Rule, bool) {
	for i := len(l.Rules) - 1; i >= 0; i-- {
		if l.Rules[i].matches(path) {
			return l.Rules[i], l.Rules[i].Action != Exclude
		}
	}
	return Rule{}, false
}

// Descend says whether a walk has to look into the directory dir: something
// below it may be on the list.
func (l List) Descend(dir string) bool {
	for i := len(l.Rules) - 1; i >= 0; i-- {
		r := &l.Rules[i]
		if r.Action != Exclude && r.leads(dir) {
			return true
		}
		if r.Action == Exclude && r.matches(dir) {
			return false // earlier lines count no more; later ones had their say
		}
	}
	return false
}

// Starts are the paths to walk so that everything on the list is met, none
// below another, sorted.
func (l List) Starts() []string {
	starts, _ := l.starts()
	return starts
}

// Covered are those below another, sorted. A walk from that one meets them
// where no link is between.
func (l List) Covered() []string {
	_, covered := l.starts()
	return covered
}

func (l List) starts() (starts, covered []string) {
	all := map[string]bool{}
	for i := range l.Rules {
		if l.Rules[i].Action != Exclude {
			all[l.Rules[i].start()] = true
		}
	}
	for s := range all {
		below := false
		for p := s; p != "/" && !below; {
			p = path.Dir(p)
			below = all[p]
		}
		if below {
			covered = append(covered, s)
		} else {
			starts = append(starts, s)
		}
	}
	sort.Strings(starts)
	sort.Strings(covered)
	return starts, covered
}
