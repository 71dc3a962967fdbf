package jail

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// memory are files that are in memory alone.
type memory map[string]string

func (m memory) read(name string) (string, error) {
	text, ok := m[name]
	if !ok {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return text, nil
}

func (m memory) glob(pattern string) (found []string, err error) {
	for name := range m {
		if ok, err := path.Match(pattern, name); err != nil {
			return nil, err
		} else if ok {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}

// lines are a jail's parameters, a line each.
func lines(c configured) string {
	var out []string
	for _, p := range c.params {
		line := p.name
		if p.values != nil {
			line += "=" + strings.Join(p.values, "|")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// Each case is constructed after usr.sbin/jail/jaillex.l, jailparse.y and
// config.c of freebsd-src and jail.conf(5) of 2023.
func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"a {}", "name=a"},
		"tokens":            {"a { path = /x/y; b = c, \"d e\" ,'f' ; }", "name=a\npath=/x/y\nb=c|d e|f"},
		"without the sign":  {"a { exec.start \"/bin/sh /etc/rc\"; }", "name=a\nexec.start=/bin/sh /etc/rc"},
		"booleans":          {"a { mount.devfs; allow.nomount; persist = true; }", "name=a\nmount.devfs\nallow.nomount\npersist=true"},
		"one overrides":     {"* { mount.devfs; allow.mount = 1; } a { mount.nodevfs; allow.nomount; }", "name=a\nmount.nodevfs\nallow.nomount"},
		"appended":          {"a { ip4.addr = 10.0.0.1; ip4.addr += 10.0.0.2, 10.0.0.3; }", "name=a\nip4.addr=10.0.0.1|10.0.0.2|10.0.0.3"},
		"replaced":          {"a { x = 1, 2; x = 3; }", "name=a\nx=3"},
		"comments":          {"# one { \n// two {\n/* three {\n ** / */ a /* * */ { # c\n x = 1; // d\n }", "name=a\nx=1"},
		"a comment in path": {"a { path = /x//y;\n; }", "name=a\npath=/x"},
		"escapes": {`a { x = 'a\'b\x41\101\tc\qd', a\ b\;c, "a\"\
b"; }`, "name=a\nx=a'bAA\tcqd|a b;c|a\"b"},
		"octal and hex end": {`a { x = "\1012\x414"; }`, "name=a\nx=A2A4"},
		"joined":            {`a { x = a"b"'c'$name/d; }`, "name=a\nx=abca/d"},
		"variables":         {"$dir = \"/jails\"; a { $n = 7; path = \"$dir/${name}.$n$n\"; host.hostname = ${name}.x; y = ${host.hostname}; }", "name=a\npath=/jails/a.77\nhost.hostname=a.x\ny=a.x"},
		"defined later":     {"path = \"$dir/$name\"; $dir = /j; a { }", "name=a\npath=/j/a"},
		"single quotes":     {"a { x = '$name'; y = \"\\$name\"; z = \"5$\", \"$ 5\"; }", "name=a\nx=$name\ny=$name\nz=5$|$ 5"},
		"a list":            {"$l = 1, 2; a { x = $l; y = \"$l\"; z = 0, $l; }", "name=a\nx=1|2\ny=1|2\nz=0|1|2"},
		"stars":             {"* { x = 1; y = 1; } a { x = 2; } * { y = 3; }", "name=a\nx=2\ny=3"},
		"outside of all":    {"x = 1; a { x = 2; }", "name=a\nx=2"},
		"part of a name":    {"\"a.*\" { x = 1; } \"*.b\" { y = 1; } \"b.*\" { z = 1; } a.b { }", "name=a.b\nx=1\ny=1"},
		"an odd boolean":    {"a { nopersist; persist; }", "name=a\npersist"},
		"carriage returns":  {"a {\r\n x = 1;\r\n}\r\n", "name=a\nx=1"},
		"semicolons":        {";;a { ;; };;", "name=a"},
	} {
		t.Run(name, func(t *testing.T) {
			jails, err := parse("/etc/jail.conf", memory{"/etc/jail.conf": c.text})
			if err != nil {
				t.Fatal(err)
			}
			if len(jails) != 1 || jails[0].err != nil {
				t.Fatalf("jails: %+v", jails)
			}
			if got := lines(jails[0]); got != c.want {
				t.Errorf("it is\n%s\nnot\n%s", got, c.want)
			}
		})
	}
}

func TestNestedJails(t *testing.T) {
	jails, err := parse("/c", memory{"/c": "a { x = 1; b { path = /$name; } } c {}"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range jails {
		got = append(got, lines(j))
	}
	want := []string{"name=a\nx=1", "name=a.b\npath=/a.b", "name=c"}
	if !slices.Equal(got, want) {
		t.Errorf("it is %q, not %q", got, want)
	}
}

// What is wrong with a file is said with the file and the line, and no jail of
// it is taken.
func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no end of a string":       {"a {\n x = \"b;\n}\n", "/c:2: a string has no end"},
		"nor of a single one":      {"a {\n x = 'b\\';\n}\n", "/c:2: a string has no end"},
		"nor of a comment":         {"a {}\n/* b", "/c:2: a comment has no end"},
		"nor of a variable":        {"a { x = ${b\n}; }", "/c:1: a variable has no end"},
		"nor of one in quotes":     {"a { x = \"${b\"; }", "/c:1: a variable has no end"},
		"nor of a jail":            {"a {\n x = 1;\n", "/c:3: the end of the file is not expected here"},
		"no semicolon":             {"a {\n x = 1\n}\n", "/c:3: } is not expected here"},
		"two words":                {"a { x = 1 2; }", "/c:1: \"2\" is not expected here"},
		"a stray bracket":          {"a { }\n}\n", "/c:2: } is not expected here"},
		"a stray sign":             {"a { x = = 1; }", "/c:1: = is not expected here"},
		"no value":                 {"a { x += ; }", "/c:1: ; is not expected here"},
		"no name":                  {"{ x = 1; }", "/c:1: { is not expected here"},
		"a comma too many":         {"a { x = 1, ; }", "/c:1: ; is not expected here"},
		"a variable for a jail":    {"$a { }", "/c:1: { is not expected here"},
		"a jail's name in parts":   {"a.* { }", "/c:1: \"*\" is not expected here"},
		"what must be in quotes":   {"a { x = grün; }", "may stand only in quotes"},
		"a zero":                   {"a { }\n\x00", "/c:2: a byte is zero"},
		"a zero by its code":       {"a {\n x = 'a\\0b'; }", "/c:2: a string holds a byte that is zero"},
		"hex without digits":       {"a { x = '\\xg'; }", "/c:1: a string holds a byte that is zero"},
		"a backslash at the end":   {"a { x = b\\", "/c:1: a backslash is the last of it"},
		"a variable of no name":    {"a { x = ${}; }", "/c:1: a variable has no name"},
		"an include that is not":   {"a { }\n.include \"/d\";", "/c:2: cannot include a file"},
		"an include of a variable": {"$d = /d; .include \"$d\";", "/c:1: .include may not name a file by a variable"},
		"an include with a sign":   {".include = \"/e\";", "/c:1: .include is followed by"},
		"an include of itself":     {".include \"/c\";", "/c:1: files include one another too deeply"},
		"an included file":         {"\n.include \"/bad\";", "/bad:1: = is not expected here"},
	} {
		t.Run(name, func(t *testing.T) {
			jails, err := parse("/c", memory{"/c": c.text, "/bad": "= a;"})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, not %q", err, c.says)
			}
			if jails != nil {
				t.Errorf("jails: %+v", jails)
			}
		})
	}
}

// One jail that is wrong does not hide the others of its file.
func TestWrongJail(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no such variable":     {"a {\n path = $dir; }", "/c:2: $dir has no value"},
		"one without a value":  {"a { b; path = $b; }", "/c:1: $b has no value"},
		"made of itself":       {"a { $x = $y; $y = \"1$x\"; path = $x; }", "is made of itself"},
		"a list in a string":   {"a { $l = 1, 2; path = \"/$l\"; }", "$l has several values"},
		"a name that is taken": {"a { $path = /x; }", "$path is named like a parameter"},
		"a setting's name":     {"a { x = 1; $x = 2; }", "$x is named like a parameter"},
		"named twice":          {"a { name = b; }", "name is set already"},
		"a number":             {"7 { path = /x; }", "named by its number"},
		"twice":                {"a { } a { }", "a is defined in /c:1 already"},
		"one after the jails":  {"path = /1;\na { path = /2; }\npath = /3;", "/c:3: a parameter outside of all jails"},
	} {
		t.Run(name, func(t *testing.T) {
			jails, err := parse("/c", memory{"/c": c.text + "\nzz { path = /zz; }"})
			if err != nil {
				t.Fatal(err)
			}
			last := jails[len(jails)-1]
			if last.name != "zz" || last.last("path") != "/zz" && name != "one after the jails" {
				t.Errorf("zz: %+v", last)
			}
			if err := jails[len(jails)-2].err; err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, not %q", err, c.says)
			}
		})
	}
}

