package manifest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/account"
	"beadm/sync/synclist"
)

// OurPrefix begins the names of files that beadm itself puts beside others:
// what is not in place yet, and what a merge kept. They are never carried.
const OurPrefix = ".beadm-"

// Taker takes manifests.
type Taker struct {
	Store  *Store
	Shared []string // directories of the shared dataset, as absolute paths without links
	// Earlier is an earlier reading that Take need not repeat where nothing
	// was touched, beside those of since. It may be nil.
	Earlier *Manifest
	// AsOf is a moment before which the tree was as it is read: now for a live
	// one, when a snapshot was asked for. Zero is not known.
	AsOf time.Time
	// Most bounds what a tree that somebody else controls may have read and
	// stored. Zero is no bound.
	Most Most
}

// Most is how much the files on a synclist may be.
type Most struct {
	File    int64 // bytes of one
	Account int64 // bytes of an account file
	Lines   int   // of an account file
	Bytes   int64 // of all together
	Files   int   // how many
}

// of is how many bytes the file at path may have, 0 for any number.
func (m Most) of(p string) int64 {
	if _, is := account.KindOf(path.Clean(p)); is {
		return m.Account
	}
	return m.File
}

// ErrMost is what Take and Entry say of a tree that is beyond its bounds.
var ErrMost = errors.New("more than a guest may have on its synclist")

// Take reads the files on the list in root. Whatever differs in content from
// one of the manifests since is stored, whatever its size; besides them
// account files and files up to Inline. A nil Store stores nothing.
//
// Only what cannot be read ends it: a file that changes or goes meanwhile is
// described as it was read.
func (t *Taker) Take(ctx context.Context, root *rooted.Root, uuid be.UUID, list synclist.List, since ...*Manifest) (*Manifest, error) {
	m := &Manifest{Version: Version, BE: uuid, Taken: time.Now().UTC(), List: list}
	size := int64(0)
	if !t.AsOf.IsZero() {
		m.AsOf, m.Boot = t.AsOf.UTC(), bootID()
	}
	seen := map[string]bool{}
	starts, err := Starts(root, list)
	if err != nil {
		return nil, fmt.Errorf("cannot read the files on the synclist: %w", err)
	}
	for _, start := range starts {
		if err := t.takeFrom(ctx, root, m, start, seen, &size, since); err != nil {
			return nil, fmt.Errorf("cannot read the files on the synclist: %w", err)
		}
	}
	m.reindex()
	if err := takeAbove(root, m); err != nil {
		return nil, fmt.Errorf("cannot read the files on the synclist: %w", err)
	}
	m.reindex()
	return m, nil
}

// Starts are the paths to walk in root so that everything on the list is met:
// the list's, and of those below another each to which a link leads out of what
// the list names.
func Starts(root *rooted.Root, list synclist.List) ([]string, error) {
	starts := list.Starts()
	for _, start := range list.Covered() {
		real, err := root.ResolveParent(start)
		if err := ignoreGone(err); err != nil {
			return nil, err
		}
		if err != nil || real == start {
			continue
		}
		if _, listed := list.Match(real); !listed {
			starts = append(starts, start)
		}
	}
	return starts, nil
}

