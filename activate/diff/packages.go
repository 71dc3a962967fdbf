package diff

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
)

// Package is one that differs. Of what only one has, the other's version is empty.
type Package struct {
	Name   string `json:"name"` // with :ARCH where several of one name may be installed
	Change Change `json:"change"`
	Old    string `json:"old"` // versions
	New    string `json:"new"`
}

type side struct {
	name string
	root *rooted.Root
}

// databases are those that are read here: where, and how.
var databases = []struct {
	manager, path string
	read          func(root *rooted.Root, path string, add func(name, version string)) error
}{
	{"dpkg", "/var/lib/dpkg/status", readDpkg},
	{"apk", "/lib/apk/db/installed", readApk},
	{"apk", "/usr/lib/apk/db/installed", readApk},
	{"pacman", "/var/lib/pacman/local", readPacman},
}

// unread are those that a program alone can read: none of ours is given another
// root's database.
var unread = []struct{ manager, path, ask string }{
	{"rpm", "/var/lib/rpm", "rpm -qa"},
	{"rpm", "/usr/lib/sysimage/rpm", "rpm -qa"},
	{"pkg", "/var/db/pkg/local.sqlite", "pkg info"},
	{"pkg(7)", "/var/pkg/state", "pkg list"},
}

func comparePackages(r *Report, old, new side) ([]Package, error) {
	var versions [2]map[string]string
	for i, s := range []side{old, new} {
		versions[i] = map[string]string{}
		for _, db := range databases {
			if _, err := s.root.Stat(db.path); trees.Gone(err) {
				continue
			}
			err := db.read(s.root, db.path, func(name, version string) {
				versions[i][rooted.Printable(name)] = rooted.Printable(version)
			})
			if err != nil {
				return nil, fmt.Errorf("cannot read what %s has installed in %s: %w", db.manager, s.name, err)
			}
		}
		for _, db := range unread {
			if _, err := s.root.Stat(db.path); err == nil {
				r.Notes = append(r.Notes, fmt.Sprintf("the packages of %s in %s are not compared: beadm run %s -- %s lists them", db.manager, s.name, s.name, db.ask))
				break
			}
		}
	}
	list := []Package{}
	for name, was := range versions[0] {
		is, ok := versions[1][name]
		switch {
		case !ok:
			list = append(list, Package{name, Removed, was, ""})
		case is != was:
			list = append(list, Package{name, Changed, was, is})
		}
	}
	for name, is := range versions[1] {
		if _, ok := versions[0][name]; !ok {
			list = append(list, Package{name, Added, "", is})
		}
	}
	slices.SortFunc(list, func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// mostDatabase is more than any of them is long.
const mostDatabase = 256 << 20

// paragraphs calls end behind each run of lines without an empty one, and field for
// each of them.
func paragraphs(root *rooted.Root, path string, field func(line string), end func()) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(io.LimitReader(f, mostDatabase))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if line := in.Text(); line == "" {
			end()
		} else {
			field(line)
		}
	}
	end()
	return in.Err()
}

// readDpkg: deb-control(5), dpkg(1): the third word of Status is the package's.
func readDpkg(root *rooted.Root, path string, add func(name, version string)) error {
	p := map[string]string{}
	return paragraphs(root, path, func(line string) {
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			p[key] = strings.TrimSpace(value)
		}
	}, func() {
		if f := strings.Fields(p["Status"]); len(f) == 3 && f[2] != "not-installed" && f[2] != "config-files" && p["Package"] != "" {
			name, version := p["Package"], p["Version"]
			if p["Multi-Arch"] == "same" {
				name += ":" + p["Architecture"]
			}
			if f[2] != "installed" {
				version += " (" + f[2] + ")"
			}
			add(name, version)
		}
		clear(p)
	})
}

// readApk: apk's installed database, P: and V: of each package (Alpine's wiki, Apk
// spec).
func readApk(root *rooted.Root, path string, add func(name, version string)) error {
	name, version := "", ""
	return paragraphs(root, path, func(line string) {
		if v, ok := strings.CutPrefix(line, "P:"); ok {
			name = v
		} else if v, ok := strings.CutPrefix(line, "V:"); ok {
			version = v
		}
	}, func() {
		if name != "" {
			add(name, version)
		}
		name, version = "", ""
	})
}

// readPacman: libalpm, lib/libalpm/be_local.c: of each package a file desc with a
// section a field.
func readPacman(root *rooted.Root, path string, add func(name, version string)) error {
	list, err := root.ReadDir(path)
	if err != nil {
		return err
	}
	for _, dir := range list {
		if !dir.IsDir() {
			continue
		}
		section := ""
		p := map[string]string{}
		err := paragraphs(root, path+"/"+dir.Name+"/desc", func(line string) {
			if strings.HasPrefix(line, "%") {
				section = line
			} else if p[section] == "" {
				p[section] = line
			}
		}, func() {})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if p["%NAME%"] != "" {
			add(p["%NAME%"], p["%VERSION%"])
		}
	}
	return nil
}
