package boot

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// Initrd is what was read in passing of an initrd that is whole.
type Initrd struct {
	HostID   []byte   // its /etc/hostid; nil if there is none
	Modprobe Modprobe // what modprobe reads there
	Unread   bool     // not all of it could be read: a packer is not on this machine
}

// hostIDFile is what an initramfs has of the host's identity (zgenhostid(8)).
const hostIDFile = "etc/hostid"

// image is an initrd that is read. What is found in it goes to inside.
type image struct {
	*io.SectionReader
	inside *Initrd
}

// CheckWhole says, as an error of kind be.Unbootable, why the kernel and the
// initrd that FindKernel found cannot be whole. A loader starts a kernel that
// is cut short or has a wrong byte, and that stops where no panic= and no
// timer of ours is heard: here is the last place to notice it.
//
// An x86 kernel is held against the size and the checksum that it carries. An
// initrd is unpacked, by this program or by the packer's own if this machine
// has it; else only its beginning is looked at. What is of interest in it comes
// back.
func CheckWhole(ctx context.Context, rootDir, kernel, initrd string) (Initrd, error) {
	var inside Initrd
	root, err := rooted.Open(rootDir)
	if err != nil {
		return inside, fmt.Errorf("cannot look at the kernel: %w", err)
	}
	defer root.Close()
	for _, c := range []struct {
		what, path string
		check      func(context.Context, *os.File) error
	}{
		{"kernel", kernel, wholeKernel},
		{"initrd", initrd, func(ctx context.Context, file *os.File) error { return wholeInitrd(ctx, file, &inside) }},
	} {
		file, err := root.OpenNoFollow(c.path)
		if err != nil {
			return inside, be.E(be.Unbootable, "%s %s cannot be read: %w", c.what, c.path, err)
		}
		err = c.check(ctx, file)
		file.Close()
		if ctx.Err() != nil {
			return inside, ctx.Err()
		}
		if err != nil {
			return inside, be.E(be.Unbootable, "%s %s is damaged: %w", c.what, c.path, err)
		}
	}
	return inside, nil
}

// wholeKernel knows x86 (Linux, Documentation/arch/x86/boot.rst); of others it
// believes what FindKernel saw.
func wholeKernel(_ context.Context, file *os.File) error {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		return nil
	}
	return wholeBzImage(file)
}

func wholeBzImage(file *os.File) error {
	release, _, err := readRelease(file)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
	if err != nil {
		return err
	}
	if len(data) < 0x268 || binary.LittleEndian.Uint16(data[0x1fe:]) != 0xaa55 || string(data[0x202:0x206]) != "HdrS" {
		return errors.New("it does not begin as a kernel")
	}
	setup := int64(data[0x1f1])
	if setup == 0 {
		setup = 4
	}
	end := (setup+1)*512 + int64(binary.LittleEndian.Uint32(data[0x1f4:]))*16
	if end > int64(len(data)) {
		return fmt.Errorf("it has %d bytes and should have %d", len(data), end)
	}
	// The checksum came with protocol 2.08 and went with Linux 6.15.
	if binary.LittleEndian.Uint16(data[0x206:]) < 0x208 || release == "" || compareVersions(release, "6.15") >= 0 {
		return nil
	}
	// It was made before the kernel was signed: what a signature changes is
	// taken as it was, all zeros (the PE header's CheckSum and Certificate
	// Table).
	if pe := int(binary.LittleEndian.Uint32(data[0x3c:])); string(data[:2]) == "MZ" && pe > 0 && pe < len(data)-192 && string(data[pe:pe+4]) == "PE\x00\x00" {
		table := pe + 24 + 96 + 4*8
		if binary.LittleEndian.Uint16(data[pe+24:]) == 0x20b { // PE32+
			table += 16
		}
		clear(data[pe+24+64 : pe+24+68])
		clear(data[table : table+8])
	}
	// Documented as 0, before the final inversion that everybody makes.
	if crc32.ChecksumIEEE(data[:end]) != 0xffffffff {
		return errors.New("its checksum is wrong")
	}
	return nil
}

// unknown is where an archive ends of which only its packer could tell.
const unknown = -1