// A parameter after the jails that means the same to all releases is followed.
func TestStrayGlobal(t *testing.T) {
	jails, err := parse("/c", memory{"/c": "$d = /j; a { path = $d/$name; }\nexec.clean;\nb { path = $d/b; }"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/j/a", "/j/b"} {
		if got := jails[i].last("path"); got != want {
			t.Errorf("path is %s, not %s", got, want)
		}
	}
}

func TestInclude(t *testing.T) {
	jails, err := parse("/etc/jail.conf", memory{
		"/etc/jail.conf":          "$dir = /j; path = $dir/$name;\n.include \"/etc/jail.conf.d/*.conf\", 'more.conf';\n.include \"/usr/local/etc/jail[.]conf\"; z { .include \"z.inc\"; }",
		"/etc/jail.conf.d/b.conf": "b { }",
		"/etc/jail.conf.d/a.conf": "a { path = /a; }",
		"/etc/more.conf":          "c { }",
		"/etc/z.inc":              "path = /zz; y { path = /yy; }",
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range jails {
		got = append(got, j.where.String()+" "+j.name+" "+j.last("path"))
	}
	want := []string{"/etc/jail.conf.d/a.conf:1 a /a", "/etc/jail.conf.d/b.conf:1 b /j/b", "/etc/more.conf:1 c /j/c", "/etc/jail.conf:3 z /zz", "/etc/z.inc:1 z.y /yy"}
	if !slices.Equal(got, want) {
		t.Errorf("it is %q, not %q", got, want)
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"persist", "nopersist", true}, {"nopersist", "persist", true}, {"allow.mount", "allow.nomount", true},
		{"allow.mount.zfs", "allow.mount.nozfs", true}, {"allow.nomount.zfs", "allow.mount.zfs", true},
		{"allow.mount", "allow.mount.zfs", false}, {"de", "node", true}, {"node", "nonode", true}, {"a.b", "noa.nob", false},
	} {
		if got := equal(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

// What is written for jail(8) is read back as it was.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "/j/a b", `it's \ "$name" ${x} /* */ #; {}`, "a\nb", `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") {
			return // no text of a file
		}
		jails, err := parse("/c", memory{"/c": "a { x = " + quote(s) + "; }"})
		if err != nil || len(jails) != 1 || jails[0].err != nil {
			t.Fatalf("%q: %+v, %v", s, jails, err)
		}
		if got := jails[0].last("x"); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// Whatever a file holds, its jails have names, and what is wrong is said with a
// place in it.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"constructed-jail.conf", "constructed-bastille-jail.conf"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("$a = \"$b$b\"; $b = \"$c$c\"; $c = xx; a { x = $a, \"\\x41${a}\"; .include \"/c\"; }")
	f.Fuzz(func(t *testing.T, text string) {
		jails, err := parse("/c", memory{"/c": text, "/etc/jail.conf.d/b.conf": "b { }"})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "/") {
				t.Errorf("it names no place: %v", err)
			}
			return
		}
		for _, j := range jails {
			if j.where.line < 1 || isPattern(j.name) {
				t.Errorf("jail: %+v", j)
			}
			if j.err == nil && j.last("name") != j.name {
				t.Errorf("%s is named %s", j.name, j.last("name"))
			}
		}
	})
}
