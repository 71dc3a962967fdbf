package manifest

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/be/rooted"
)

// rotatedRule is the names that logrotate(8), newsyslog(8) and logadm(8) give
// to what they rotate: a number or a date, then what it was packed with.
var rotatedRule = regexp.MustCompile(`^(.+?)[.-][0-9][0-9TZ_:.-]*(\.(?:gz|bz2|xz|zst|lz4|Z))?$`)

// RotatedFrom is the log that a path is an older part of, if its name says so.
func RotatedFrom(p string) (string, bool) {
	dir, base := path.Split(p)
	m := rotatedRule.FindStringSubmatch(base)
	if m == nil {
		return "", false
	}
	return dir + m[1], true
}

// maxUnpacked bounds what a packed part of a log is unpacked to.
const maxUnpacked = 4 << 30

// errPacked is a part of a log that is packed as nothing here can read.
var errPacked = errors.New("packed in a way that cannot be read")

// beforeRotation stores what was written to a log after each of since, where
// it was rotated since then: the rest of the part that continues that state,
// and the parts after it. Where that part is not found any more the entry says
// so by Gap.
func (t *Taker) beforeRotation(root *rooted.Root, e *Entry, since []*Manifest) error {
	var parts []rooted.Info
	for _, m := range since {
		old := m.Get(string(e.Path))
		if old == nil || old.Type != File || old.Hash == e.Hash {
			continue
		}
		if _, continues := e.Heads[old.Hash]; continues {
			continue
		}
		if _, done := e.Before[old.Hash]; done {
			continue
		}
		if parts == nil {
			var err error
			if parts, err = partsOf(root, string(e.Path)); err != nil {
				return err
			}
		}
		found := -1
		for i, part := range parts {
			// Without content it begins like all of them: the first that was
			// written to since.
			if old.Size == 0 && part.Mtime.Before(m.Taken.Truncate(time.Second)) {
				continue
			}
			begins, err := beginsWith(root, partPath(e, part), old)
			if err == nil && begins {
				found = i
				break
			}
		}
		if found < 0 {
			e.Gap = e.Gap || old.Size > 0
			continue
		}
		if e.Before == nil {
			e.Before = map[string][]string{}
		}
		from := old.Size
		blobs := []string{}
		for _, part := range parts[found:] {
			hash, err := t.storePart(root, partPath(e, part), from)
			if errors.Is(err, errPacked) {
				e.Gap = true
			} else if err != nil {
				return err
			}
			if hash != "" {
				blobs = append(blobs, hash)
			}
			from = 0
		}
		e.Before[old.Hash] = blobs
	}
	return nil
}

func partPath(e *Entry, part rooted.Info) string {
	return path.Dir(string(e.Path)) + "/" + part.Name
}

// partsOf are the rotated parts of a log, oldest first.
func partsOf(root *rooted.Root, p string) ([]rooted.Info, error) {
	list, err := root.ReadDir(path.Dir(p))
	if err != nil {
		return nil, err
	}
	parts := []rooted.Info{}
	for _, info := range list {
		if base, ok := RotatedFrom(path.Dir(p) + "/" + info.Name); ok && base == p && info.IsRegular() {
			parts = append(parts, info)
		}
	}
	slices.SortStableFunc(parts, func(a, b rooted.Info) int {
		// What packs a part may keep its time to the second only: among those
		// of one time the higher number is the older, the later date the newer.
		if c := a.Mtime.Compare(b.Mtime); c != 0 {
			return c
		}
		x, y := partNumber(a.Name, p), partNumber(b.Name, p)
		if len(x) > 4 || len(y) > 4 {
			return strings.Compare(x, y)
		}
		i, _ := strconv.Atoi(x)
		j, _ := strconv.Atoi(y)
		return j - i
	})
	return parts, nil
}

// partNumber is the number or date in a part's name.
func partNumber(name, p string) string {
	number, _, _ := strings.Cut(name[min(len(name), len(path.Base(p))+1):], ".")
	return number
}

// openPart opens a part as it was before it was packed.
func openPart(root *rooted.Root, p string) (io.ReadCloser, error) {
	f, err := root.OpenNoFollow(p)
	if err != nil {
		return nil, err
	}
	var in io.Reader = f
	switch path.Ext(p) {
	case ".gz":
		z, err := gzip.NewReader(f)
		if err != nil {
			f.Close()
			return nil, errPacked
		}
		in = io.LimitReader(z, maxUnpacked)
	case ".bz2":
		in = io.LimitReader(bzip2.NewReader(f), maxUnpacked)
	case ".xz", ".zst", ".lz4", ".Z":
		f.Close()
		return nil, errPacked
	}
	return struct {
		io.Reader
		io.Closer
	}{in, f}, nil
}

func beginsWith(root *rooted.Root, p string, old *Entry) (bool, error) {
	in, err := openPart(root, p)
	if err != nil {
		return false, err
	}
	defer in.Close()
	sum := sha256.New()
	if _, err := io.CopyN(sum, in, old.Size); err != nil {
		return false, nil // shorter
	}
	return hex.EncodeToString(sum.Sum(nil)) == old.Hash, nil
}

// storePart stores a part from an offset on; no hash where there is nothing.
func (t *Taker) storePart(root *rooted.Root, p string, from int64) (string, error) {
	in, err := openPart(root, p)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if _, err := io.CopyN(io.Discard, in, from); err != nil {
		return "", errPacked
	}
	blob, err := t.Store.NewBlob()
	if err != nil {
		return "", err
	}
	var rest io.Reader = in
	if t.Most.File > 0 {
		rest = io.LimitReader(in, t.Most.File)
	}
	n, err := io.Copy(blob, rest)
	if n == 0 || err != nil {
		blob.Abort()
		if err != nil {
			return "", errPacked // it is damaged, or no such archive
		}
		return "", nil
	}
	return blob.Finish()
}

// Indexed says why a file cannot be appended to: its records have their place.
// head is its beginning.
func Indexed(p string, head []byte) string {
	switch base := path.Base(p); {
	case base == "lastlog", base == "faillog", base == "tallylog", base == "utx.lastlogin", base == "utx.active", base == "utmp", base == "utmpx":
		return "its records are found by their place"
	case strings.HasSuffix(base, ".journal"), strings.HasSuffix(base, ".journal~"), bytes.HasPrefix(head, []byte("LPKSHHRH")):
		return "it is a journal: share /var/log, or send it with systemd-journal-upload"
	case bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return "it is a database"
	}
	return ""
}
