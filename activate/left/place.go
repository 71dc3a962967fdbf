package left

import (
	"slices"
	"strings"
)

// kind says how a part of the tree is reported.
type kind struct {
	path  string
	depth int  // how many components a place has there
	data  bool // somebody's: not left without being told to
}

// kinds are looked at from the most special on. What is not below one of them
// stands directly in the root, made by somebody: its own.
var kinds = []kind{
	{"/var/lib", 3, true}, // databases, container stores, what services know
	{"/var/www", 3, true},
	{"/var/db", 3, true},
	{"/var/opt", 3, true},
	{"/var/mail", 3, true}, // where they are not shared
	{"/var/spool", 3, true},
	{"/var/named", 3, true},
	{"/var/local", 3, true},
	{"/var/backups", 3, true}, // dumps of databases
	{"/usr/local/pgsql", 4, true},
	{"/home", 2, true},
	{"/root", 2, true},
	{"/srv", 2, true},
	{"/etc", 2, false}, // what should go along belongs on the synclist
	{"/opt", 2, false}, // programs
	{"/usr", 3, false},
	{"/bin", 1, false},
	{"/sbin", 1, false},
	{"/lib", 2, false},
	{"/lib32", 1, false},
	{"/lib64", 1, false},
	{"/libx32", 1, false},
	{"/var", 2, false},
	{"/", 2, true},
}

// placeOf is what a file is reported under, and whether it is data.
func placeOf(p string) (place string, data bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.path == "/" || strings.HasPrefix(p, k.path+"/") })
	k := kinds[i]
	parts := strings.SplitN(p[1:], "/", k.depth+1)
	if len(parts) > k.depth {
		parts = parts[:k.depth]
	}
	return "/" + strings.Join(parts, "/"), k.data && !minor.covers(p)
}
