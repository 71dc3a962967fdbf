// Package copier makes faithful copies of directory trees: mode, owner, times
// to the nanosecond, hard links inside the tree, holes, extended attributes of
// every namespace with ACLs and file capabilities among them, FIFOs, sockets,
// devices, names of any bytes, and on Linux the flags of chattr(1).
//
// A tree can be copied while it is written to and be brought up to date
// afterwards, as often as needed, by further passes that copy only what
// changed. The last pass is made while nobody writes.
//
// Nothing is ever reached through a link: both trees are walked over open
// directories, one component at a time.
package copier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// Progress is what has been looked at so far in a pass.
type Progress struct {
	Files int64 // names of any type
	Bytes int64 // bytes of content copied
}

// Options for a Copier.
type Options struct {
	// Progress, if not nil, is called now and then, from the goroutine that
	// runs the pass.
	Progress func(Progress)

	// Link, if not nil, says what the copy of the symbolic link at path
	// (relative to the top of the tree) points to.
	Link func(path, target string) string

	// Skip, if not nil, leaves out what it says is at path (as for Link): the copy
	// has none of it.
	Skip func(path string) bool

	// Links, if not nil, is shared by Copiers of several trees, used one after
	// the other: a file that has names in more than one has them in the copies,
	// where these are in one file system.
	Links *Links
}

// Links are files with several names, as the copies have them.
type Links struct{ m map[inode]*linked }

// Result says what a pass did.
type Result struct {
	Files   int64 // names of any type, directories included
	Copied  int64 // of those, made new in the destination
	Deleted int64 // names deleted in the destination
	Bytes   int64 // content copied

	// Changed counts what changed under the hands of a pass, and Example is
	// one of them. A pass with Changed == 0 over a tree that nobody has open
	// is a true copy.
	Changed int64
	Example string
}

// Copier copies one tree into one directory. It is used by one goroutine.
type Copier struct {
	src, dst *os.File
	o        Options
	fsrc     uint64 // file system type of the source, where known

	old, next *record
	links     map[inode]*linked
	res       Result
	live      bool
	said      time.Time
	buf       []byte
	guards    map[string]uint32 // flags that Guard sets
}

type inode struct{ dev, ino uint64 }

// linked is the copy of an inode that has more names than one.
type linked struct {
	of       *Copier
	path     []string
	dev, ino uint64
	left     uint64 // names still to come, at most
}

// New makes a Copier from the directory src into the directory dst. dst may
// hold what an earlier Copier left there: what is not in src is deleted, and
// what is there is not trusted until this Copier has copied it itself. Both
// stay the caller's.
func New(src, dst *os.File, o Options) *Copier {
	return &Copier{src: src, dst: dst, o: o, fsrc: fsType(src)}
}

// Close gives up the record of the passes made.
func (c *Copier) Close() {
	c.old.close()
	c.old = nil
}

// Pass makes the destination what the source is. Later passes copy only what
// has another inode, change time or size than it had in the pass before.
//
// live says that the source is being written to: things that vanish or change
// meanwhile are left to the next pass. Without it they are counted in
// Result.Changed. Nothing is synced; see Sync.
func (c *Copier) Pass(ctx context.Context, live bool) (Result, error) {
	c.res, c.live = Result{}, live
	c.links = map[inode]*linked{}
	if l := c.o.Links; l != nil {
		if l.m == nil {
			l.m = map[inode]*linked{}
		}
		maps.DeleteFunc(l.m, func(_ inode, one *linked) bool { return one.of == c })
		c.links = l.m
	}
	// What is in memory mapped files only must have reached its inode, and
	// its change time with it: a store into a page that is dirty already
	// changes no time.
	if err := syncfs(c.src); err != nil {
		return c.res, fmt.Errorf("cannot sync %s: %w", c.src.Name(), err)
	}
	next, err := newRecord()
	if err != nil {
		return c.res, err
	}
	c.next = next
	err = c.top(ctx)
	if ferr := next.flush(); err == nil {
		err = ferr
	}
	// An unfinished pass knows what it has copied and nothing of the rest;
	// it is not joined with the older record, which may be wrong by now.
	c.old.close()
	c.old, c.next = next, nil
	if c.o.Progress != nil {
		c.o.Progress(Progress{c.res.Files, c.res.Bytes})
	}
	return c.res, err
}

