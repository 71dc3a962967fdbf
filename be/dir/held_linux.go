package dir

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/refs"
	"beadm/be/rooted"
)

// weights are what the directories in the BE root take, each weighed once.
type weights struct {
	s  *Store
	of map[string]*weigher
}

func (s *Store) weights() *weights { return &weights{s, map[string]*weigher{}} }

func (w *weights) get(ctx context.Context, path string) (*weigher, error) {
	if one := w.of[path]; one != nil {
		return one, nil
	}
	one := &weigher{shares: w.s.shares, btrfs: w.s.btrfs, left: map[inode]*several{}, roots: map[uint64]bool{}}
	f, err := w.s.openEntry(path)
	if err == nil {
		defer f.Close()
		err = one.tree(ctx, int(f.Fd()), 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	w.of[path] = one
	return one, nil
}

// frees is what comes back when the doomed go and the others stay. Where copies
// share their blocks, extents that only the doomed have are counted, each once:
// on XFS what something outside all these shares is not seen. Where ctx ends at a deadline it
// is what is known until then, and may be more.
func (w *weights) frees(ctx context.Context, doomed map[string]bool, others []string) (be.Frees, error) {
	var total be.Frees
	var mine, theirs []extent
	late := func(err error) (be.Frees, error) {
		total.AtLeast = true
		if errors.Is(err, context.DeadlineExceeded) {
			return total, nil
		}
		return total, err
	}
	// What is not written yet has no extent.
	if err := unix.Syncfs(w.s.fd()); err != nil && !errors.Is(err, unix.EROFS) {
		return total, err
	}
	for path := range doomed {
		one, err := w.get(ctx, path)
		if err != nil {
			return late(err)
		}
		total.Bytes += one.bytes
		mine = append(mine, one.shared...)
	}
	if len(mine) == 0 {
		return total, nil
	}
	for _, path := range others {
		if doomed[path] {
			continue
		}
		one, err := w.get(ctx, path)
		if err != nil {
			return late(err)
		}
		theirs = append(theirs, one.shared...)
	}
	if w.s.btrfs {
		alone, err := w.alone(ctx, mine, theirs)
		total.Bytes += alone.Bytes
		total.AtLeast = alone.AtLeast
		if err != nil {
			return late(err)
		}
		return total, nil
	}
	theirs = union(theirs)
	total.Bytes += size(union(append(mine, theirs...))) - size(theirs)
	return total, nil
}

// alone is what of mine, whole extents, none of theirs is, and no subvolume but
// those that the BE root and what is in it are in: a snapshot of these keeps all.
func (w *weights) alone(ctx context.Context, mine, theirs []extent) (be.Frees, error) {
	own, roots := map[extent]bool{}, map[uint64]bool{}
	for _, e := range mine {
		own[e] = true
	}
	for _, e := range theirs {
		delete(own, e)
	}
	for _, one := range w.of {
		for root := range one.roots {
			roots[root] = true
		}
	}
	var frees be.Frees
	owners := new(refs.Owners)
	for e := range own {
		if err := ctx.Err(); err != nil {
			return frees, err
		}
		yes, known, err := owners.Only(w.s.fd(), e.from, func(root uint64) bool { return roots[root] })
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return frees, err
		case yes && known:
			frees.Bytes += int64(e.to - e.from)
		case yes:
			frees.AtLeast = true
		}
	}
	return frees, nil
}

// weigher adds up what files take.
type weigher struct {
	shares bool
	btrfs  bool
	bytes  int64
	shared []extent
	left   map[inode]*several
	roots  map[uint64]bool // on btrfs, the subvolumes that it is in
	buf    []byte
}

// several is a file with more names than one.
type several struct{ names, seen uint64 }

// extent is a piece of the disk.
type extent struct{ from, to uint64 }

func (w *weigher) tree(ctx context.Context, dirfd, depth int) error {
	if depth > rooted.MaxDepth {
		return unix.ENAMETOOLONG
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fd, err := beneath(dirfd, ".")
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	if w.btrfs {
		if err := w.noteRoot(fd, depth); err != nil {
			return err
		}
	}
	names, err := copier.NamesIn(f)
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if !w.shares {
				w.bytes += st.Blocks * 512
			}
			var child int
			if child, err = beneath(fd, name); err == nil {
				err = w.tree(ctx, child, depth+1)
				unix.Close(child)
			}
		} else if err == nil {
			err = w.file(fd, name, &st)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	return nil
}

func (w *weigher) file(dirfd int, name string, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		one := w.left[inodeOf(st)]
		if one == nil {
			one = &several{names: uint64(st.Nlink)}
			w.left[inodeOf(st)] = one
		}
		if one.seen++; one.seen != one.names {
			return nil // it has a name elsewhere as far as is known
		}
	}
	if !w.shares || st.Mode&unix.S_IFMT != unix.S_IFREG {
		w.bytes += st.Blocks * 512
		return nil
	}
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil // became something else
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if w.btrfs {
		return w.extentsOnBtrfs(fd, st.Ino)
	}
	return w.extents(fd)
}

// Of fiemap (linux/fiemap.h).
const (
	iocFiemap     = 0xc020660b
	fiemapSync    = 1
	fiemapLast    = 1
	fiemapNowhere = 2 | 4 | 0x200 // unknown, not allocated yet, inline
	fiemapShared  = 0x2000
	fiemapHead    = 32
	fiemapExtent  = 56
	fiemapCount   = 256
)

func (w *weigher) extents(fd int) error {
	if w.buf == nil {
		w.buf = make([]byte, fiemapHead+fiemapCount*fiemapExtent)
	}
	word := func(at int) *uint64 { return (*uint64)(unsafe.Pointer(&w.buf[at])) }
	half := func(at int) *uint32 { return (*uint32)(unsafe.Pointer(&w.buf[at])) }
	for start := uint64(0); ; {
		*word(0), *word(8) = start, ^uint64(0)-start
		*half(16), *half(20), *half(24), *half(28) = fiemapSync, 0, fiemapCount, 0
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocFiemap, uintptr(unsafe.Pointer(&w.buf[0]))); e != 0 {
			return e
		}
		n := int(*half(20))
		if n == 0 {
			return nil
		}
		for i := range n {
			at := fiemapHead + i*fiemapExtent
			logical, physical, length, flags := *word(at), *word(at + 8), *word(at + 16), *half(at + 40)
			switch {
			case flags&fiemapShared != 0 && flags&fiemapNowhere == 0:
				w.shared = append(w.shared, extent{physical, physical + length})
			default:
				w.bytes += int64(length)
			}
			start = logical + length
			if flags&fiemapLast != 0 {
				return nil
			}
		}
	}
}

// union is the same pieces, sorted, none in two of them.
func union(list []extent) []extent {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	var out []extent
	for _, e := range list {
		if n := len(out); n > 0 && e.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, e.to)
		} else {
			out = append(out, e)
		}
	}
	return out
}

func size(list []extent) int64 {
	var n uint64
	for _, e := range list {
		n += e.to - e.from
	}
	return int64(n)
}
