//go:build linux || freebsd

package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// Pack writes an archive of the directory src, which is at rest, and all below
// it. Sockets are left out. A file that changes meanwhile is an error.
func Pack(ctx context.Context, src *os.File, w io.Writer, a Archive, o Options) (Result, error) {
	p := &packer{src: src, o: o, out: newSummed(w), links: map[inode]string{}, buf: make([]byte, 1<<20)}
	err := p.pack(ctx, a)
	if o.Progress != nil {
		o.Progress(Progress{p.res.Files, p.res.Bytes})
	}
	return p.res, err
}

type packer struct {
	src   *os.File
	o     Options
	out   *summed
	links map[inode]string // what has more names than one, by its first
	res   Result
	said  time.Time
	buf   []byte
}

func (p *packer) pack(ctx context.Context, a Archive) error {
	global := &header{kind: 'g', pax: map[string]string{paxArchive: archiveVersion}}
	for k, v := range map[string]string{paxName: a.Name, paxDescription: a.Description} {
		if v != "" {
			global.pax[k] = v
		}
	}
	if err := global.write(p.out); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(p.src.Fd()), &st); err != nil {
		return p.fail("stat", nil, err)
	}
	if err := p.dir(ctx, int(p.src.Fd()), nil, &st, uint64(st.Dev)); err != nil {
		return err
	}
	if _, err := p.out.Write(make([]byte, 2*tarBlock)); err != nil {
		return err
	}
	_, err := io.WriteString(p.out.w, trailer(p.out.sum))
	return err
}

// dir packs an open directory and what is in it. above is the device that the
// directory above it is on.
func (p *packer) dir(ctx context.Context, fd int, at []string, st *unix.Stat_t, above uint64) error {
	if len(at) > rooted.MaxDepth {
		return p.fail("read", at, fmt.Errorf("more than %d directories deep", rooted.MaxDepth))
	}
	h := p.entry(at, st, '5')
	h.name += "/"
	if uint64(st.Dev) != above {
		h.pax[paxPart] = "subvolume"
	}
	if flags := lettersOf(flagsOf(fd)); flags != "" {
		h.pax[paxFlags] = flags
	}
	if err := p.xattrs(h, fdAttrs(fd)); err != nil {
		return p.fail("read the attributes of", at, err)
	}
	if err := h.write(p.out); err != nil {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		return p.fail("read", at, err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.name(ctx, fd, append(at[:len(at):len(at)], name), uint64(st.Dev)); err != nil {
			return err
		}
		p.tell()
	}
	return nil
}

func (p *packer) name(ctx context.Context, dirfd int, at []string, above uint64) error {
	name := at[len(at)-1]
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return p.fail("stat", at, err)
	}
	p.res.Files++
	if kind(&st) == unix.S_IFDIR {
		fd, err := openDir(dirfd, name)
		if err != nil {
			return p.fail("open", at, err)
		}
		defer unix.Close(fd)
		return p.dir(ctx, fd, at, &st, above)
	}
	key := inode{uint64(st.Dev), st.Ino}
	if first, is := p.links[key]; is && st.Nlink > 1 {
		h := p.entry(at, &st, '1')
		h.link = first
		return h.write(p.out)
	}
	var err error
	switch kind(&st) {
	case unix.S_IFREG:
		err = p.file(dirfd, at, &st)
	case unix.S_IFSOCK:
		return nil // nobody listens there any more
	case unix.S_IFLNK:
		h := p.entry(at, &st, '2')
		if h.link, err = readlinkat(dirfd, name); err == nil {
			err = p.special(dirfd, at, h)
		}
	case unix.S_IFIFO:
		err = p.special(dirfd, at, p.entry(at, &st, '6'))
	case unix.S_IFCHR, unix.S_IFBLK:
		h := p.entry(at, &st, '3')
		if kind(&st) == unix.S_IFBLK {
			h.kind = '4'
		}
		h.major, h.minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
		err = p.special(dirfd, at, h)
	default:
		err = errors.New("type of file is unknown")
	}
	if err != nil {
		return p.fail("pack", at, err)
	}
	if st.Nlink > 1 {
		p.links[key] = entryName(at)
	}
	return nil
}

func (p *packer) special(dirfd int, at []string, h *header) error {
	if a := attrsOfNode(dirfd, at[len(at)-1]); a != nil {
		if err := p.xattrs(h, a); err != nil {
			return err
		}
	}
	return h.write(p.out)
}