// Sync makes the destination durable, contents and names.
func (c *Copier) Sync() error {
	if err := syncfs(c.dst); err != nil {
		return fmt.Errorf("cannot sync %s: %w", c.dst.Name(), err)
	}
	return nil
}

// Tree copies in one pass and without a record; the source is at rest. A
// source that changes meanwhile is an error.
func Tree(ctx context.Context, src, dst *os.File, o Options) (Result, error) {
	c := New(src, dst, o)
	defer c.Close()
	res, err := c.Pass(ctx, false)
	if err == nil && res.Changed > 0 {
		err = fmt.Errorf("%s changed while it was copied", res.Example)
	}
	if err == nil {
		err = c.Guard()
	}
	return res, err
}

func (c *Copier) top(ctx context.Context) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.src.Fd()), &st); err != nil {
		return c.fail("stat", nil, err)
	}
	if err := c.dir(ctx, int(c.src.Fd()), int(c.dst.Fd()), nil); err != nil {
		return err
	}
	return c.dirAttr(int(c.src.Fd()), int(c.dst.Fd()), nil)
}

// dir copies what is in the open directory src into the open directory dst.
// path is where they are below the top.
func (c *Copier) dir(ctx context.Context, src, dst int, path []string) error {
	if len(path) > rooted.MaxDepth {
		return c.fail("copy", path, fmt.Errorf("more than %d directories deep", rooted.MaxDepth))
	}
	names, err := readNames(src)
	if err != nil {
		return c.fail("read", path, err)
	}
	if c.o.Skip != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return c.o.Skip(join(append(path[:len(path):len(path)], name))) })
	}
	have, err := readNames(dst)
	if err != nil {
		return c.fail("read the copy of", path, err)
	}
	for _, name := range have {
		if i := sort.SearchStrings(names, name); i < len(names) && names[i] == name {
			continue
		}
		if err := c.delete(dst, path, name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := append(path[:len(path):len(path)], name)
		err := c.entry(ctx, src, dst, at)
		if gone(err) {
			// It was there when the directory was read.
			c.changed(at)
			err = c.delete(dst, path, name)
		}
		if err != nil {
			return err
		}
		c.tell()
	}
	return nil
}

// entry copies one name; at ends with it. fs.ErrNotExist means that the
// source has vanished.
func (c *Copier) entry(ctx context.Context, src, dst int, at []string) error {
	name := at[len(at)-1]
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.fail("stat", at, err)
	}
	c.res.Files++
	if kind(&st) == unix.S_IFDIR {
		return c.subdir(ctx, src, dst, at, &st)
	}
	was := c.old.find(at)
	return c.leaf(src, dst, at, &st, was)
}

func (c *Copier) subdir(ctx context.Context, src, dst int, at []string, st *unix.Stat_t) error {
	name := at[len(at)-1]
	sfd, err := openDir(src, name)
	if err != nil {
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return c.fail("open", at, fs.ErrNotExist) // became something else
		}
		return c.fail("open", at, err)
	}
	defer unix.Close(sfd)
	if mounted, err := isMount(sfd); err != nil {
		return c.fail("stat", at, err)
	} else if mounted {
		return c.fail("copy", at, errors.New("another file system is mounted there"))
	}
	var have unix.Stat_t
	err = unix.Fstatat(dst, name, &have, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && kind(&have) != unix.S_IFDIR:
		if err := c.delete(dst, at[:len(at)-1], name); err != nil {
			return err
		}
		err = unix.ENOENT
		fallthrough
	case errors.Is(err, unix.ENOENT):
		// Closed until it has its own mode: it is nobody's to look into yet.
		if err := unix.Mkdirat(dst, name, 0o700); err != nil {
			return c.fail("make the copy of", at, err)
		}
		c.res.Copied++
	case err != nil:
		return c.fail("stat the copy of", at, err)
	}
	dfd, err := openDir(dst, name)
	if err != nil {
		return c.fail("open the copy of", at, err)
	}
	defer unix.Close(dfd)
	if err := c.dir(ctx, sfd, dfd, at); err != nil {
		return err
	}
	return c.dirAttr(sfd, dfd, at)
}

