package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestGetopt(t *testing.T) {
	for args, want := range map[string]string{
		"-F new":            "F= | new",
		"-Fo new":           "F= o= | new",
		"new -F":            "| new -F", // bectl's options stand before
		"-e old new":        "e=old | new",
		"-eold new":         "e=old | new",
		"-re old new":       "r= e=old | new",
		"-- -F":             "| -F",
		"- -F":              "| - -F",
		"":                  "|",
		"-x new":            "illegal option -- x",
		"-Fx":               "illegal option -- x",
		"-e":                "option requires an argument -- e",
		"-F:":               "illegal option -- :",
		"-o -e a@b -r more": "o= e=a@b r= | more",
	} {
		given, rest, wrong := getopt("Foe:r", strings.Fields(args))
		got := ""
		for _, o := range given {
			got += fmt.Sprintf("%c=%s ", o.letter, o.value)
		}
		got = strings.TrimSpace(got + "| " + strings.Join(rest, " "))
		if wrong != nil {
			got = wrong.Error()
		}
		if got != want {
			t.Errorf("%q: %q, not %q", args, got, want)
		}
	}
}

func TestWhoIsBectl(t *testing.T) {
	app := newApp(streams{})
	for _, c := range []struct{ env, args, want string }{
		{"", "bectl list -H", "bectl as-bectl list -H"},
		{"", "/sbin/bectl -r zroot/ROOT list", "/sbin/bectl as-bectl -r zroot/ROOT list"},
		{"", "/usr/local/sbin/bectl", "/usr/local/sbin/bectl as-bectl"},
		{"", "bectl status", "bectl as-bectl status"},
		{"", "beadm list -H", ""},
		{"illumos", "bectl list", ""},
		{"", "bectl --dialect illumos list", ""},
		{"bectl", "beadm list -a", "beadm as-bectl list -a"},
		{"bectl", "beadm --root /x list", "beadm --root /x as-bectl list"},
		{"bectl", "beadm status", ""}, // what bectl has no word for is beadm's
		{"bectl", "beadm confirm --auto", ""},
		{"bectl", "beadm", ""},
		{"bectl", "beadm --dialect=illumos list", ""},
		{"", "beadm --dialect bectl list", "beadm --dialect bectl as-bectl list"},
		{"", "beadm --dialect=bectl create x", "beadm --dialect=bectl as-bectl create x"},
		{"illumos", "beadm --dialect bectl list", "beadm --dialect bectl as-bectl list"},
		{"", "beadm list --dialect bectl", ""}, // a dialect of -H, no more
		{"", "bectl --dialect bectl list", "bectl --dialect bectl as-bectl list"},
	} {
		os.Unsetenv("BEADM_DIALECT")
		if c.env != "" {
			t.Setenv("BEADM_DIALECT", c.env)
		}
		words, is := asBectl(app, strings.Fields(c.args))
		if is != (c.want != "") || is && !slices.Equal(words, strings.Fields(c.want)) {
			t.Errorf("BEADM_DIALECT=%s %s: %v %q", c.env, c.args, is, words)
		}
	}
}

