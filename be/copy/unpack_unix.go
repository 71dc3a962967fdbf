//go:build linux || freebsd

package copier

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// Unpack makes what an archive holds, Pack's or any tar, in the directory dst,
// which is empty. No name leads out of dst, or through a link: what would is an
// error, as is an archive that is cut off, or one of Pack's that was changed.
// What is there after an error is not to be used. Blocks of zeros become holes.
//
// part, if not nil, makes the directory name in dir, where Pack found a
// subvolume.
func Unpack(ctx context.Context, r io.Reader, dst *os.File, part func(dir *os.File, name string) error, o Options) (Archive, Result, error) {
	u := &unpacker{ctx: ctx, dst: dst, part: part, o: o, dirs: map[string]*tar.Header{}, guards: map[string]uint32{}, open: -1, buf: make([]byte, 1<<20)}
	defer u.close()
	err := u.unpack(ctx, r)
	if o.Progress != nil {
		o.Progress(Progress{u.res.Files, u.res.Bytes})
	}
	return u.archive, u.res, err
}

type unpacker struct {
	ctx     context.Context
	dst     *os.File
	part    func(dir *os.File, name string) error
	o       Options
	archive Archive
	res     Result
	said    time.Time
	buf     []byte

	dirs   map[string]*tar.Header // whose attributes come when nothing is made in them any more
	late   []lateACL
	guards map[string]uint32

	open     int // the directory at openPath, -1 if none is
	openPath string
}

// lateACL names users and groups, whom the etc/passwd of the tree may know.
type lateACL struct {
	path, kind, text string
}

// inflow is what an archive is read from.
type inflow struct {
	r    *bufio.Reader
	sum  hash.Hash // nil: nobody asks for it
	zero bool      // the last block that was read is all zeros
}

// Read gives whole blocks to who asks for one, so that the end can be told.
func (in *inflow) Read(p []byte) (n int, err error) {
	if len(p) == tarBlock {
		if n, err = io.ReadFull(in.r, p); n > 0 {
			in.zero = allZero(p[:n]) && n == tarBlock
		}
	} else {
		n, err = in.r.Read(p)
		in.zero = false
	}
	if in.sum != nil {
		in.sum.Write(p[:n])
	}
	return n, err
}

func (u *unpacker) unpack(ctx context.Context, r io.Reader) error {
	in := &inflow{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	tr := tar.NewReader(in)
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		in.zero = false // content is no end
		h, err := tr.Next()
		if err == io.EOF {
			if !in.zero {
				return errCutOff
			}
			break
		}
		if err != nil {
			return broken(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if v, is := h.PAXRecords[paxArchive]; is && first {
				if v != archiveVersion {
					return fmt.Errorf("its format is version %q, and version %s is all that is known here", v, archiveVersion)
				}
				u.archive = Archive{Name: h.PAXRecords[paxName], Description: h.PAXRecords[paxDescription], ByPack: true}
			}
			continue
		}
		if !u.archive.ByPack {
			in.sum = nil
		}
		u.res.Files++
		if err := u.entry(tr, h); err != nil {
			return err
		}
		u.tell()
	}
	if u.archive.ByPack {
		want := trailer(in.sum)
		got, err := io.ReadAll(io.LimitReader(in.r, int64(len(want))))
		if err == nil && len(got) < len(want) {
			return errCutOff
		}
		if err == nil && string(got) != want {
			err = errors.New("its sum is another one")
		}
		if err != nil {
			return broken(err)
		}
	}
	// The sum of what is compressed is at its end.
	if _, err := io.Copy(io.Discard, in.r); err != nil {
		return broken(err)
	}
	return u.finish()
}

var errCutOff = errors.New("it is cut off: its end is missing")

// broken is an error of the archive, not of where it goes.
func broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutOff
	}
	return fmt.Errorf("it is damaged, or no archive: %w", err)
}

// parts are the components of a name in an archive, none for the top.
func parts(name string) ([]string, error) {
	var at []string
	for _, p := range strings.Split(name, "/") {
		switch p {
		case "", ".":
		case "..":
			return nil, errors.New("its name leads out")
		default:
			at = append(at, p)
		}
	}
	if strings.HasPrefix(name, "/") {
		return nil, errors.New("its name begins with /")
	}
	if len(at) > rooted.MaxDepth {
		return nil, fmt.Errorf("more than %d directories deep", rooted.MaxDepth)
	}
	return at, nil
}

func (u *unpacker) entry(tr *tar.Reader, h *tar.Header) error {
	at, err := parts(h.Name)
	if err == nil {
		err = u.make(tr, h, at)
	}
	if err != nil {
		if errors.Is(err, errCutOff) {
			return err
		}
		return fmt.Errorf("cannot unpack %s: %w", rooted.Printable(h.Name), err)
	}
	return nil
}