// dirAttr comes after the content, which changes the times.
func (c *Copier) dirAttr(src, dst int, at []string) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return c.fail("stat", at, err)
	}
	flags := flagsOf(src)
	c.guarded(at, flags)
	err := setFlags(dst, flags, flagsOfContent|flagsOfUse)
	if err == nil {
		err = setAttr(src, dst, &st)
	}
	if err != nil {
		return c.fail("set the attributes of the copy of", at, err)
	}
	if err := unix.UtimesNanoAt(dst, ".", times(&st), 0); err != nil {
		return c.fail("set the times of the copy of", at, err)
	}
	return nil
}

// leaf copies what is not a directory.
func (c *Copier) leaf(src, dst int, at []string, st *unix.Stat_t, was *seen) error {
	name := at[len(at)-1]
	var have unix.Stat_t
	err := unix.Fstatat(dst, name, &have, unix.AT_SYMLINK_NOFOLLOW)
	there := err == nil
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return c.fail("stat the copy of", at, err)
	}
	key := inode{uint64(st.Dev), st.Ino}
	if first := c.links[key]; first != nil && st.Nlink > 1 {
		if first.of == c { // another tree's is needed in the next pass too
			if first.left--; first.left == 0 {
				delete(c.links, key)
			}
		}
		if there && have.Ino == first.ino && uint64(have.Dev) == first.dev {
			c.next.add(at, st, true)
			return nil
		}
		err := c.link(dst, at, first, there && kind(&have) == unix.S_IFDIR)
		if !errors.Is(err, errNoLink) {
			if err == nil {
				c.next.add(at, st, true)
			}
			return err
		}
	}
	if there && was.same(st) && kind(&have) == kind(st) && c.sameSize(&have, st) {
		c.next.add(at, st, true)
		c.remember(key, at, &have, uint64(st.Nlink))
		return nil
	}
	if there && kind(&have) == unix.S_IFDIR {
		if err := c.delete(dst, at[:len(at)-1], name); err != nil {
			return err
		}
	}
	temp := tempName()
	switch kind(st) {
	case unix.S_IFREG:
		err = c.file(src, dst, temp, at, st)
	case unix.S_IFLNK:
		err = c.symlink(src, dst, temp, at, st)
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		err = c.special(src, dst, temp, at, st)
	default:
		return c.fail("copy", at, errors.New("type of file is unknown"))
	}
	var made unix.Stat_t
	if err == nil {
		if err = unix.Fstatat(dst, temp, &made, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			err = unix.Renameat(dst, temp, dst, name)
		}
		if err != nil {
			err = c.fail("name the copy of", at, err)
		}
	}
	if err != nil {
		unix.Unlinkat(dst, temp, 0)
		return err
	}
	c.res.Copied++
	c.remember(key, at, &made, uint64(st.Nlink))
	return nil
}

// sameSize guards against a destination that somebody else has touched. A
// link may have been rewritten to another length.
func (c *Copier) sameSize(have, st *unix.Stat_t) bool {
	return kind(st) == unix.S_IFLNK || have.Size == st.Size
}

func (c *Copier) remember(key inode, at []string, made *unix.Stat_t, nlink uint64) {
	if nlink > 1 {
		c.links[key] = &linked{of: c, path: at, dev: uint64(made.Dev), ino: made.Ino, left: nlink - 1}
	}
}

// errNoLink says that the copy in another tree is not to be linked to: it is in
// another file system, or its name is another file's by now.
var errNoLink = errors.New("no link can be made")

