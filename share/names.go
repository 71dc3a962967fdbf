package share

import (
	"path"
	"strings"
)

// A shared directory has one name at the top of the shared dataset, which its
// path alone decides: nobody has to remember which is whose, and no two paths
// have the same. /var/mail is mail, /var/lib/mailman is lib+mailman, and
// /srv/www, which is not in /var, is +srv+www. A "+" and a "%" in a path are
// %2B and %25, the end of a line is %0A, and a "." at the beginning, where a name
// would be hidden, %2E.

var escape = strings.NewReplacer("/", "+", "+", "%2B", "%", "%25", "\n", "%0A")
var unescapeName = strings.NewReplacer("+", "/", "%2B", "+", "%25", "%", "%2E", ".", "%0A", "\n")

// NameOf is the name in the shared dataset of the directory at p, which is
// clean and absolute.
func NameOf(p string) string {
	if inside(p, "/var") {
		p = strings.TrimPrefix(strings.TrimPrefix(p, "/var"), "/")
	}
	name := escape.Replace(p)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return name
}

// PathOf is the path of the directory that has this name in the shared dataset;
// ok is false for a name that no path has.
func PathOf(name string) (p string, ok bool) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return "", false
	}
	p = unescapeName.Replace(name)
	if !strings.HasPrefix(p, "/") {
		p = "/var/" + p
	}
	return p, p == path.Clean(p) && p != "/var" && p != "/" && NameOf(p) == name
}

// pathOf is PathOf for a name that has passed it.
func pathOf(name string) string {
	p, _ := PathOf(name)
	return p
}

// maxName leaves room for what names of copies and of old trees have besides.
const maxName = 200

// linkTarget is what the link at the moved path p says: relative, so that it
// holds wherever its boot environment is mounted.
func linkTarget(p string) string {
	return relative(path.Dir(p), MountPoint+"/"+NameOf(p))
}

// relative is how a link in the directory from, on the way to which there are
// no links, names to.
func relative(from, to string) string {
	a, b := components(from), strings.Split(strings.TrimPrefix(to, "/"), "/")
	i := 0
	for i < len(a) && i < len(b)-1 && a[i] == b[i] {
		i++
	}
	return strings.Repeat("../", len(a)-i) + strings.Join(b[i:], "/")
}

func components(p string) []string {
	if p = strings.Trim(p, "/"); p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// oldDir is where the tree that was at p is kept: in the file system that p is
// in, where the two can be exchanged in one step.
func oldDir(p string) string {
	if inside(p, "/var") {
		return OldDir
	}
	return OldRootDir
}

// oldAt is where the tree that was at p is kept, backAt where one that comes
// back to p is made.
func oldAt(p string) string  { return oldDir(p) + "/" + NameOf(p) }
func backAt(p string) string { return oldDir(p) + "/" + backPrefix + NameOf(p) }
