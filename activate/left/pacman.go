package left

import (
	"context"
	"crypto/md5"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
)

const pacmanDir = "/var/lib/pacman/local"

// readPacman reads Arch's database (libalpm, lib/libalpm/be_local.c: of each
// package a file "files" with the sections %FILES% and %BACKUP%, the second
// with a tab and an MD5).
func (p *packages) readPacman(context.Context) error {
	if _, err := p.db.Stat(pacmanDir); trees.Gone(err) {
		return nil
	}
	return p.db.Scan(pacmanDir, nil, func(path string, info rooted.Info) error {
		if !info.IsRegular() || !strings.HasSuffix(path, "/files") {
			return nil
		}
		section := ""
		return p.lines(path, func(line string) {
			switch {
			case strings.HasPrefix(line, "%"):
				section = line
			case section == "%FILES%" && !strings.HasSuffix(line, "/"):
				p.add("/" + line)
			case section == "%BACKUP%":
				if file, sum, ok := strings.Cut(line, "\t"); ok {
					p.conf["/"+file] = digest{md5.New, sum}
				}
			}
		})
	})
}
