package share

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// Arrival says what became of what was staged in a boot environment.
type Arrival struct {
	Created   int      `json:"created"`   // names made in the shared dataset
	Held      int      `json:"held"`      // that the shared dataset holds already, or more of them
	SetAside  []string `json:"set_aside"` // collisions, relative to the shared dataset
	Directory string   `json:"directory"` // where those are, below the shared dataset; empty if none
}

// marker, in the staging directory, holds the name of the directory that
// collisions go to, so that an arrival that was cut off goes on in the same.
const marker = ".beadm-arrival"

// Arrive brings what is staged in the boot environment at root into the
// shared dataset mounted at shareDir. Nothing there is ever overwritten, nor
// is a directory's mode changed. A staged file whose content is the beginning
// of the one there (a log that went on) adds nothing; any other that meets
// one is set aside in the shared dataset and named. The staging directory is
// emptied only once all of that is durable, so Arrive may be killed at any
// point and called again. Nothing else runs in the boot environment.
func Arrive(ctx context.Context, root, shareDir string, now time.Time) (Arrival, error) {
	var a Arrival
	r, err := rooted.Open(root)
	if err != nil {
		return a, be.E(be.NotFound, "cannot bring in what is staged: %w", err)
	}
	defer r.Close()
	names, err := stagedNames(r)
	if err != nil || len(names) == 0 {
		return a, wrap(be.Other, "cannot look at what is staged", err)
	}
	live, err := openShare(shareDir)
	if err != nil {
		return a, err
	}
	defer live.Close()
	m := &merge{ctx: ctx, res: &a, live: live}
	if m.aside, m.again, err = asideName(r, now); err != nil {
		return a, wrap(be.Other, "cannot bring in what is staged", err)
	}
	if m.again {
		if err := sweep(live, "/"); err != nil {
			return a, wrap(be.Other, "cannot bring in what is staged", err)
		}
	}
	if err := m.all(r, names); err != nil {
		return a, be.E(be.KindOf(err), "cannot bring what is staged into the shared dataset: %w", err)
	}
	if len(a.SetAside) > 0 {
		a.Directory = m.aside
	}
	// All of it, contents and names, before the first byte of the staged is
	// given up: a power cut in between repeats the above, which finds its own
	// work and holds it for held.
	effect("sync share")
	if err := live.SyncFS(); err != nil {
		return a, be.E(be.Other, "cannot make what was staged durable: %w", err)
	}
	for _, name := range names {
		effect("empty " + name)
		if err := removeAll(r, StagedDir+"/"+name); err != nil {
			return a, be.E(be.Other, "cannot empty the staging directory: %w", err)
		}
	}
	effect("remove marker")
	if err := removeAll(r, StagedDir+"/"+marker); err != nil {
		return a, be.E(be.Other, "cannot empty the staging directory: %w", err)
	}
	return a, nil
}

// Staged says whether anything waits in the boot environment at root.
func Staged(root string) (bool, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return false, err
	}
	defer r.Close()
	names, err := stagedNames(r)
	return len(names) > 0, err
}

