package left

import (
	"context"
	"crypto/md5"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
)

const dpkgDir = "/var/lib/dpkg"

// readDpkg reads Debian's database (dpkg(1): its files info/*.list,
// info/*.md5sums, diversions, status).
func (p *packages) readDpkg(context.Context) error {
	if _, err := p.db.Stat(dpkgDir + "/info"); trees.Gone(err) {
		return nil
	}
	err := p.db.Scan(dpkgDir+"/info", nil, func(path string, info rooted.Info) error {
		switch {
		case !info.IsRegular():
			return nil
		case strings.HasSuffix(path, ".list"):
			return p.lines(path, p.add)
		case strings.HasSuffix(path, ".md5sums"):
			return p.lines(path, func(line string) {
				if sum, file, ok := strings.Cut(line, "  "); ok && mayGrow("/"+file) {
					p.conf["/"+file] = digest{md5.New, sum}
				}
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	// Triples of lines: from, to, by whom.
	err = p.lines(dpkgDir+"/diversions", func(line string) {
		if n++; n%3 == 2 {
			p.add(line)
		}
	})
	if err != nil {
		return err
	}
	in := false
	return p.lines(dpkgDir+"/status", func(line string) {
		if !strings.HasPrefix(line, " ") {
			in = line == "Conffiles:"
			return
		}
		// " PATH MD5", then " obsolete" of what the package has no more.
		if path, rest, ok := strings.Cut(strings.TrimPrefix(line, " "), " "); in && ok {
			sum, _, _ := strings.Cut(rest, " ")
			p.conf[path] = digest{md5.New, sum}
		}
	})
}