// packers are the compressions of an initramfs (Linux, lib/decompress.c). Each
// reads the archive that begins at an offset, to the end of its checksums,
// and returns where that end is.
var packers = []struct {
	magic  string
	unpack func(ctx context.Context, in image, at int64) (end int64, err error)
}{
	{"\x1f\x8b", unpackGzip},
	{"BZh", unpackBzip2},
	{zstdMagic, unpackZstd},
	{"\xfd7zXZ\x00", unpackXz},
	{"\x5d\x00\x00", unpackLzma},
	{lz4Magic, unpackLz4},
	{"\x89LZO", unpackLzop},
}

var errNoArchive = errors.New("it begins as no archive that a kernel reads")

// wholeInitrd reads an initrd as the kernel does (Linux, init/initramfs.c,
// unpack_to_rootfs): plain and packed archives in any order, and zeros between
// and behind them. Behind a packed archive it stops, content, where it cannot
// know what comes: the system is unpacked, and a tail may be another's matter.
func wholeInitrd(ctx context.Context, file *os.File, inside *Initrd) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	in := image{io.NewSectionReader(file, 0, info.Size()), inside}
	at, packed := int64(0), false
	for n := 0; at != unknown; n++ {
		end, isPacked, err := wholeArchive(ctx, in, at)
		switch {
		case err == io.EOF && n == 0:
			return errors.New("it holds nothing")
		case err == io.EOF, err == errNoArchive && packed:
			return nil
		case err != nil:
			return err
		}
		at, packed = end, packed || isPacked
	}
	inside.Unread = true
	return nil
}

// wholeArchive reads the one archive that begins behind the zeros at an offset
// of an initrd; io.EOF if only zeros are left.
func wholeArchive(ctx context.Context, in image, at int64) (end int64, packed bool, err error) {
	c := countFrom(in, at)
	head, err := c.skipZeros()
	if err != nil {
		return 0, false, err
	}
	// The kernel sees a plain archive only where it is aligned.
	if isCpio(head) && c.n%4 == 0 {
		err := c.skipCpio()
		return c.n, false, err
	}
	for _, p := range packers {
		if !bytes.HasPrefix(head, []byte(p.magic)) {
			continue
		}
		if len(head) < 8 {
			return 0, true, errors.New("it is cut short")
		}
		end, err := p.unpack(ctx, in, c.n)
		return end, true, err
	}
	return 0, false, errNoArchive
}

func unpackGzip(_ context.Context, in image, at int64) (int64, error) {
	// Not through a counter: it is read a byte at a time.
	file := from(in, at)
	packed := bufio.NewReaderSize(file, bufferSize)
	u, err := gzip.NewReader(packed)
	if err != nil {
		return 0, cutShort(err)
	}
	// What is behind need not be another of gzip.
	u.Multistream(false)
	err = in.drained(u)
	read, _ := file.Seek(0, io.SeekCurrent)
	return at + read - int64(packed.Buffered()), err
}

func unpackBzip2(_ context.Context, in image, at int64) (int64, error) {
	// The library looks behind the last checksum for two bytes that begin
	// another archive. With these there, it always finds that they do not,
	// and says so only of an archive that is whole.
	const behind = "\x00\x00"
	c := &counter{r: bufio.NewReaderSize(io.MultiReader(from(in, at), strings.NewReader(behind)), bufferSize), n: at}
	err := in.drained(bzip2s{bzip2.NewReader(c)})
	return c.n - int64(len(behind)), err
}

// bzip2s ends where the last of adjoining bzip2 archives does.
type bzip2s struct{ r io.Reader }

func (b bzip2s) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == bzip2.StructuralError("bad magic value in continuation file") {
		err = io.EOF
	}
	return n, err
}

// unpackZstd and unpackLz4 give the packer its own bytes only: it would take
// others for damage, and the checksum of zstd comes behind all that it unpacks.
func unpackZstd(ctx context.Context, in image, at int64) (int64, error) {
	return unpackUpTo(ctx, in, at, zstdEnd(in.SectionReader, at), "zstd", "-dcq")
}

func unpackLz4(ctx context.Context, in image, at int64) (int64, error) {
	return unpackUpTo(ctx, in, at, lz4End(in.SectionReader, at), "lz4", "-dcq")
}

func unpackUpTo(ctx context.Context, in image, at, end int64, program ...string) (int64, error) {
	packed := from(in, at)
	if end != unknown {
		packed = io.NewSectionReader(in, at, end-at)
	}
	_, err := in.unpackWith(ctx, program, packed)
	return end, err
}

