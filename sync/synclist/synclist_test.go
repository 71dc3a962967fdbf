package synclist

import (
	"errors"
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	// The first four lines are as in Solaris' own synclist(4).
	list, err := Parse("f", []byte("/var/mail                  OVERWRITE\n# a comment\n/etc/group\n/var/adm/messages  APPEND\n\n"+
		"!/etc/group.bak # ours\n/etc/my\\ file MERGE\n/etc/passwd OVERWRITE!\n/opt/*/etc/{a,b}.conf KEEP"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range list.Rules {
		got = append(got, r.Pattern+" "+string(r.Action))
	}
	want := []string{"/var/mail OVERWRITE", "/etc/group OVERWRITE", "/var/adm/messages APPEND", "/etc/group.bak !",
		`/etc/my\ file MERGE`, "/etc/passwd OVERWRITE!", "/opt/*/etc/{a,b}.conf KEEP"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if r, ok := list.Match("/etc/my file"); !ok || r.Line != 7 {
		t.Errorf("a blank in a path: %v %v", r, ok)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for text, want := range map[string]SyntaxError{
		"/ok\n/etc/x  OVERWRIT":  {"f", 2, 9, `"OVERWRIT" is no keyword: use OVERWRITE, APPEND, PREPEND, MERGE, KEEP or OVERWRITE!`},
		"etc/x":                  {"f", 1, 1, `"etc/x" is not an absolute path`},
		"  /etc/../x":            {"f", 1, 8, `"/etc/../x" holds "..": write the path without it`},
		"!":                      {"f", 1, 2, "a path is missing"},
		"!/x KEEP":               {"f", 1, 5, "a line with ! takes no keyword"},
		"//":                     {"f", 1, 1, "the whole root is not carried: name what is in it"},
		"/etc/my file OVERWRITE": {"f", 1, 9, `"file" is no keyword: use OVERWRITE, APPEND, PREPEND, MERGE, KEEP or OVERWRITE!`},
	} {
		_, err := Parse("f", []byte(text))
		var got *SyntaxError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %v, want %v", text, err, &want)
		}
	}
	for text, want := range map[string]SyntaxError{
		"/ok\n\t/etc/[z-a].conf MERGE": {"f", 2, 12, "range hi character is less than lo"},
		"/etc/{a,b KEEP":               {"f", 1, 10, "unclosed `{`"},
		"!/etc/[]":                     {"f", 1, 9, "could not parse range"},
		"/etc//*.conf":                 {"f", 1, 6, `"/etc//*.conf" matches nothing: it has two slashes in a row`},
		"/etc/a\xff":                   {"f", 1, 7, `"\xff" cannot be written in a list: put ? in its place`},
		"/etc/a\x1bb":                  {"f", 1, 7, `"\x1b" cannot be written in a list: put ? in its place`},
		"/etc/\u009b":                  {"f", 1, 6, `"\u009b" cannot be written in a list: put ? in its place`},
		"/etc/a\\":                     {"f", 1, 7, "a backslash with nothing behind it"},
		"/etc/a overwrite":             {"f", 1, 8, `"overwrite" is no keyword: use OVERWRITE, APPEND, PREPEND, MERGE, KEEP or OVERWRITE!`},
		"/etc/a MERGE KEEP":            {"f", 1, 14, `"KEEP" is too much: a line holds a path and a keyword (write a blank in a path as "\ ")`},
		"/etc/a REMOVE # it":           {"f", 1, 8, `"REMOVE" is no keyword: use OVERWRITE, APPEND, PREPEND, MERGE, KEEP or OVERWRITE!`},
	} {
		_, err := Parse("f", []byte(text))
		var got *SyntaxError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %v, want %v", text, err, &want)
		}
	}
	// What the bytes of a name cannot say a ? can.
	if list, err := Parse("f", []byte("/etc/a?")); err != nil {
		t.Error(err)
	} else if _, ok := list.Match("/etc/a\xff"); !ok {
		t.Error("? is not a byte that is no UTF-8")
	}
	_, err := Parse("f", []byte("/etc/[a"))
	var got *SyntaxError
	if !errors.As(err, &got) || got.Line != 1 || got.Column < 5 {
		t.Errorf("a broken glob: %v", err)
	}
}

func TestMatchAndDescend(t *testing.T) {
	list, err := Parse("f", []byte("/etc/ssh/ssh_host_*\n/etc/tree MERGE\n!/etc/tree/not\n/etc/tree/not/but KEEP\n/srv/*/etc/**.conf\n!/srv/old"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Action{
		"/etc/ssh/ssh_host_rsa_key": Overwrite, "/etc/ssh/sshd_config": "", "/etc/ssh": "",
		"/etc/tree": Merge, "/etc/tree/a/b": Merge, "/etc/tree2": "",
		"/etc/tree/not/x": "", "/etc/tree/not/but": Keep, "/etc/tree/not/but/x": Keep,
		"/srv/a/etc/b/c.conf": Overwrite, "/srv/a/b/etc/c.conf": "", "/srv/old/etc/c.conf": "",
		"/etc/ssh/ssh_host_dir/inner": Overwrite,
	} {
		r, ok := list.Match(path)
		if ok != (want != "") || ok && r.Action != want {
			t.Errorf("Match(%q) = %v %v, want %q", path, r.Action, ok, want)
		}
	}
	for dir, want := range map[string]bool{
		"/": true, "/etc": true, "/etc/ssh": true, "/etc/ssh/moduli.d": false, "/usr": false,
		"/etc/tree/deep/er": true, "/etc/tree/not": true, "/etc/tree/not/x": false,
		"/srv": true, "/srv/a": true, "/srv/a/etc": true, "/srv/a/etc/b": true, "/srv/a/usr": false, "/srv/old": false,
	} {
		if got := list.Descend(dir); got != want {
			t.Errorf("Descend(%q) = %v", dir, got)
		}
	}
	if got, want := list.Starts(), []string{"/etc/ssh", "/etc/tree", "/srv"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Starts() = %q, want %q", got, want)
	}
}

func TestBuiltinLists(t *testing.T) {
	for _, goos := range []string{"linux", "freebsd", "illumos"} {
		list := Builtin(goos)
		again, err := Parse("built-in", []byte(list.String()))
		if err != nil || len(again.Rules) != len(list.Rules) {
			t.Errorf("%s: the printed list reads as %d rules, %v", goos, len(again.Rules), err)
		}
		for _, path := range []string{"/etc/group", "/etc/ssh/ssh_host_rsa_key", "/root/.ssh/authorized_keys", Path} {
			if _, ok := list.Match(path); !ok {
				t.Errorf("%s: %s is not on the list", goos, path)
			}
		}
	}
}
