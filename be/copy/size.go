package copier

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// DataSize is how many bytes of a file of that size a copy of it writes: all
// but its holes, where the file system knows them. On ZFS it is what the file
// takes there, compressed, without what was written in the last seconds. It
// moves the offset of f.
func DataSize(f *os.File, size int64) (int64, error) {
	if fsType(f) == zfsMagic {
		// Each seek in a file that somebody writes waits until three groups of
		// transactions are on the disk (dmu_offset_next), for every hole anew: a
		// journal on a busy pool takes minutes.
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return 0, err
		}
		return min(size, int64(st.Blocks)*512), nil
	}
	var data int64
	for at := int64(0); at < size; {
		from, err := f.Seek(at, seekData)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole is left
		}
		if err != nil {
			return data + size - at, nil // knows no holes
		}
		to, err := f.Seek(from, seekHole)
		if errors.Is(err, unix.ENXIO) { // cut off since
			break
		}
		if err != nil {
			return data, err
		}
		data, at = data+min(to, size)-min(from, size), to
	}
	_, err := f.Seek(0, io.SeekStart)
	return data, err
}
