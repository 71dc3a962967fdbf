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
	"runtime"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// CheckWhole says, as an error of kind be.Unbootable, why the kernel and the
// initrd that FindKernel found cannot be whole. A loader starts a kernel that
// is cut short or has a wrong byte, and that stops where no panic= and no
// timer of ours is heard: here is the last place to notice it.
//
// An x86 kernel is held against the size and the checksum that it carries. An
// initrd is unpacked, by this program or by the packer's own if this machine
// has it; else only its beginning is looked at.
func CheckWhole(ctx context.Context, rootDir, kernel, initrd string) error {
	root, err := rooted.Open(rootDir)
	if err != nil {
		return fmt.Errorf("cannot look at the kernel: %w", err)
	}
	defer root.Close()
	for _, c := range []struct {
		what, path string
		check      func(context.Context, *os.File) error
	}{
		{"kernel", kernel, wholeKernel},
		{"initrd", initrd, wholeInitrd},
	} {
		file, err := root.OpenNoFollow(c.path)
		if err != nil {
			return be.E(be.Unbootable, "%s %s cannot be read: %w", c.what, c.path, err)
		}
		err = c.check(ctx, file)
		file.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return be.E(be.Unbootable, "%s %s is damaged: %w", c.what, c.path, err)
		}
	}
	return nil
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

// packers are the compressions of an initramfs (Linux, lib/decompress.c).
var packers = []struct {
	magic   string
	open    func(io.Reader) (io.Reader, error)
	program []string
}{
	{magic: "\x1f\x8b", open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{magic: "BZh", open: func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{magic: "\x28\xb5\x2f\xfd", program: []string{"zstd", "-dcq"}},
	{magic: "\xfd7zXZ\x00", program: []string{"xz", "-dcq"}},
	{magic: "\x5d\x00\x00", program: []string{"xz", "-dcq", "--format=lzma"}},
	{magic: "\x02\x21\x4c\x18", program: []string{"lz4", "-dcq"}},
	{magic: "\x89LZO", program: []string{"lzop", "-dcq"}},
}

// wholeInitrd reads plain archives, as those with a processor's microcode, up
// to the first that is packed, and unpacks that.
func wholeInitrd(ctx context.Context, file *os.File) error {
	r := &counter{r: bufio.NewReaderSize(file, 256<<10)}
	plain := 0
	for {
		head, err := r.skipZeros()
		if err == io.EOF && plain > 0 {
			return nil
		}
		if err == io.EOF {
			return errors.New("it holds nothing")
		}
		if err != nil {
			return err
		}
		if !isCpio(head) {
			break
		}
		if err := r.skipCpio(); err != nil {
			return err
		}
		plain++
	}
	head, err := r.r.Peek(8)
	if err != nil {
		return errors.New("it is cut short")
	}
	for _, p := range packers {
		if !strings.HasPrefix(string(head), p.magic) {
			continue
		}
		if p.open == nil {
			return unpackWith(ctx, p.program, r.r)
		}
		u, err := p.open(r.r)
		if err == nil {
			err = drained(u)
		}
		if errors.Is(err, gzip.ErrHeader) {
			err = nil // what follows a whole archive is another's matter
		}
		return err
	}
	return errors.New("it begins as no archive that a kernel reads")
}

// drained reads an unpacked archive to its end.
func drained(r io.Reader) error {
	head := make([]byte, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return cutShort(err)
	}
	if !isCpio(head) {
		return errors.New("no archive is packed in it")
	}
	_, err := io.Copy(io.Discard, r)
	if errors.Is(err, gzip.ErrHeader) {
		return err
	}
	return cutShort(err)
}

func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("it is cut short")
	}
	return err
}

// unpackWith asks the packer of this machine, not of the boot environment.
func unpackWith(ctx context.Context, program []string, packed io.Reader) error {
	if _, err := exec.LookPath(program[0]); err != nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Stdin = packed
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = drained(out)
	io.Copy(io.Discard, out)
	if werr := cmd.Wait(); werr != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s cannot unpack it: %s", program[0], line)
	}
	return err
}

func isCpio(head []byte) bool {
	return bytes.HasPrefix(head, []byte("070701")) || bytes.HasPrefix(head, []byte("070702"))
}

// counter reads archives of "newc" (cpio(5)), whose parts are aligned to four
// bytes from the file's beginning.
type counter struct {
	r *bufio.Reader
	n int64
}

// skipZeros returns what follows the zeros that may stand between archives.
func (c *counter) skipZeros() ([]byte, error) {
	for {
		b, err := c.r.Peek(1)
		if err != nil {
			return nil, err
		}
		if b[0] != 0 {
			head, _ := c.r.Peek(6)
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
		if err := c.discard(size); err != nil {
			return err
		}
		if err := c.align(); err != nil {
			return err
		}
	}
}