func (u *unpacker) make(tr *tar.Reader, h *tar.Header, at []string) error {
	flags, err := flagsFrom(h.PAXRecords[paxFlags])
	if err != nil {
		return err
	}
	where := join(at)
	if g := flags & flagsOfGuard; g != 0 && where != "" {
		u.guards[where] = g
	}
	isDir := h.Typeflag == tar.TypeDir
	if where == "" {
		if !isDir {
			return errors.New("it is no directory, and would be the root")
		}
		u.dirs[""] = h
		return nil
	}
	dir, err := u.openDir(at[:len(at)-1])
	if err != nil {
		return err
	}
	name := at[len(at)-1]
	var st unix.Stat_t
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	there := err == nil
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	err = nil
	// A later one of a name stands for the earlier one.
	if there && !(isDir && kind(&st) == unix.S_IFDIR) {
		u.closeDir(where)
		if _, err := removeAll(dir, name, 0); err != nil {
			return err
		}
		there = false
	}
	switch h.Typeflag {
	case tar.TypeDir:
		u.dirs[where] = h
		switch {
		case there:
			return nil
		case h.PAXRecords[paxPart] != "" && u.part != nil:
			return u.makePart(dir, name)
		}
		return unix.Mkdirat(dir, name, 0o700)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.file(tr, h, dir, name, flags)
	case tar.TypeLink:
		return u.link(h, dir, name)
	case tar.TypeSymlink:
		if h.Linkname == "" {
			return errors.New("it is a link to nothing")
		}
		if err := symlinkat(h.Linkname, dir, name); err != nil {
			return err
		}
	case tar.TypeFifo:
		err = mknodat(dir, name, unix.S_IFIFO, 0)
	case tar.TypeChar, tar.TypeBlock:
		mode := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
		err = mknodat(dir, name, mode, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	default:
		return fmt.Errorf("it is of a type, %q, that is not known", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.nodeAttr(h, dir, name)
}

// openDir is the directory at path, whose missing components are made. It stays
// the unpacker's.
func (u *unpacker) openDir(at []string) (int, error) {
	where := join(at)
	if u.open >= 0 && u.openPath == where {
		return u.open, nil
	}
	u.close()
	fd, err := openDir(int(u.dst.Fd()), ".")
	for i, name := range at {
		if err != nil {
			break
		}
		var next int
		if next, err = openDir(fd, name); errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(fd, name, 0o755); err == nil {
				next, err = openDir(fd, name)
			}
		}
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			err = fmt.Errorf("%s is no directory", rooted.Printable(join(at[:i+1])))
		}
		unix.Close(fd)
		fd = next
	}
	if err != nil {
		return -1, err
	}
	u.open, u.openPath = fd, where
	return fd, nil
}

func (u *unpacker) close() {
	if u.open >= 0 {
		unix.Close(u.open)
		u.open = -1
	}
}

// closeDir forgets what is open at or below what is to be deleted.
func (u *unpacker) closeDir(where string) {
	if u.openPath == where || strings.HasPrefix(u.openPath, where+"/") {
		u.close()
	}
	under := func(p string) bool { return p == where || strings.HasPrefix(p, where+"/") }
	maps.DeleteFunc(u.dirs, func(p string, _ *tar.Header) bool { return under(p) })
	maps.DeleteFunc(u.guards, func(p string, _ uint32) bool { return strings.HasPrefix(p, where+"/") })
	u.late = slices.DeleteFunc(u.late, func(l lateACL) bool { return under(l.path) })
}

func (u *unpacker) makePart(dirfd int, name string) error {
	fd, err := openDir(dirfd, ".")
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), u.openPath)
	defer dir.Close()
	return u.part(dir, name)
}

func (u *unpacker) file(tr *tar.Reader, h *tar.Header, dir int, name string, flags uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	// First, as in a copy.
	if err := setFlags(fd, flags, flagsOfContent|flagsOfUse); err != nil {
		return err
	}
	if err := u.content(tr, out, h.Size); err != nil {
		return err
	}
	if err := u.attr(h, fd); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, name, timesOf(h), unix.AT_SYMLINK_NOFOLLOW)
}

var zeros [4096]byte

// content leaves a hole for each block of zeros.
func (u *unpacker) content(tr *tar.Reader, out *os.File, size int64) error {
	holes := false
	if size > int64(len(u.buf)) {
		// What no file can be is refused before anything of it is read.
		if err := out.Truncate(size); err != nil {
			return bare(err)
		}
	}
	for at := int64(0); at < size; {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(tr, u.buf[:min(size-at, int64(len(u.buf)))])
		if err != nil {
			return broken(io.ErrUnexpectedEOF)
		}
		for i := 0; i < n; {
			end, data := i, i
			for data < n && bytes.Equal(u.buf[data:min(data+len(zeros), n)], zeros[:min(len(zeros), n-data)]) {
				data += len(zeros)
			}
			holes = holes || data > i
			for end = min(data, n); end < n && !bytes.Equal(u.buf[end:min(end+len(zeros), n)], zeros[:min(len(zeros), n-end)]); {
				end += len(zeros)
			}
			end, data = min(end, n), min(data, n)
			if data < end {
				if _, err := out.WriteAt(u.buf[data:end], at+int64(data)); err != nil {
					return bare(err)
				}
				u.res.Bytes += int64(end - data)
			}
			i = end
		}
		at += int64(n)
		u.tell()
	}
	if holes {
		return bare(out.Truncate(size))
	}
	return nil
}

