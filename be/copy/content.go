package copier

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settled is the age after which the kernel has surely written back a page
// that was changed through a mapping (30 s by default), and will see the next
// store into it.
const settled = 10 * time.Minute

const zfsMagic = 0x2fc12fc1

// file copies a regular file to the name temp in dst and sets *st to what was
// copied.
func (c *Copier) file(src, dst int, temp string, at []string, st *unix.Stat_t) error {
	in, err := openFile(src, at[len(at)-1])
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		err = unix.ENOENT // became a link, a socket
	}
	if err != nil {
		return c.fail("open", at, err)
	}
	defer in.Close()
	if err := unix.Fstat(int(in.Fd()), st); err != nil {
		return c.fail("stat", at, err)
	}
	if kind(st) != unix.S_IFREG {
		return c.fail("open", at, unix.ENOENT)
	}
	if c.live {
		// A store through a mapping changes the change time only when it
		// dirties a clean page. Writing the dirty ones back makes the next
		// store show, so that a later pass does not take the file for copied.
		sec, nsec := ctime(st)
		if time.Since(time.Unix(sec, nsec)) < settled {
			if err := unix.Fsync(int(in.Fd())); err != nil && !errors.Is(err, unix.EROFS) {
				return c.fail("sync", at, err)
			}
			if err := unix.Fstat(int(in.Fd()), st); err != nil {
				return c.fail("stat", at, err)
			}
		}
	}
	fd, err := unix.Openat(dst, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return c.fail("make the copy of", at, err)
	}
	out := os.NewFile(uintptr(fd), temp)
	defer out.Close()
	// First: they cannot be changed once there is content, and where they differ
	// no content can be shared.
	flags := flagsOf(int(in.Fd()))
	if err := setFlags(fd, flags, flagsOfContent|flagsOfUse); err != nil {
		return c.fail("set the attributes of the copy of", at, err)
	}
	c.guarded(at, flags)
	if err := c.content(in, out, st); err != nil {
		return c.fail("copy", at, err)
	}
	if err := setAttr(int(in.Fd()), int(out.Fd()), st); err != nil {
		return c.fail("set the attributes of the copy of", at, err)
	}
	if err := unix.UtimesNanoAt(dst, temp, times(st), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.fail("set the times of the copy of", at, err)
	}
	// Recorded as it was before the first byte was read: whatever was written
	// since then makes it another file for the next pass.
	c.next.add(at, st, true)
	var now unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &now); err != nil {
		return c.fail("stat", at, err)
	}
	if !(&seen{Ino: st.Ino, Sec: sec(st), Nsec: nsec(st), Size: st.Size, Mode: uint32(st.Mode), Trust: true}).same(&now) {
		c.changed(at)
	}
	return nil
}

func (c *Copier) content(in, out *os.File, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	if c.fsrc == zfsMagic {
		// OpenZFS before 2.1.14 and 2.2.2 can report a hole where data was
		// written a moment ago, and clone wrongly (CVE-2023-49298). There
		// every byte is read, and blocks of zeros become holes, which is what
		// ZFS itself makes of them.
		return c.zeros(in, out, st.Size)
	}
	if clone(in, out) {
		c.res.Bytes += st.Size
		return nil
	}
	if int64(st.Blocks)*512 >= st.Size {
		return c.span(in, out, 0, st.Size)
	}
	if err := out.Truncate(st.Size); err != nil {
		return err
	}
	for at := int64(0); at < st.Size; {
		from, err := in.Seek(at, seekData)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole is left
		}
		if err != nil {
			return c.span(in, out, at, st.Size) // knows no holes
		}
		to, err := in.Seek(from, seekHole)
		if errors.Is(err, unix.ENXIO) { // cut off since
			return nil
		}
		if err != nil {
			return err
		}
		if to > st.Size { // appended to since; the next pass has it
			to = st.Size
		}
		if from >= to {
			return nil
		}
		if err := c.span(in, out, from, to); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// span copies the bytes from..to, or as many of them as are still there.
func (c *Copier) span(in, out *os.File, from, to int64) error {
	for from < to {
		n, err := copyRange(in, out, from, int(min(to-from, 64<<20)))
		if err != nil {
			break
		}
		if n == 0 {
			// The end, or a file whose size says nothing: read(2) knows.
			break
		}
		from += int64(n)
		c.res.Bytes += int64(n)
		c.tell()
	}
	for from < to {
		n, err := c.read(in, from, to)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.WriteAt(c.buf[:n], from); err != nil {
			return err
		}
		from += int64(n)
		c.res.Bytes += int64(n)
		c.tell()
	}
	return nil
}

func (c *Copier) read(in *os.File, from, to int64) (int, error) {
	if c.buf == nil {
		c.buf = make([]byte, 1<<20)
	}
	n, err := in.ReadAt(c.buf[:min(to-from, int64(len(c.buf)))], from)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// zeros copies and leaves a hole for each block of zeros.
func (c *Copier) zeros(in, out *os.File, size int64) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		n, err := c.read(in, at, size)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		const block = 4096
		for i := 0; i < n; i += block {
			b := c.buf[i:min(i+block, n)]
			if allZero(b) {
				continue
			}
			if _, err := out.WriteAt(b, at+int64(i)); err != nil {
				return err
			}
		}
		at += int64(n)
		c.res.Bytes += int64(n)
		c.tell()
	}
	return nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
