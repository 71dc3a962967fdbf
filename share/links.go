package share

import "strings"

// Relative links that leave a moved tree. Moved from /var/NAME to
// /var/share/NAME a directory lies one level deeper, and a link in it that
// climbs out of the tree needs one ".." more. What leads from the top of its
// own tree downwards again, and what is absolute, stays as it is.
//
// Only the leading ".." count: behind a name they would climb from wherever
// that name leads.

// climb counts the leading ".." of a link.
func climb(target string) int {
	n := 0
	for _, c := range strings.Split(target, "/") {
		switch c {
		case "..":
			n++
		case ".", "":
		default:
			return n
		}
	}
	return n
}

// deeper is the target of the link at p, relative to the top of its tree,
// after the move into the shared dataset.
func deeper(p, target string) string {
	if strings.HasPrefix(target, "/") || climb(target) <= strings.Count(p, "/") {
		return target
	}
	return "../" + target
}

// shallower is the same for the way back. A link that climbs one level out
// points to a neighbour in the shared dataset, where it finds the link that
// the way back leaves or the directory itself.
func shallower(p, target string) string {
	if strings.HasPrefix(target, "/") || climb(target) < strings.Count(p, "/")+2 {
		return target
	}
	for _, prefix := range []string{"../", "./", "/"} {
		for prefix != "../" && strings.HasPrefix(target, prefix) {
			target = strings.TrimPrefix(target, prefix)
		}
	}
	return strings.TrimPrefix(target, "../")
}
