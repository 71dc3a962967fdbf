package activate

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/zfs"
)

// source is what a boot environment is imported from.
type source struct {
	stream bool      // of ZFS
	in     io.Reader // a stream or an archive, unpacked
	tree   *os.File  // or a directory
	what   *carrier
	undo   []func()
}

func (s *source) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
}

// openSource finds out by its first bytes what it is.
func (s *Session) openSource(ctx context.Context, opts ImportOptions, doing string) (_ *source, err error) {
	src := &source{what: &carrier{name: doing, tell: opts.Progress, ctx: ctx}}
	src.undo = append(src.undo, src.what.done)
	defer func() {
		if err != nil {
			src.close()
		}
	}()
	file := opts.In
	if opts.From != "" {
		if file, err = os.Open(opts.From); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil, be.E(be.NotFound, "%w", err)
			}
			return nil, err
		}
		src.undo = append(src.undo, func() { file.Close() })
		if info, err := file.Stat(); err != nil {
			return nil, err
		} else if info.IsDir() {
			src.tree = file
			return src, nil
		}
	}
	src.what.r = file
	plain := bufio.NewReaderSize(src.what, 256<<10)
	head, err := plain.Peek(imageHead)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 0 {
		return nil, be.E(be.Usage, "there is nothing in it: an export, an archive, a directory or an image is wanted")
	}
	in, closing, err := decompressed(plain, head)
	if err != nil {
		return nil, damaged(err)
	}
	if closing != nil {
		src.undo = append(src.undo, closing)
	}
	if in != plain {
		if head, err = in.Peek(imageHead); err != nil && err != io.EOF {
			return nil, damaged(err)
		}
	}
	switch {
	case zfs.IsStream(head):
		src.stream, src.in = true, in
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		src.in = in
	case in != plain:
		return nil, be.E(be.Usage, "what is compressed in it is no export and no archive (tar); an image has to be decompressed first")
	case opts.From == "":
		return nil, be.E(be.Usage, "it is no export and no archive (tar), compressed or not; give an image or a directory with -f")
	default:
		return src, s.openImage(ctx, src, opts.From, file)
	}
	return src, nil
}

func damaged(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return be.E(be.Undone, "it is cut off: its end is missing; nothing was changed")
	}
	return be.E(be.Undone, "it is damaged: %w; nothing was changed", err)
}

// imageHead is what has to be seen of a file to know what it is.
const imageHead = 512

// decompressed reads what gzip, xz, zstd or bzip2 compressed, and anything else
// as it is.
func decompressed(r *bufio.Reader, head []byte) (*bufio.Reader, func(), error) {
	begins := func(magic string) bool { return len(head) >= len(magic) && string(head[:len(magic)]) == magic }
	var in io.Reader
	var closing func()
	var err error
	switch {
	case begins("\x1f\x8b"):
		in, err = gzip.NewReader(r)
	case begins("\xfd7zXZ\x00"):
		in, err = xz.NewReader(r)
	case begins("\x28\xb5\x2f\xfd"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			in, closing = d, d.Close
		}
	case begins("BZh"):
		in = bzip2.NewReader(r)
	default:
		return r, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return bufio.NewReaderSize(in, 256<<10), closing, nil
}

// fill makes in f what the source holds.
func (s *source) fill(ctx context.Context, f be.Filling) (about copier.Archive, err error) {
	dst, err := os.Open(f.Dir)
	if err != nil {
		return about, fmt.Errorf("cannot open what is to be filled: %w", err)
	}
	defer dst.Close()
	options := copier.Options{Progress: s.what.files}
	var res copier.Result
	if s.tree != nil {
		if err := outside(s.tree, dst); err != nil {
			return about, err
		}
		res, err = copier.Tree(ctx, s.tree, dst, options)
	} else {
		about, res, err = copier.Unpack(ctx, s.in, dst, f.Part, options)
	}
	if err == nil && res.Files == 0 {
		err = errors.New("there is nothing in it")
	}
	return about, err
}

// outside refuses a directory that what is being made is in, which would be
// copied into itself for ever.
func outside(src, dst *os.File) error {
	var from, last unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &from); err != nil {
		return err
	}
	fd, err := unix.Openat(int(dst.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for {
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &st)
		}
		same := func(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }
		switch {
		case err != nil:
			return fmt.Errorf("cannot see what %s is in: %w", dst.Name(), err)
		case same(&st, &from):
			unix.Close(fd)
			return be.E(be.Usage, "%s holds the boot environments themselves", src.Name())
		case same(&st, &last):
			return unix.Close(fd)
		}
		last = st
		next, oerr := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		fd, err = next, oerr
	}
}
