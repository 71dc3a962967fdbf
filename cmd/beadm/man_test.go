package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/state"
	"beadm/cmd/beadm/render"
	"beadm/share"
	"beadm/sync/synclist"
)

func manPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../man/beadm.8")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flagWords are the ways in which mdoc writes a flag.
func flagWord(name string) string {
	if len(name) == 1 {
		return "Fl " + name
	}
	return "Fl -" + name
}

// hasFlag says whether text has a flag of flagWord, alone or behind a comma.
func hasFlag(text, word string) bool {
	name := regexp.QuoteMeta(strings.TrimPrefix(word, "Fl "))
	return regexp.MustCompile(`(Fl|,) ` + name + `(\s|$)`).MatchString(text)
}

// entry is the part of the page on one command: from its .It to the next.
func entry(page, command string) string {
	var out []string
	in := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, ".It ") || strings.HasPrefix(line, ".Sh ") {
			rest, ok := strings.CutPrefix(line, ".It Cm "+command)
			in = ok && (rest == "\n" || strings.HasPrefix(rest, " "))
		}
		if in {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// eachCommand calls f with every visible command that does something.
func eachCommand(cmds []*cli.Command, prefix string, f func(name string, c *cli.Command)) {
	for _, c := range cmds {
		switch {
		case c.Hidden:
		case len(c.Subcommands) > 0:
			eachCommand(c.Subcommands, prefix+c.Name+" ", f)
		default:
			f(prefix+c.Name, c)
		}
	}
}

// TestManPage holds beadm(8) against the program, both ways.
func TestManPage(t *testing.T) {
	page := manPage(t)
	known := map[string]bool{"h": true, "-help": true}
	learn := func(f cli.Flag) (words []string) {
		for _, n := range f.Names() {
			words = append(words, flagWord(n))
			known[strings.TrimPrefix(flagWord(n), "Fl ")] = true
		}
		return words
	}
	commands := map[string]bool{}
	app := newApp(streams{})
	for _, f := range app.Flags {
		for _, w := range learn(f) {
			if !hasFlag(page, w) {
				t.Errorf("the global option %s is not in beadm(8)", w)
			}
		}
		for _, env := range f.(interface{ GetEnvVars() []string }).GetEnvVars() {
			if !strings.Contains(page, env) {
				t.Errorf("the variable %s is not in beadm(8)", env)
			}
		}
	}
	eachCommand(app.Commands, "", func(name string, c *cli.Command) {
		commands[name] = true
		text := entry(page, name)
		if text == "" {
			t.Errorf("the command %q is not in beadm(8)", name)
			return
		}
		for _, f := range c.Flags {
			for _, w := range learn(f) {
				if !hasFlag(text, w) && !(strings.Contains(text, "trial options") && isTrialFlag(f)) {
					t.Errorf("%s of %q is not in its part of beadm(8)", w, name)
				}
			}
		}
		if c.Usage == "" {
			t.Errorf("%q has no help", name)
		}
		if head := strings.SplitN(text, "\n", 2)[0]; strings.HasSuffix(head, "Oc Ar BE") && !strings.Contains(c.ArgsUsage, "BE") {
			t.Errorf("the help of %q does not say that it takes a boot environment", name)
		}
	})
	// What the page names is there.
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm ([a-z]+(?: [a-z]+)?)`).FindAllStringSubmatch(section(page, "COMMANDS"), -1) {
		name := m[1]
		if !commands[name] && !commands[strings.SplitN(name, " ", 2)[0]] {
			t.Errorf("beadm(8) names a command %q", name)
		}
	}
	for _, m := range regexp.MustCompile(`\bFl (-?[a-zA-Z][a-z-]*)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("beadm(8) names a flag %s", m[1])
		}
	}
	// Exit codes.
	codes := section(page, "EXIT STATUS")
	want := []string{"0", "130"}
	for k := be.Other; k <= be.Batch; k++ {
		if k >= be.NoStore || k <= be.Denied {
			want = append(want, itoa(k.ExitCode()))
		}
	}
	for _, code := range want {
		if !strings.Contains(codes, "\n.It "+code+"\n") {
			t.Errorf("exit code %s is not in beadm(8)", code)
		}
	}
	if n := strings.Count(codes, "\n.It "); n != len(want) {
		t.Errorf("beadm(8) has %d exit codes, not %d", n, len(want))
	}
	// Keys of beadm.conf: those of the page are read, those that are read are
	// on the page.
	for _, key := range activate.ConfKeys() {
		if !strings.Contains(page, "Cm "+key+"\n") && !strings.Contains(page, "Cm "+key+" ") {
			t.Errorf("the key %s is not in beadm(8)", key)
		}
	}
}

// TestSynclistPage: the page has the built-in lists, line by line.
func TestSynclistPage(t *testing.T) {
	b, err := os.ReadFile("../../man/synclist.5")
	if err != nil {
		t.Fatal(err)
	}
	lists := section(string(b), "BUILT-IN LISTS")
	for goos, head := range map[string]string{"linux": "Linux", "freebsd": "FreeBSD", "illumos": "illumos"} {
		_, rest, _ := strings.Cut(lists, "\n.Ss "+head+"\n.Bd -literal -offset indent\n")
		got, _, _ := strings.Cut(rest, ".Ed")
		var want strings.Builder
		for _, r := range synclist.Builtin(goos).Rules {
			want.WriteString(r.Pattern + " " + string(r.Action) + "\n")
		}
		if got != want.String() {
			t.Errorf("synclist(5) has for %s\n%s\nthe list is\n%s", head, got, want.String())
		}
	}
	// Every keyword is described.
	for _, a := range []synclist.Action{synclist.Overwrite, synclist.Append, synclist.Prepend, synclist.Merge, synclist.Keep, synclist.Force} {
		if !strings.Contains(string(b), string(a)) {
			t.Errorf("synclist(5) lacks %s", a)
		}
	}
	// What it shows of an error is what is said.
	_, err = synclist.Parse(synclist.Path, []byte("# ours\n\n/etc/motd  OVERWRIT\n"))
	if err == nil || !strings.Contains(strings.ReplaceAll(string(b), `\(dq`, `"`), "\n.Dl "+err.Error()+"\n") {
		t.Errorf("synclist(5) lacks the error %v", err)
	}
}

