package diff

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree makes a root of files; a content of "->TARGET" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(to, at)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func compare(t *testing.T, a, b string, what What) Report {
	t.Helper()
	r, err := Compare(context.Background(), Side{Name: "a", Dir: a}, Side{Name: "b", Dir: b}, what)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := tree(t, map[string]string{
		"etc/same": "1", "etc/later": "1", "etc/changed": "one\ntwo\n", "etc/shadow": "x:1\n", "etc/private": "1\n", "etc/removed": "bye", "etc/kind": "file", "etc/mode": "1",
		"etc/link": "->" + secret, "usr/lib/old/a": "123", "usr/lib/old/b/c": "4", "usr/bin/x": "->/usr/bin/y", "var/share/mail/alice": "1", "tmp/x": "1",
	})
	b := tree(t, map[string]string{
		"etc/same": "1", "etc/later": "1", "etc/changed": "one\nthree\n", "etc/shadow": "x:2\n", "etc/private": "2\n", "etc/added\n": "hello", "etc/kind/file": "in it", "etc/mode": "1",
		"etc/link": "->" + secret + "2", "usr/bin/x": "->/usr/bin/z", "usr/share/new/doc": "12345", "var/share/mail/alice": "2", "run/x": "1",
	})
	for _, root := range []string{a, b} {
		if err := os.Chmod(filepath.Join(root, "etc/private"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(b, "etc/later"), then, then); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(b, "etc/mode"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := compare(t, a, b, What{Files: true, Text: true})
	for _, f := range r.Files {
		got = append(got, fmt.Sprintf("%s %s %d %d", f.Change, f.Path, f.Files, f.Bytes))
		switch f.Path {
		case "/etc/changed":
			if !strings.Contains(f.Text, "-two\n+three\n") || !strings.Contains(f.Text, "a/etc/changed") {
				t.Errorf("%s: %q", f.Path, f.Text)
			}
		case "/etc/removed":
			if !strings.Contains(f.Text, "-bye") {
				t.Errorf("%s: %q", f.Path, f.Text)
			}
		case `/etc/added\x0a`:
			if !strings.Contains(f.Text, "+hello") {
				t.Errorf("%s: %q", f.Path, f.Text)
			}
		default:
			if f.Text != "" {
				t.Errorf("%s shows %q", f.Path, f.Text)
			}
		}
	}
	want := []string{
		`added /etc/added\x0a 1 5`, "changed /etc/changed 1 10", "removed /etc/kind 1 4", "added /etc/kind/ 1 5", "changed /etc/link 1 0", "attributes /etc/mode 1 1",
		"changed /etc/private 1 2", "removed /etc/removed 1 3", "changed /etc/shadow 1 4", "changed /usr/bin/x 1 0", "removed /usr/lib/ 2 4", "added /usr/share/ 1 5",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Packages != nil {
		t.Errorf("packages were not asked for: %v", r.Packages)
	}
	if back := compare(t, b, a, What{}); len(back.Files) != len(want) || back.Packages == nil {
		t.Errorf("the other way: %v", back.Files)
	}
}

func TestPackages(t *testing.T) {
	dpkg := func(rows ...string) string {
		text := ""
		for _, row := range rows {
			f := strings.Split(row, "|")
			text += "Package: " + f[0] + "\nStatus: " + f[1] + "\nVersion: " + f[2] + "\nArchitecture: amd64\nConffiles:\n /etc/x: y\nDescription: Version: 9\n more\n"
			if len(f) > 3 {
				text += f[3] + "\n"
			}
			text += "\n"
		}
		return text
	}
	for name, c := range map[string]struct {
		a, b map[string]string
		want string
	}{
		"dpkg": {
			map[string]string{"var/lib/dpkg/status": dpkg("openssl|install ok installed|3.0.11", "nano|install ok installed|7.2", "same|install ok installed|1", "libc6|install ok installed|2|Multi-Arch: same", "gone|deinstall ok config-files|1")},
			map[string]string{"var/lib/dpkg/status": dpkg("openssl|install ok installed|3.0.15", "postfix|install ok installed|3.7", "same|install ok installed|1", "libc6|install ok half-configured|2|Multi-Arch: same", "gone|deinstall ok config-files|2")},
			"changed libc6:amd64 2 2 (half-configured); removed nano 7.2 ; changed openssl 3.0.11 3.0.15; added postfix  3.7",
		},
		"apk": {
			map[string]string{"lib/apk/db/installed": "C:Q1\nP:musl\nV:1.2.3-r4\nA:x86_64\n\nP:zlib\nV:1\n\n"},
			map[string]string{"lib/apk/db/installed": "C:Q1\nP:musl\nV:1.2.5-r0\nF:lib\nR:V:x\n\n"},
			"changed musl 1.2.3-r4 1.2.5-r0; removed zlib 1 ",
		},
		"pacman": {
			map[string]string{"var/lib/pacman/local/zlib-1.3-1/desc": "%NAME%\nzlib\n\n%VERSION%\n1.3-1\n\n%DESC%\n%odd\n", "var/lib/pacman/local/ALPM_DB_VERSION": "9\n"},
			map[string]string{"var/lib/pacman/local/zlib-1.3.1-1/desc": "%NAME%\nzlib\n\n%VERSION%\n1.3.1-1\n\n", "var/lib/pacman/local/cut-1/files": ""},
			"changed zlib 1.3-1 1.3.1-1",
		},
	} {
		r := compare(t, tree(t, c.a), tree(t, c.b), What{Packages: true})
		var got []string
		for _, p := range r.Packages {
			got = append(got, fmt.Sprintf("%s %s %s %s", p.Change, p.Name, p.Old, p.New))
		}
		if strings.Join(got, "; ") != c.want || len(r.Notes) > 0 || r.Files != nil {
			t.Errorf("%s: %s %v %v, not %s", name, strings.Join(got, "; "), r.Notes, r.Files, c.want)
		}
	}
	r := compare(t, tree(t, map[string]string{"var/lib/rpm/rpmdb.sqlite": ""}), tree(t, map[string]string{"etc/x": ""}), What{Packages: true})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "beadm run a -- rpm -qa") {
		t.Errorf("%v", r.Notes)
	}
}