// takeAbove reads the directories above what m holds. Where one is reached by a
// link it is what that leads to.
func takeAbove(root *rooted.Root, m *Manifest) error {
	seen := map[string]bool{"/": true}
	for _, e := range m.Entries {
		for dir := path.Dir(string(e.Path)); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			if m.Get(dir) != nil {
				continue
			}
			real, err := root.Resolve(dir)
			if err == nil {
				var info rooted.Info
				if info, err = root.Lstat(real); err == nil && info.IsDir() {
					above := &Entry{Path: Text(dir), Type: Dir, Mode: info.Perm(), UID: info.UID, GID: info.GID}
					if above.Xattrs, err = root.Xattrs(real); err == nil {
						m.Above = append(m.Above, above)
					}
				}
			}
			if err := ignoreGone(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// InShared says whether the path leads into the shared dataset, and where to.
func (t *Taker) InShared(root *rooted.Root, p string) (bool, error) {
	for _, resolve := range []func(string) (string, error){root.ResolveParent, root.Resolve} {
		real, err := resolve(p)
		if ignoreGone(err) == nil && err != nil {
			continue
		}
		if err != nil {
			return false, err
		}
		if t.IsShared(real) {
			return true, nil
		}
	}
	return false, nil
}

// IsShared says whether a path that holds no links is in the shared dataset.
func (t *Taker) IsShared(real string) bool {
	return slices.ContainsFunc(t.Shared, func(dir string) bool { return real == dir || strings.HasPrefix(real, dir+"/") })
}

func (t *Taker) takeFrom(ctx context.Context, root *rooted.Root, m *Manifest, start string, seen map[string]bool, size *int64, since []*Manifest) error {
	// start is as the list writes it, and so are the paths below it; where
	// its directories are links is resolved as in a chroot.
	shared, err := t.InShared(root, start)
	if err != nil {
		return ignoreGone(err)
	}
	if shared {
		m.Shared = append(m.Shared, Text(start))
		return nil
	}
	real, err := root.ResolveParent(start)
	if err != nil {
		return ignoreGone(err)
	}
	// The directory itself may be reached by a link: the list means what it
	// leads to only if its own name is no link.
	err = root.Walk(start, func(p string, info rooted.Info) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasPrefix(info.Name, OurPrefix) && p != start {
			return skip(info)
		}
		if info.IsLink() {
			if in, err := t.InShared(root, p); err == nil && in {
				m.Shared = append(m.Shared, Text(p))
				return nil
			}
		}
		// Below start no directory is reached by a link.
		if info.IsDir() && t.IsShared(real+strings.TrimPrefix(p, start)) {
			m.Shared = append(m.Shared, Text(p))
			return rooted.SkipDir
		}
		rule, listed := m.List.Match(p)
		if listed && !seen[p] {
			seen[p] = true
			e, err := t.entry(root, p, info, rule.Action, m.BE, since)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			m.Entries = append(m.Entries, e)
			if most := t.Most.Files; most > 0 && len(m.Entries) > most {
				return fmt.Errorf("%w: %d files", ErrMost, most)
			}
			if *size += e.Size; t.Most.Bytes > 0 && *size > t.Most.Bytes {
				return fmt.Errorf("%w: %d MiB together", ErrMost, t.Most.Bytes>>20)
			}
		}
		if info.IsDir() && !m.List.Descend(p) {
			return rooted.SkipDir
		}
		return nil
	})
	return ignoreGone(err)
}

func skip(info rooted.Info) error {
	if info.IsDir() {
		return rooted.SkipDir
	}
	return nil
}

// Entry describes one path as it is, or nil if it is not there.
func (t *Taker) Entry(root *rooted.Root, p string) (*Entry, error) {
	info, err := root.Lstat(p)
	if ignoreGone(err) == nil && err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e, err := t.entry(root, p, info, synclist.Overwrite, "", nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return e, err
}

func (t *Taker) entry(root *rooted.Root, p string, info rooted.Info, action synclist.Action, uuid be.UUID, since []*Manifest) (*Entry, error) {
	e := &Entry{Path: Text(p), Mode: info.Perm(), UID: info.UID, GID: info.GID, Mtime: info.Mtime.UTC()}
	switch {
	case info.IsLink():
		e.Type, e.Mode = Link, 0
		target, err := root.Readlink(p)
		e.Target = Text(target)
		return e, err
	case info.IsDir():
		e.Type, e.Mtime = Dir, time.Time{}
	case info.IsRegular():
		e.Type, e.Ino, e.Ctime = File, info.Ino, info.Ctime.UTC()
		if info.Nlink > 1 {
			e.Links = fmt.Sprintf("%x.%x", info.Dev, info.Ino)
		}
		if most := t.Most.of(p); most > 0 && info.Size > most {
			return nil, tooMuch(p, most)
		}
		if old := t.unchanged(e, info.Size, action, uuid, since); old != nil {
			return old, nil
		}
		if err := t.content(root, e, action, since); err != nil {
			if errors.Is(err, rooted.ErrNotRegular) { // changed between
				return &Entry{Path: e.Path, Type: Special, Kind: "not a file when it was opened"}, nil
			}
			return nil, err
		}
		if err := t.lines(root, e); err != nil {
			return nil, err
		}
		return e, nil
	default:
		e.Type, e.Mtime, e.Kind = Special, time.Time{}, kindOf(info)
		return e, nil
	}
	attrs, err := root.Xattrs(p)
	e.Xattrs = attrs
	return e, err
}

// lines bounds the records of an account file, each of which takes far more
// memory than its bytes.
func (t *Taker) lines(root *rooted.Root, e *Entry) error {
	if _, is := account.KindOf(path.Clean(string(e.Path))); !is || t.Most.Lines == 0 {
		return nil
	}
	data, err := root.ReadFileLimit(string(e.Path), t.Most.Account)
	if err != nil {
		return err
	}
	if bytes.Count(data, []byte{'\n'}) > t.Most.Lines {
		return fmt.Errorf("%s: %w: %d lines in an account file", rooted.Printable(string(e.Path)), ErrMost, t.Most.Lines)
	}
	return nil
}

func tooMuch(p string, most int64) error {
	return fmt.Errorf("%s: %w: %d MiB in one file of its kind", rooted.Printable(p), ErrMost, most>>20)
}

// settled says whether a file had been touched last so long before it was read
// that its ctime tells every later change: the clock of a file system moves in
// steps, and what a program writes to memory that it mapped moves the ctime only
// once until the kernel has written that out, which it does within half a minute
// (vm.dirty_expire_centisecs in Linux' sysctl documentation). An hour is time
// enough where it is not known how long after a snapshot was made it was read,
// and for a machine whose clock begins anew with every boot.
func (m *Manifest) settled(ctime time.Time) bool {
	if m.AsOf.IsZero() || m.Boot == "" || m.Boot != bootID() {
		return m.Taken.Sub(ctime) >= time.Hour
	}
	return m.AsOf.Sub(ctime) >= time.Minute
}

// unchanged returns what an earlier reading of the same boot environment says
// of a file that nobody touched since, nil where it has to be read. Inode and
// ctime decide, which nobody can set; a store whose snapshots do not keep them
// has everything read. Size and mtime alone say nothing: rsync, cp -p and tar
// restore them.
func (t *Taker) unchanged(e *Entry, size int64, action synclist.Action, uuid be.UUID, since []*Manifest) *Entry {
	for _, m := range append([]*Manifest{t.Earlier}, since...) {
		if m == nil || m.BE != uuid || uuid == "" {
			continue
		}
		old := m.Get(string(e.Path))
		if old == nil || old.Type != File || old.Ino == 0 || old.Ino != e.Ino || !old.Ctime.Equal(e.Ctime) ||
			old.Size != size || !old.Mtime.Equal(e.Mtime) || !m.settled(old.Ctime) {
			continue
		}
		same := *old
		same.Tail, same.Heads, same.Links = nil, nil, e.Links
		if same.Stored && t.Store != nil && !t.Store.Has(same.Hash) {
			continue
		}
		if same.Begins != nil && t.Store != nil && !t.Store.Has(same.Begins.Blob) {
			continue
		}
		if _, needed := t.needed(&same, action, since); needed && !same.Stored && t.Store != nil {
			continue
		}
		if action == synclist.Append || action == synclist.Prepend {
			// Where it begins with another state of itself is found by reading.
			if slices.ContainsFunc(since, func(m *Manifest) bool { return !SameContent(m.Get(string(e.Path)), &same) }) {
				continue
			}
		}
		return &same
	}
	return nil
}

// kindOf tells special files apart.
func kindOf(info rooted.Info) string {
	switch {
	case info.Mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case info.Mode&fs.ModeSocket != 0:
		return "socket"
	case info.Mode&fs.ModeCharDevice != 0:
		return fmt.Sprintf("character device %#x", info.Rdev)
	case info.Mode&fs.ModeDevice != 0:
		return fmt.Sprintf("block device %#x", info.Rdev)
	}
	return "unknown"
}

// content reads a file once: its hash, where it continues earlier states of
// itself, and what has to be stored of it.
func (t *Taker) content(root *rooted.Root, e *Entry, action synclist.Action, since []*Manifest) error {
	f, err := root.OpenNoFollow(string(e.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	if e.Xattrs, err = rooted.XattrsOf(f); err != nil {
		return err
	}
	appends := action == synclist.Append || action == synclist.Prepend
	if !appends {
		if done, err := t.small(f, e, action, since); done || err != nil {
			return err
		}
	}

	// Lengths at which an earlier state would end if this file continues it.
	heads := map[int64][]string{}
	if appends {
		for _, m := range since {
			if old := m.Get(string(e.Path)); old != nil && old.Type == File {
				heads[old.Size] = append(heads[old.Size], old.Hash)
			}
		}
	}
	sum := sha256.New()
	var begins *Begins
	if appends && t.Store != nil {
		begins = &Begins{Step: Inline}
	}
	var in io.Reader = f
	most := t.Most.of(string(e.Path))
	if most > 0 { // it may grow as it is read, without end
		in = io.LimitReader(f, most+1)
	}
	if err := hashHeads(in, sum, heads, begins, e); err != nil {
		return err
	}
	if most > 0 && e.Size > most {
		return tooMuch(string(e.Path), most)
	}
	e.Hash = hex.EncodeToString(sum.Sum(nil))
	if begins != nil {
		if err := t.keepBegins(f, begins, e); err != nil {
			return err
		}
		if err := t.beforeRotation(root, e, since); err != nil {
			return err
		}
	}

	from, needed := t.needed(e, action, since)
	if t.Store == nil || !needed {
		return nil
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	blob, err := t.Store.NewBlob()
	if err != nil {
		return err
	}
	// No more than was hashed: a log that grows meanwhile ends where it was.
	if _, err := io.Copy(blob, io.LimitReader(f, e.Size-from)); err != nil {
		blob.Abort()
		return err
	}
	stored, err := blob.Finish()
	if err != nil {
		return err
	}
	switch {
	case from > 0:
		e.Tail = &Tail{From: from, Hash: stored}
	case stored != e.Hash:
		// Rewritten in place between the two readings: the second counts.
		e.Hash, e.Stored, e.Heads = stored, true, nil
	default:
		e.Stored = true
	}
	return nil
}

// maxSmall is up to which size a file is read at once.
const maxSmall = 128 << 10

var smallFiles = sync.Pool{New: func() any { return new([maxSmall + 1]byte) }}

// small is content for a file that is small; done is false, and nothing
// happened but that it was read in part, if it is not.
func (t *Taker) small(f *os.File, e *Entry, action synclist.Action, since []*Manifest) (done bool, err error) {
	room := smallFiles.Get().(*[maxSmall + 1]byte)
	defer smallFiles.Put(room)
	n, err := io.ReadFull(f, room[:])
	if err == nil { // there may be more
		_, err = f.Seek(0, io.SeekStart)
		return false, err
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	sum := sha256.Sum256(room[:n])
	e.Size, e.Hash = int64(n), hex.EncodeToString(sum[:])
	if _, needed := t.needed(e, action, since); needed && t.Store != nil {
		e.Stored = true
		return true, t.Store.put(e.Hash, room[:n])
	}
	return true, nil
}

// hashHeads reads all of f in constant memory and notes which of heads, by
// length, it begins with, and in begins, which may be nil, how it begins.
func hashHeads(f io.Reader, sum hash.Hash, heads map[int64][]string, begins *Begins, e *Entry) error {
	lengths := slices.Sorted(maps.Keys(heads))
	for {
		next, head := int64(math.MaxInt64), false
		if begins != nil {
			next = begins.next()
		}
		if len(lengths) > 0 && lengths[0] <= next {
			next, head, lengths = lengths[0], true, lengths[1:]
		}
		copied, err := io.CopyN(sum, f, next-e.Size)
		e.Size += copied
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		is := hex.EncodeToString(sum.Sum(nil))
		if head && slices.Contains(heads[next], is) {
			if e.Heads == nil {
				e.Heads = map[string]int64{}
			}
			e.Heads[is] = next
		}
		if begins != nil && next == begins.next() {
			begins.add(is)
		}
	}
}

// needed says from which offset on the content must be stored.
func (t *Taker) needed(e *Entry, action synclist.Action, since []*Manifest) (from int64, needed bool) {
	if _, ok := account.KindOf(path.Clean(string(e.Path))); ok {
		return 0, true
	}
	if e.Size <= Inline {
		return 0, true
	}
	if action == synclist.Keep {
		return 0, false
	}
	from = e.Size
	for _, m := range since {
		old := m.Get(string(e.Path))
		if SameContent(old, e) {
			continue
		}
		needed = true
		head := int64(0) // all, unless it continues what it was
		if old != nil {
			head = e.Heads[old.Hash]
		}
		from = min(from, head)
	}
	return from, needed
}

// ignoreGone passes over a path of the list that is not there, or that leads
// nowhere: a directory of it is a file, or a link in a circle.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || notDir(err) {
		return nil
	}
	return err
}