// TestBectlUsage: what is wrong with a command line is said in bectl.c's words
// and ends with EX_USAGE, before anything is opened.
func TestBectlUsage(t *testing.T) {
	ask := func(args ...string) (string, string, int) {
		var out, errs strings.Builder
		code := run(append([]string{"/sbin/bectl"}, args...), streams{in: os.Stdin, out: &out, err: &errs})
		return out.String(), errs.String(), code
	}
	for args, says := range map[string]string{
		"":                       "",
		"nosuch":                 "Unknown command: nosuch\n",
		"--help":                 "bectl: illegal option -- -\n",
		"-x list":                "bectl: illegal option -- x\n",
		"-r":                     "bectl: option requires an argument -- r\n",
		"status":                 "Unknown command: status\n",
		"activate":               "bectl activate: wrong number of arguments\n",
		"activate -tT a":         "",
		"activate a b":           "bectl activate: wrong number of arguments\n",
		"activate -T a b":        "bectl activate: wrong number of arguments\n",
		"activate -x a":          "bectl: illegal option -- x\nbectl activate: unknown option '-x'\n",
		"check now":              "bectl check: wrong number of arguments\n",
		"create":                 "bectl create: wrong number of arguments\n",
		"create -e":              "bectl: option requires an argument -- e\nbectl create: unknown option '-e'\n",
		"create a b":             "bectl create: wrong number of arguments\n",
		"destroy":                "bectl destroy: wrong number of arguments\n",
		"destroy a -F":           "bectl destroy: wrong number of arguments\n",
		"destroy -n a":           "bectl: illegal option -- n\nbectl destroy: unknown option '-n'\n",
		"export":                 "bectl export: missing boot environment name\n",
		"export a b":             "bectl export: extra arguments provided\n",
		"import":                 "bectl import: missing boot environment name\n",
		"import a b":             "bectl import: extra arguments provided\n",
		"jail":                   "bectl jail: missing boot environment name\n",
		"jail -x a":              "bectl: illegal option -- x\nbectl jail: unknown option '-x'\n",
		"list a":                 "bectl list: extra argument provided\n",
		"list -k name":           "bectl: illegal option -- k\nbectl list: unknown option '-k'\n",
		"mount":                  "bectl mount: missing argument(s)\n",
		"mount a b c":            "bectl mount: too many arguments\n",
		"rename a":               "bectl rename: missing argument\n",
		"rename a b c":           "bectl rename: too many arguments\n",
		"ujail":                  "bectl ujail: wrong number of arguments\n",
		"unjail a b":             "bectl unjail: wrong number of arguments\n",
		"umount":                 "bectl umount: wrong number of arguments\n",
		"unmount -x a":           "bectl: illegal option -- x\nbectl unmount: unknown option '-x'\n",
		"create -E -e other new": "bectl create: -E takes neither -e nor -r\n",
	} {
		if out, errs, code := ask(strings.Fields(args)...); code != 64 || out != "" || errs != says+bectlUsage {
			t.Errorf("bectl %s: %d %q %q", args, code, out, errs)
		}
	}
	if out, errs, code := ask("-h"); code != 0 || errs != "" || out != bectlUsage {
		t.Errorf("bectl -h: %d %q %q", code, out, errs)
	}
	for args, says := range map[string]string{
		"jail -o novalue a":    "bectl jail: malformed jail option 'novalue'\n",
		"jail -o persist=no a": "invalid jail parameter: persist\n",
		"jail -o command=x a":  "invalid jail parameter: command\n",
		"jail -o -f=/x a":      "invalid jail parameter: -f\n",
	} {
		if out, errs, code := ask(strings.Fields(args)...); code != 1 || out != "" || errs != says {
			t.Errorf("bectl %s: %d %q %q", args, code, out, errs)
		}
	}
}

// TestJailArgs: the parameters of bectl_jail.c, and those that were given.
func TestJailArgs(t *testing.T) {
	for _, c := range []struct {
		given       []option
		interactive bool
		utility     []string
		want        string
	}{
		{nil, true, nil, "-c persist=true allow.mount=true allow.mount.devfs=true enforce_statfs=1 host.hostname=new path=/mnt command=/bin/sh"},
		{nil, true, []string{"ls", "-l"}, "-c persist=true allow.mount=true allow.mount.devfs=true enforce_statfs=1 host.hostname=new path=/mnt command=ls -l"},
		{
			[]option{{'b', ""}, {'o', "host.hostname=web"}, {'u', "enforce_statfs"}, {'o', "allow.mount=false"}}, false, nil,
			"-c persist=true allow.mount.devfs=true allow.mount=false host.hostname=web path=/mnt",
		},
		{[]option{{'o', "host.hostname=web"}, {'u', "host.hostname"}}, false, nil, "-c persist=true allow.mount=true allow.mount.devfs=true enforce_statfs=1 host.hostname=new path=/mnt"},
	} {
		p, err := (&bectl{err: os.Stderr}).jailOf(c.given)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(jailArgs(p, "new", "/mnt", c.interactive, c.utility), " "); got != c.want {
			t.Errorf("%v: %s\nnot %s", c.given, got, c.want)
		}
	}
	if got := parseJails("1 web /jails/a b\n0 host /\nx y z\n7 db.in /jails/db\n"); len(got) != 2 || got[0] != (listedJail{1, "web", "/jails/a b"}) || got[1].jid != 7 {
		t.Errorf("%+v", got)
	}
}