// bare is an error without the name that is said already.
func bare(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (u *unpacker) link(h *tar.Header, dir int, name string) error {
	at, err := parts(h.Linkname)
	if err == nil && len(at) == 0 {
		err = errors.New("it is a link to the top")
	}
	if err != nil {
		return fmt.Errorf("it is a link to %s: %w", rooted.Printable(h.Linkname), err)
	}
	from, err := openBelow(int(u.dst.Fd()), at[:len(at)-1])
	if err == nil {
		defer unix.Close(from)
		err = linkat(from, at[len(at)-1], dir, name)
	}
	if err != nil {
		return fmt.Errorf("cannot link it to %s: %w", rooted.Printable(h.Linkname), err)
	}
	return nil
}

// nodeAttr is for what cannot be opened. Nobody else has the tree yet.
func (u *unpacker) nodeAttr(h *tar.Header, dir int, name string) error {
	if err := unix.Fchownat(dir, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if a := attrsOfNode(dir, name); a != nil {
		if err := u.setXattrs(h, a); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, name, uint32(h.Mode)&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(dir, name, timesOf(h), unix.AT_SYMLINK_NOFOLLOW)
}

// attr is all but mode and times. A capability comes after the owner, whose
// change would drop it.
func (u *unpacker) attr(h *tar.Header, fd int) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	return u.setXattrs(h, fdAttrs(fd))
}

func (u *unpacker) setXattrs(h *tar.Header, a attrs) error {
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, is := strings.CutPrefix(key, paxXattr); is && !ofFileSystem(name) && !ofStore(name) {
			if err := a.set(name, []byte(h.PAXRecords[key])); err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
		}
		if key == paxLabel {
			if err := a.set("security.selinux", []byte(h.PAXRecords[key]+"\x00")); err != nil {
				return fmt.Errorf("security label: %w", err)
			}
		}
		name, is := strings.CutPrefix(key, paxACL)
		if _, binary := h.PAXRecords[paxXattr+aclAttr(name)]; !is || binary {
			continue
		}
		value, err := parseACL(h.PAXRecords[key], nil)
		if errors.Is(err, errNoSuchID) {
			u.late = append(u.late, lateACL{path.Clean(h.Name), name, h.PAXRecords[key]})
			continue
		}
		if err == nil && value != nil {
			err = a.set(aclAttr(name), value)
		}
		if err != nil {
			return fmt.Errorf("ACL %q: %w", h.PAXRecords[key], err)
		}
	}
	return nil
}

func timesOf(h *tar.Header) []unix.Timespec {
	spec := func(t time.Time) unix.Timespec {
		ts := unix.NsecToTimespec(int64(t.Nanosecond()))
		ts.Sec = t.Unix()
		return ts
	}
	access := h.AccessTime
	if access.IsZero() {
		access = h.ModTime
	}
	return []unix.Timespec{spec(access), spec(h.ModTime)}
}

// finish gives the directories their attributes, the deepest first.
func (u *unpacker) finish() error {
	u.close()
	list := slices.Sorted(maps.Keys(u.dirs))
	slices.Reverse(list)
	for _, where := range list {
		if err := u.dirAttr(where, u.dirs[where]); err != nil {
			return fmt.Errorf("cannot set the attributes of /%s: %w", rooted.Printable(where), err)
		}
	}
	if err := u.lateACLs(); err != nil {
		return err
	}
	for where, flags := range u.guards {
		at := strings.Split(where, "/")
		dir, err := openBelow(int(u.dst.Fd()), at[:len(at)-1])
		if err == nil {
			err = guard(dir, at[len(at)-1], flags)
			unix.Close(dir)
		}
		if err != nil {
			return fmt.Errorf("cannot set the attributes of /%s: %w", rooted.Printable(where), err)
		}
	}
	return nil
}

func (u *unpacker) dirAttr(where string, h *tar.Header) error {
	at, err := parts(where)
	if err != nil {
		return err
	}
	fd, err := openBelow(int(u.dst.Fd()), at)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags, err := flagsFrom(h.PAXRecords[paxFlags])
	if err == nil {
		err = setFlags(fd, flags, flagsOfContent|flagsOfUse)
	}
	if err == nil {
		err = u.attr(h, fd)
	}
	if err == nil {
		err = unix.Fchmod(fd, uint32(h.Mode)&0o7777)
	}
	if err == nil {
		err = unix.UtimesNanoAt(fd, ".", timesOf(h), 0)
	}
	return err
}

func (u *unpacker) tell() {
	if now := time.Now(); u.o.Progress != nil && now.Sub(u.said) > 100*time.Millisecond {
		u.said = now
		u.o.Progress(Progress{u.res.Files, u.res.Bytes})
	}
}