func unpackXz(ctx context.Context, in image, at int64) (int64, error) {
	return unpackFirst(ctx, in, at, "xz", "-dcq")
}

func unpackLzma(ctx context.Context, in image, at int64) (int64, error) {
	return unpackFirst(ctx, in, at, "xz", "-dcq", "--format=lzma")
}

// unpackFirst tries all that is there, then the first archive alone: busybox's
// xz cannot do the latter.
func unpackFirst(ctx context.Context, in image, at int64, program ...string) (int64, error) {
	_, err := in.unpackWith(ctx, program, from(in, at))
	if err != nil {
		_, err = in.unpackWith(ctx, append(program, "--single-stream"), from(in, at))
	}
	return unknown, err
}

// unpackLzop believes an archive that came up to its trailer, whatever lzop
// says of the rest: lzop checks each block before it writes it.
func unpackLzop(ctx context.Context, in image, at int64) (int64, error) {
	whole, err := in.unpackWith(ctx, []string{"lzop", "-dcq"}, from(in, at))
	if whole {
		err = nil
	}
	return unknown, err
}

const (
	zstdMagic = "\x28\xb5\x2f\xfd"
	lz4Magic  = "\x02\x21\x4c\x18"
)

// zstdEnd is the end of the adjoining zstd frames (RFC 8878, 3.1), or unknown
// if they are none or do not end.
func zstdEnd(in *io.SectionReader, at int64) int64 {
	for {
		magic, ok := readNumber(in, at, 4)
		switch {
		case ok && magic == magicNumber(zstdMagic):
			at = zstdFrameEnd(in, at+4)
		case ok && magic&^0xf == 0x184d2a50: // a skippable frame
			size, _ := readNumber(in, at+4, 4)
			at += 8 + size
		default:
			return at
		}
		if at == unknown || at > in.Size() {
			return unknown
		}
	}
}

// zstdFrameEnd is the end of a frame from behind its magic number.
func zstdFrameEnd(in *io.SectionReader, at int64) int64 {
	descriptor, ok := readNumber(in, at, 1)
	if !ok {
		return unknown
	}
	at += 1 + []int64{0, 1, 2, 4}[descriptor&3] + []int64{0, 2, 4, 8}[descriptor>>6]
	// A single segment has no window, but always a size.
	if single := descriptor&0x20 != 0; !single || descriptor>>6 == 0 {
		at++
	}
	for {
		block, ok := readNumber(in, at, 3)
		if !ok {
			return unknown
		}
		size := block >> 3
		switch block >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3: // reserved
			return unknown
		}
		at += 3 + size
		if block&1 != 0 {
			break
		}
	}
	if descriptor&4 != 0 {
		at += 4 // the checksum
	}
	return at
}

// lz4End is the end of adjoining lz4 archives of the kernel's format, which
// has no end mark: it is where no block can be. Unknown if a block is cut
// short.
func lz4End(in *io.SectionReader, at int64) int64 {
	const unpacked = 8 << 20
	const most = unpacked + unpacked/255 + 16 // LZ4_compressBound
	for {
		size, ok := readNumber(in, at, 4)
		switch {
		case ok && size == magicNumber(lz4Magic):
			at += 4
		case !ok || size == 0 || size > most:
			return at
		default:
			at += 4 + size
		}
		if at > in.Size() {
			return unknown
		}
	}
}

// readNumber reads n bytes, the lowest first; false if they are not there.
func readNumber(in io.ReaderAt, at int64, n int) (int64, bool) {
	b := make([]byte, 4)
	if got, _ := in.ReadAt(b[:n], at); got < n {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint32(b)), true
}

func magicNumber(magic string) int64 {
	return int64(binary.LittleEndian.Uint32([]byte(magic)))
}

func from(in image, at int64) *io.SectionReader {
	return io.NewSectionReader(in, at, in.Size()-at)
}

// drained reads an unpacked archive up to its trailer, and then all that comes:
// the checksums of what was packed are at its end.
func (in image) drained(r io.Reader) error {
	c := &counter{r: bufio.NewReaderSize(r, bufferSize), inside: in.inside}
	head, err := c.r.Peek(6)
	if err != nil {
		return cutShort(err)
	}
	if !isCpio(head) {
		// Drained, so that damage is named rather than what it led to.
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			return cutShort(err)
		}
		return errors.New("no archive is packed in it")
	}
	if err := c.skipCpio(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c.r)
	return cutShort(err)
}

