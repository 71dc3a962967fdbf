package left

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"strings"

	"beadm/be/rooted"
)

// owner is the database of a package manager. What it owns comes with the
// package, which the other boot environment has or has not.
type owner interface {
	// owns says that the file at p is a package's and as the package left it,
	// as far as the database can tell.
	owns(p string) (bool, error)
}

// owners are those that old has. An rpm database, which only rpm can read,
// would be one more; nothing out of old is run to ask it.
func owners(old *rooted.Root) ([]owner, error) {
	// With what is mounted in it: /var may be a partition of its own.
	root, err := rooted.Open(old.Dir())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.Stat(dpkgDir + "/info"); gone(err) {
		return []owner{}, nil
	}
	d := &dpkg{root: root, seed: maphash.MakeSeed(), files: map[uint64]struct{}{}, conf: map[string]string{}}
	for _, read := range []func() error{d.readLists, d.readDiversions, d.readConffiles} {
		if err := read(); err != nil {
			return nil, fmt.Errorf("cannot read what packages own: %w", err)
		}
	}
	d.root = old // what it is asked about is looked at without that
	return []owner{d}, nil
}

const dpkgDir = "/var/lib/dpkg"

// dpkg is Debian's (dpkg(1), its files info/*.list, diversions, status). Of
// paths it keeps hashes: there are hundreds of thousands.
type dpkg struct {
	root  *rooted.Root
	seed  maphash.Seed
	files map[uint64]struct{}
	conf  map[string]string // MD5 of conffiles as they were shipped
}

func (d *dpkg) owns(p string) (bool, error) {
	if sum, ok := d.conf[p]; ok {
		return d.unchanged(p, sum)
	}
	_, ok := d.files[maphash.String(d.seed, p)]
	return ok, nil
}

// unchanged says that a conffile is what its package shipped: an edited one is
// the administrator's.
func (d *dpkg) unchanged(p, sum string) (bool, error) {
	f, err := d.root.OpenNoFollow(p)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer f.Close()
	h := md5.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == sum, nil
}

// merged are the directories that a merged /usr has links for.
var merged = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

func (d *dpkg) add(p string) {
	d.files[maphash.String(d.seed, p)] = struct{}{}
	for _, top := range merged {
		// The database says /lib/x of what stands in /usr/lib.
		if strings.HasPrefix(p, top) {
			d.files[maphash.String(d.seed, "/usr"+p)] = struct{}{}
		}
	}
}

func (d *dpkg) readLists() error {
	return d.root.Scan(dpkgDir+"/info", nil, func(p string, info rooted.Info) error {
		if !info.IsRegular() || !strings.HasSuffix(p, ".list") {
			return nil
		}
		return d.lines(p, func(line string) { d.add(line) })
	})
}

// readDiversions reads triples of lines: from, to, by whom.
func (d *dpkg) readDiversions() error {
	n := 0
	return d.lines(dpkgDir+"/diversions", func(line string) {
		if n++; n%3 == 2 {
			d.add(line)
		}
	})
}

func (d *dpkg) readConffiles() error {
	in := false
	return d.lines(dpkgDir+"/status", func(line string) {
		if !strings.HasPrefix(line, " ") {
			in = line == "Conffiles:"
			return
		}
		// " PATH MD5", then " obsolete" of what the package has no more.
		if path, rest, ok := strings.Cut(strings.TrimPrefix(line, " "), " "); in && ok {
			d.conf[path], _, _ = strings.Cut(rest, " ")
		}
	})
}

func (d *dpkg) lines(p string, f func(line string)) error {
	file, err := d.root.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if line := in.Text(); line != "" {
			f(line)
		}
	}
	return in.Err()
}
