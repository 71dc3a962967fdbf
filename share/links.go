package share

import (
	"path"
	"strings"
)

// Relative links that leave a moved tree. Moved from /var/lib/NAME to
// /var/share a directory lies elsewhere, and a link in it that climbs out of
// the tree has to take another way to where it leads. What leads from the top
// of its own tree downwards again, and what is absolute, stays as it is.
//
// Only the leading ".." count: behind a name they would climb from wherever
// that name leads.

// climb counts the leading ".." of a link, and returns what is behind them.
func climb(target string) (n int, rest string) {
	rest = target
	for {
		rest = strings.TrimLeft(rest, "/")
		switch {
		case rest == "..", strings.HasPrefix(rest, "../"):
			n, rest = n+1, rest[2:]
		case rest == ".", strings.HasPrefix(rest, "./"):
			rest = rest[1:]
		default:
			return n, rest
		}
	}
}

// rewriting is how the targets of links change when their tree goes from one
// place to another. Neither is reached by a link.
func rewriting(from, to string) func(p, target string) string {
	return func(p, target string) string {
		n, rest := climb(target)
		depth := strings.Count(p, "/") // of the directory of the link, in its tree
		if strings.HasPrefix(target, "/") || n <= depth {
			return target
		}
		above := from
		beyond, nothing := 0, rest == ""
		for range n - depth {
			if above == "/" {
				beyond++ // ".." of the root is the root, where it is one
			}
			above = path.Dir(above)
		}
		// A neighbour in the shared dataset, on the way back: by its path,
		// where it, or the link to it, will be.
		if above == MountPoint {
			first, more, deeper := strings.Cut(rest, "/")
			if neighbour, ok := PathOf(first); ok {
				if above, rest = path.Dir(neighbour), path.Base(neighbour); deeper {
					rest += "/" + more
				}
			}
		}
		// By no way longer than it has to be.
		dirs := components(to)
		up := len(dirs)
		if above != "/" || beyond == 0 {
			way := components(above)
			full := strings.Join(append(way[:len(way):len(way)], rest), "/")
			i := 0
			for i < len(dirs)-1 {
				next, tail, ok := strings.Cut(full, "/")
				if next != dirs[i] || !ok && i >= len(way) {
					break
				}
				full, i = tail, i+1
			}
			up, rest = len(dirs)-i, full
		}
		out := strings.Repeat("../", depth+up+beyond) + rest
		if nothing {
			out = strings.TrimSuffix(out, "/")
		}
		return out
	}
}

// deeper is the rewriting of a tree that goes from p into the shared dataset,
// shallower that of the way back.
func deeper(p string) func(at, target string) string {
	return rewriting(p, MountPoint+"/"+NameOf(p))
}

func shallower(p string) func(at, target string) string {
	return rewriting(MountPoint+"/"+NameOf(p), p)
}