// TestLeftBehindPage: the page has the tables, with their reasons.
func TestLeftBehindPage(t *testing.T) {
	text := section(manPage(t), "WHAT IS LEFT BEHIND")
	for _, row := range append(slices.Clone(left.Passing), left.Minor...) {
		if !strings.Contains(text, "\n.It Pa "+row.Paths+"\n"+row.Why+"\n") {
			t.Errorf("beadm(8) lacks\n.It Pa %s\n%s", row.Paths, row.Why)
		}
	}
	if n := strings.Count(text, "\n.It "); n != len(left.Passing)+len(left.Minor) {
		t.Errorf("beadm(8) has %d rows, the tables %d", n, len(left.Passing)+len(left.Minor))
	}
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + itoa(n%10)
	}
	return string(rune('0' + n))
}

func section(page, name string) string {
	_, rest, _ := strings.Cut(page, "\n.Sh "+name+"\n")
	text, _, _ := strings.Cut(rest, "\n.Sh ")
	return "\n" + text
}

func isTrialFlag(f cli.Flag) bool {
	for _, tf := range trialFlags() {
		if tf.Names()[0] == f.Names()[0] {
			return true
		}
	}
	return false
}

// TestManJSON: every key of the published values is in JSON of beadm(8).
func TestManJSON(t *testing.T) {
	text := section(manPage(t), "JSON")
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(typ.Elem())
		case reflect.Struct:
			if typ == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range typ.NumField() {
				f := typ.Field(i)
				key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				switch {
				case f.Anonymous:
				case key == "":
					t.Errorf("%v.%s has no key", typ, f.Name)
				case key == "acknowledged": // such a failure is not shown
				case !regexp.MustCompile(`\b` + key + `\b`).MatchString(text):
					t.Errorf("the key %s of %v is not in JSON of beadm(8)", key, typ)
				}
				walk(f.Type)
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[render.Listed](), reflect.TypeFor[activate.Status](), reflect.TypeFor[state.Event](), reflect.TypeFor[share.Path](), reflect.TypeFor[outcome](),
	} {
		walk(typ)
	}
}

func TestManPageIsWellFormed(t *testing.T) {
	pages, err := filepath.Glob("../../man/*.[58]")
	if err != nil || len(pages) == 0 {
		t.Fatalf("%q %v", pages, err)
	}
	out, err := exec.Command("mandoc", append([]string{"-Tlint", "-Wwarning"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("mandoc (Debian package mandoc): %v\n%s", err, out)
	}
}

// TestHelp: every command answers --help with its usage, and nothing else, and
// beadm help says the same of it.
func TestHelp(t *testing.T) {
	ask := func(args ...string) (string, string, int) {
		var out, errs strings.Builder
		code := run(append([]string{"beadm"}, args...), streams{in: os.Stdin, out: &out, err: &errs})
		return out.String(), errs.String(), code
	}
	for _, wrong := range [][]string{{"help", "nosuch"}, {"help", "share", "nosuch"}, {"help", "list", "more"}} {
		if out, errs, code := ask(wrong...); code != 2 || out != "" || !strings.Contains(errs, "there is no command") {
			t.Errorf("%q: %d %q %q", wrong, code, out, errs)
		}
	}
	if out, errs, code := ask("help"); code != 0 || errs != "" || !strings.Contains(out, "COMMANDS:") {
		t.Errorf("help: %d %q %q", code, out, errs)
	}
	for _, flag := range []string{"--help", "-h"} {
		if out, errs, code := ask(flag); code != 0 || errs != "" || !strings.Contains(out, "COMMANDS:") {
			t.Errorf("%s: %d %q %q", flag, code, out, errs)
		}
	}
	said, _, _ := ask("version")
	if out, errs, code := ask("--version"); code != 0 || errs != "" || out != said {
		t.Errorf("--version: %d %q %q", code, out, errs)
	}
	eachCommand(newApp(streams{}).Commands, "", func(name string, c *cli.Command) {
		if name == "help" {
			return // the library's own
		}
		var out, errs strings.Builder
		code := run(append(append([]string{"beadm"}, strings.Fields(name)...), "--help"), streams{in: os.Stdin, out: &out, err: &errs})
		if said, _, code := ask(append([]string{"help"}, strings.Fields(name)...)...); code != 0 || said != out.String() {
			t.Errorf("help %s: %d %q", name, code, said)
		}
		if code != 0 || errs.Len() > 0 || !strings.Contains(out.String(), "beadm "+name) || !strings.Contains(out.String(), c.Usage) {
			t.Errorf("%s --help: %d %q %q", name, code, out.String(), errs.String())
		}
		if c.Description != "" && !strings.Contains(out.String(), strings.SplitN(c.Description, "\n", 2)[0]) {
			t.Errorf("%s --help lacks its description: %s", name, out.String())
		}
	})
}