func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("it is cut short")
	}
	return err
}

// unpackWith asks the packer of this machine, not of the boot environment. It
// says too whether the archive came whole even if the packer then failed.
func (in image) unpackWith(ctx context.Context, program []string, packed io.Reader) (whole bool, err error) {
	if _, err := exec.LookPath(program[0]); err != nil {
		in.inside.Unread = true
		return false, nil
	}
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Stdin = packed
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	err = in.drained(out)
	io.Copy(io.Discard, out)
	if werr := cmd.Wait(); werr != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return err == nil, fmt.Errorf("%s cannot unpack it: %s", program[0], line)
	}
	return err == nil, err
}

func isCpio(head []byte) bool {
	return bytes.HasPrefix(head, []byte("070701")) || bytes.HasPrefix(head, []byte("070702"))
}

// counter reads archives of "newc" (cpio(5)), whose parts are aligned to four
// bytes from the file's beginning.
type counter struct {
	r      *bufio.Reader
	n      int64
	inside *Initrd // nil: nothing is kept
}

const bufferSize = 256 << 10

func countFrom(in image, at int64) *counter {
	return &counter{r: bufio.NewReaderSize(from(in, at), bufferSize), n: at, inside: in.inside}
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte keeps an unpacker from reading ahead, which would spoil the count.
func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// skipZeros returns the beginning, up to 8 bytes, of what follows the zeros that may stand between archives.
func (c *counter) skipZeros() ([]byte, error) {
	for {
		b, err := c.r.Peek(1)
		if err != nil {
			return nil, err
		}
		if b[0] != 0 {
			head, _ := c.r.Peek(8)
			return head, nil
		}
		c.r.Discard(1)
		c.n++
	}
}

func (c *counter) discard(n int64) error {
	for n > 0 {
		d, err := c.r.Discard(int(min(n, 1<<20)))
		c.n += int64(d)
		n -= int64(d)
		if err != nil {
			return cutShort(err)
		}
	}
	return nil
}

func (c *counter) align() error { return c.discard((4 - c.n%4) % 4) }

// skipCpio reads one archive up to and with its trailer.
func (c *counter) skipCpio() error {
	for {
		head := make([]byte, 110)
		n, err := io.ReadFull(c.r, head)
		c.n += int64(n)
		if err != nil {
			return cutShort(err)
		}
		var size, nameLen int64
		if _, err := fmt.Sscanf(string(head[54:62])+" "+string(head[94:102]), "%x %x", &size, &nameLen); !isCpio(head) || err != nil || nameLen < 1 || nameLen > 4096 {
			return errors.New("the archive in it is broken")
		}
		name := make([]byte, nameLen)
		n, err = io.ReadFull(c.r, name)
		c.n += int64(n)
		if err != nil {
			return cutShort(err)
		}
		if err := c.align(); err != nil {
			return err
		}
		if string(name) == "TRAILER!!!\x00" {
			return nil
		}
		if err := c.look(string(name[:nameLen-1]), string(head[14:22]), size); err != nil {
			return err
		}
		if err := c.align(); err != nil {
			return err
		}
	}
}

// look reads a file in an archive, and keeps what is asked for.
func (c *counter) look(name, mode string, size int64) error {
	name = path.Clean("/" + name)
	limit := int64(0)
	switch {
	case c.inside == nil:
	case name == "/"+hostIDFile:
		limit = 4096
	case modprobeFile.MatchString(name):
		limit = 64 << 10
	}
	if limit == 0 || size > limit {
		return c.discard(size)
	}
	data := make([]byte, size)
	n, err := io.ReadFull(c.r, data)
	c.n += int64(n)
	if err != nil {
		return cutShort(err)
	}
	if m, err := strconv.ParseUint(mode, 16, 32); err != nil || m&0o170000 != 0o100000 {
		return nil
	}
	if name == "/"+hostIDFile {
		c.inside.HostID = data
		return nil
	}
	if c.inside.Modprobe == nil {
		c.inside.Modprobe = Modprobe{}
	}
	c.inside.Modprobe[name] = data
	return nil
}