// link gives the copy of an inode another name.
func (c *Copier) link(dst int, at []string, first *linked, dirInTheWay bool) error {
	name := at[len(at)-1]
	dir, err := openBelow(int(first.of.dst.Fd()), first.path[:len(first.path)-1])
	if err != nil && first.of != c {
		return errNoLink
	}
	if err != nil {
		return c.fail("open the copy that is linked to", at, err)
	}
	defer unix.Close(dir)
	temp := tempName()
	if err := linkat(dir, first.path[len(first.path)-1], dst, temp); err != nil {
		if first.of != c {
			return errNoLink
		}
		return c.fail("link the copy of", at, err)
	}
	if first.of != c { // whose tree may be in use already
		var made unix.Stat_t
		if err := unix.Fstatat(dst, temp, &made, unix.AT_SYMLINK_NOFOLLOW); err != nil || made.Ino != first.ino {
			unix.Unlinkat(dst, temp, 0)
			return errNoLink
		}
	}
	if dirInTheWay {
		if err := c.delete(dst, at[:len(at)-1], name); err != nil {
			unix.Unlinkat(dst, temp, 0)
			return err
		}
	}
	if err := unix.Renameat(dst, temp, dst, name); err != nil {
		unix.Unlinkat(dst, temp, 0)
		return c.fail("name the copy of", at, err)
	}
	c.res.Copied++
	return nil
}

func (c *Copier) symlink(src, dst int, temp string, at []string, st *unix.Stat_t) error {
	name := at[len(at)-1]
	target, err := readlinkat(src, name)
	if errors.Is(err, unix.EINVAL) { // became something else
		return c.fail("read", at, fs.ErrNotExist)
	}
	if err != nil {
		return c.fail("read", at, err)
	}
	if c.o.Link != nil {
		target = c.o.Link(join(at), target)
	}
	if err := symlinkat(target, dst, temp); err != nil {
		return c.fail("link the copy of", at, err)
	}
	return c.nodeAttr(src, dst, temp, at, st)
}

func (c *Copier) special(src, dst int, temp string, at []string, st *unix.Stat_t) error {
	if err := mknodat(dst, temp, kind(st), uint64(st.Rdev)); err != nil {
		return c.fail("make the copy of", at, err)
	}
	return c.nodeAttr(src, dst, temp, at, st)
}

// nodeAttr is for what cannot be opened: links, FIFOs, sockets, devices. dst
// is a directory that only root can change, or a tree at rest.
func (c *Copier) nodeAttr(src, dst int, temp string, at []string, st *unix.Stat_t) error {
	err := unix.Fchownat(dst, temp, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		err = nodeXattrs(src, at[len(at)-1], dst, temp)
	}
	if err == nil && kind(st) != unix.S_IFLNK {
		err = unix.Fchmodat(dst, temp, uint32(st.Mode)&0o7777, 0)
	}
	if err == nil {
		err = unix.UtimesNanoAt(dst, temp, times(st), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return c.fail("set the attributes of the copy of", at, err)
	}
	c.next.add(at, st, true)
	return nil
}

func (c *Copier) delete(dst int, path []string, name string) error {
	n, err := removeAll(dst, name, 0)
	c.res.Deleted += n
	if err != nil {
		return c.fail("delete the copy of", append(path[:len(path):len(path)], name), err)
	}
	return nil
}

func (c *Copier) changed(at []string) {
	if c.live {
		return
	}
	c.res.Changed++
	c.res.Example = c.src.Name() + "/" + join(at)
}

func (c *Copier) tell() {
	if c.o.Progress == nil {
		return
	}
	if now := time.Now(); now.Sub(c.said) > 100*time.Millisecond {
		c.said = now
		c.o.Progress(Progress{c.res.Files, c.res.Bytes})
	}
}

// fail says which file an error is about.
func (c *Copier) fail(verb string, at []string, err error) error {
	path := c.src.Name()
	if len(at) > 0 {
		path += "/" + join(at)
	}
	var inner *fs.PathError // names what the copy is called until it is complete
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("cannot %s %s: %w", verb, path, err)
}

// gone tells a source that vanished from a failure.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