func (p *packer) file(dirfd int, at []string, st *unix.Stat_t) error {
	f, err := openFile(dirfd, at[len(at)-1])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), st); err != nil {
		return err
	}
	if kind(st) != unix.S_IFREG {
		return errors.New("it became something else")
	}
	h := p.entry(at, st, '0')
	if flags := lettersOf(flagsOf(int(f.Fd()))); flags != "" {
		h.pax[paxFlags] = flags
	}
	if err := p.xattrs(h, fdAttrs(f.Fd())); err != nil {
		return err
	}
	data := []span{{0, st.Size}}
	if int64(st.Blocks)*512 < st.Size && fsType(f) != zfsMagic {
		if data, err = dataIn(f, st.Size); err != nil {
			return err
		}
	}
	h.size = st.Size
	where := ""
	if len(data) != 1 || data[0] != (span{0, st.Size}) {
		// GNU tar's sparse format 1.0: before the data a list of where they are.
		name := h.name
		h.name = "./GNUSparseFile.0/" + at[len(at)-1]
		for k, v := range map[string]string{"major": "1", "minor": "0", "name": name, "realsize": strconv.FormatInt(st.Size, 10)} {
			h.pax["GNU.sparse."+k] = v
		}
		list := strings.Builder{}
		fmt.Fprintf(&list, "%d\n", len(data))
		h.size = 0
		for _, d := range data {
			fmt.Fprintf(&list, "%d\n%d\n", d.from, d.size)
			h.size += d.size
		}
		list.WriteString(strings.Repeat("\x00", (tarBlock-list.Len()%tarBlock)%tarBlock))
		where = list.String()
		h.size += int64(len(where))
	}
	if err := h.write(p.out); err != nil {
		return err
	}
	if _, err := io.WriteString(p.out, where); err != nil {
		return err
	}
	for _, d := range data {
		for from, left := d.from, d.size; left > 0; {
			n, err := f.ReadAt(p.buf[:min(left, int64(len(p.buf)))], from)
			if n == 0 {
				if err == io.EOF {
					err = errors.New("it became shorter meanwhile")
				}
				return err
			}
			if _, err := p.out.Write(p.buf[:n]); err != nil {
				return err
			}
			from, left = from+int64(n), left-int64(n)
			p.res.Bytes += int64(n)
			p.tell()
		}
	}
	return pad(p.out, h.size)
}

type span struct{ from, size int64 }

// dataIn is where a file has data. A hole at its end is an empty span there.
func dataIn(f *os.File, size int64) ([]span, error) {
	var list []span
	for at := int64(0); at < size; {
		from, err := f.Seek(at, seekData)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return append(list, span{at, size - at}), nil // knows no holes
		}
		to, err := f.Seek(from, seekHole)
		if err != nil {
			return nil, err
		}
		if to = min(to, size); from < to {
			list = append(list, span{from, to - from})
		}
		at = max(to, at+1)
	}
	if n := len(list); n == 0 || list[n-1].from+list[n-1].size < size {
		list = append(list, span{size, 0})
	}
	return list, nil
}

func (p *packer) entry(at []string, st *unix.Stat_t, kind byte) *header {
	sec, nsec := st.Mtim.Unix()
	return &header{name: entryName(at), kind: kind, mode: uint32(st.Mode) & 0o7777, uid: st.Uid, gid: st.Gid,
		sec: sec, nsec: nsec, pax: map[string]string{"atime": paxTime(st.Atim.Unix())}}
}

func entryName(at []string) string {
	if len(at) == 0 {
		return "."
	}
	return "./" + join(at)
}

func (p *packer) xattrs(h *header, a attrs) error {
	list, err := names(a)
	if err != nil {
		return err
	}
	for _, name := range list {
		if ofStore(name) {
			continue
		}
		v, err := value(a, name)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if strings.Contains(name, "=") {
			return fmt.Errorf("attribute %s: no archive can hold one of that name", name)
		}
		h.pax[paxXattr+name] = string(bytes.Clone(v))
	}
	return nil
}

func (p *packer) tell() {
	if now := time.Now(); p.o.Progress != nil && now.Sub(p.said) > 100*time.Millisecond {
		p.said = now
		p.o.Progress(Progress{p.res.Files, p.res.Bytes})
	}
}

func (p *packer) fail(verb string, at []string, err error) error {
	return fmt.Errorf("cannot %s %s: %w", verb, "/"+join(at), err)
}
