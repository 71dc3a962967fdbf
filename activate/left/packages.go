package left

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
)

// packages is what the databases of the package managers say. What a package
// owns comes with it, which the other boot environment has or has not. Of
// paths it keeps hashes: there are hundreds of thousands.
type packages struct {
	db    *rooted.Root // with what is mounted in it: /var may be a partition
	root  *rooted.Root // without that
	seed  maphash.Seed
	files map[uint64]struct{}
	conf  map[string]digest // of configuration files, and where files grow, as they were shipped
}

type digest struct {
	new func() hash.Hash // nil: of a kind that is not known here
	hex string
}

// readPackages reads the databases that old has.
func readPackages(ctx context.Context, old *rooted.Root) (*packages, error) {
	db, err := rooted.Open(old.Dir())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	p := &packages{db: db, root: old, seed: maphash.MakeSeed(), files: map[uint64]struct{}{}, conf: map[string]digest{}}
	for _, read := range []func(context.Context) error{p.readDpkg, p.readRPM, p.readPacman} {
		if err := read(ctx); err != nil {
			return nil, fmt.Errorf("cannot read what packages own: %w", err)
		}
	}
	p.db = nil
	return p, nil
}

// owns says that the file at path is a package's and as the package left it,
// as far as the database can tell: an edited configuration file is the
// administrator's.
func (p *packages) owns(path string) (bool, error) {
	if sum, ok := p.conf[path]; ok {
		return p.unchanged(path, sum)
	}
	_, ok := p.files[maphash.String(p.seed, path)]
	return ok, nil
}

func (p *packages) unchanged(path string, sum digest) (bool, error) {
	if sum.new == nil {
		return false, nil
	}
	f, err := p.root.OpenNoFollow(path)
	if err != nil {
		return false, trees.IgnoreGone(err)
	}
	defer f.Close()
	h := sum.new()
	if _, err := io.Copy(h, f); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == sum.hex, nil
}

// mayGrow is of where a package puts files that are written to, whether it says
// so or not: with a digest that no longer holds they are somebody's.
func mayGrow(path string) bool {
	return slices.ContainsFunc([]string{"/etc/", "/home/", "/opt/", "/root/", "/srv/", "/var/"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

// merged are the directories that a merged /usr has links for.
var merged = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

func (p *packages) add(path string) {
	p.files[maphash.String(p.seed, path)] = struct{}{}
	for _, top := range merged {
		// The database says /lib/x of what stands in /usr/lib.
		if strings.HasPrefix(path, top) {
			p.files[maphash.String(p.seed, "/usr"+path)] = struct{}{}
		}
	}
}

// lines gives the lines of a database's file that are not empty; none if it is
// not there.
func (p *packages) lines(path string, f func(line string)) error {
	file, err := p.db.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return scanLines(file, f)
}

func scanLines(r io.Reader, f func(line string)) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if line := in.Text(); line != "" {
			f(line)
		}
	}
	return in.Err()
}