func stagedNames(r *rooted.Root) ([]string, error) {
	list, err := r.ReadDir(StagedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, info := range list {
		if info.Name != marker && !strings.HasPrefix(info.Name, rooted.TempPrefix) {
			names = append(names, info.Name)
		}
	}
	return names, err
}

// asideName is where collisions go, and whether an arrival that was cut used it.
func asideName(r *rooted.Root, now time.Time) (name string, again bool, err error) {
	file := StagedDir + "/" + marker
	if data, err := r.ReadFileLimit(file, 100); err == nil && len(data) > 0 && !bytes.ContainsAny(data, "/\x00") {
		return ArrivedDir + "/" + string(data), true, nil
	}
	name = now.UTC().Format("2006-01-02T150405Z")
	err = r.WriteFileAtomic(file, []byte(name), rooted.Attr{Mode: 0o600})
	return ArrivedDir + "/" + name, false, err
}

type merge struct {
	ctx   context.Context
	res   *Arrival
	live  *rooted.Root
	aside string
	again bool // an earlier try may have left what it had not named yet
}

func (m *merge) all(r *rooted.Root, names []string) error {
	src, err := copier.OpenDir(r, StagedDir)
	if err != nil {
		return err
	}
	defer src.Close()
	for _, name := range names {
		if err := m.entry(src, name, nil); err != nil {
			return err
		}
	}
	return nil
}

// entry brings one name in; path is the directory of the shared dataset that
// it belongs into.
func (m *merge) entry(src *os.File, name string, path []string) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if len(path) > rooted.MaxDepth {
		return errors.New("the staged directories are too deep")
	}
	at := append(path[:len(path):len(path)], name)
	effect("bring in " + strings.Join(at, "/"))
	dst, err := openIn(m.live, path)
	if err != nil {
		return err
	}
	defer dst.Close()
	sub, err := openSub(src, name)
	if err == nil {
		defer sub.Close()
		err = copier.Dir(sub, dst, name)
		switch {
		case err == nil:
			m.res.Created++
		case errors.Is(err, fs.ErrExist):
			// Is it a directory there, too?
			there, err := openSub(dst, name)
			if err != nil {
				return m.collide(src, name, at, true)
			}
			there.Close()
			m.res.Held++
			if m.again {
				if err := sweep(m.live, "/"+strings.Join(at, "/")); err != nil {
					return err
				}
			}
		default:
			return err
		}
		names, err := copier.NamesIn(sub)
		if err != nil {
			return err
		}
		for _, child := range names {
			if strings.HasPrefix(child, rooted.TempPrefix) {
				continue // was never complete
			}
			if err := m.entry(sub, child, at); err != nil {
				return err
			}
		}
		return nil
	}
	err = copier.Node(src, name, dst, name, copier.Options{})
	switch {
	case err == nil:
		m.res.Created++
		return nil
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if same, err := adds(m.ctx, src, dst, name); err != nil {
		return err
	} else if same {
		m.res.Held++
		return nil
	}
	return m.collide(src, name, at, false)
}

// collide sets the staged thing aside, in the shared dataset, where the
// administrator finds it.
func (m *merge) collide(src *os.File, name string, at []string, isDir bool) error {
	effect("set aside " + strings.Join(at, "/"))
	to := m.aside + "/" + strings.Join(at[:len(at)-1], "/")
	// Root's alone: it may hold what the directories there protect.
	if err := m.live.MkdirAll(ArrivedDir, 0o700); err != nil {
		return err
	}
	if err := m.live.MkdirAll(to, 0o700); err != nil {
		return err
	}
	dst, err := copier.OpenDir(m.live, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	if isDir {
		sub, err := openSub(src, name)
		if err != nil {
			return err
		}
		defer sub.Close()
		if err := copier.Dir(sub, dst, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		into, err := openSub(dst, name)
		if err != nil {
			return err
		}
		defer into.Close()
		if _, err := copier.Tree(m.ctx, sub, into, copier.Options{}); err != nil {
			return err
		}
	} else if err := copier.Node(src, name, dst, name, copier.Options{}); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	m.res.SetAside = append(m.res.SetAside, strings.Join(at, "/"))
	return nil
}

// adds says that the staged file adds nothing to the one of the same name in
// dst: the same link, or content that is the beginning of the other's.
func adds(ctx context.Context, src, dst *os.File, name string) (nothing bool, err error) {
	var a, b unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if err := unix.Fstatat(int(dst.Fd()), name, &b, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	const typ = unix.S_IFMT
	if uint32(a.Mode)&typ != uint32(b.Mode)&typ {
		return false, nil
	}
	switch uint32(a.Mode) & typ {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return true, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		return a.Rdev == b.Rdev, nil
	case unix.S_IFLNK:
		return sameLink(src, dst, name), nil
	case unix.S_IFREG:
	default:
		return false, nil
	}
	if a.Size > b.Size {
		return false, nil
	}
	x, err := openRegular(src, name)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := openRegular(dst, name)
	if err != nil {
		return false, err
	}
	defer y.Close()
	return beginsWith(ctx, y, x, a.Size)
}

// beginsWith says whether long begins with what the first size bytes of short
// are. Where both have a hole nothing is read: a file of a few bytes may say
// that it has an exabyte.
func beginsWith(ctx context.Context, long, short *os.File, size int64) (bool, error) {
	p, q := make([]byte, 128<<10), make([]byte, 128<<10)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if skip := min(copier.NextData(short, at, size), copier.NextData(long, at, size)); skip > at {
			at = skip
			continue
		}
		n, err := short.ReadAt(p[:min(int64(len(p)), size-at)], at)
		if n > 0 {
			if m, _ := long.ReadAt(q[:n], at); m < n || !bytes.Equal(p[:n], q[:n]) {
				return false, nil
			}
		}
		at += int64(n)
		if err == io.EOF { // cut off since
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

func openRegular(dir *os.File, name string) (*os.File, error) {
	wrong := func(err error) error {
		return &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	// Before, because to open a device can do something, and after, because
	// another may have its name by then.
	st, err := lstat(dir, name)
	if err != nil {
		return nil, wrong(err)
	}
	if kindOf(st) != unix.S_IFREG {
		return nil, wrong(rooted.ErrNotRegular)
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, wrong(err)
	}
	if err = unix.Fstat(fd, &st); err == nil && kindOf(st) != unix.S_IFREG {
		err = rooted.ErrNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return nil, wrong(err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openSub(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

// openIn opens a directory of the shared dataset without following any link.
func openIn(r *rooted.Root, path []string) (*os.File, error) {
	d, err := copier.OpenDir(r, "/")
	for _, name := range path {
		if err != nil {
			return nil, err
		}
		var next *os.File
		next, err = openSub(d, name)
		d.Close()
		d = next
	}
	return d, err
}

func wrap(kind be.Kind, what string, err error) error {
	if err == nil {
		return nil
	}
	return be.E(kind, "%s: %w", what, err)
}
