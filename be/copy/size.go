package copier

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// compressed is how much smaller ZFS is taken to make what it holds, at most.
const compressed = 16

// NextData is where behind at the next bytes are that are not in a hole, as far
// as the file system says so; size if there are none before that.
func NextData(f *os.File, at, size int64) int64 {
	if fsType(f) == zfsMagic { // see DataSize
		return at
	}
	from, err := unix.Seek(int(f.Fd()), at, seekData)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size
	case err != nil:
		return at
	}
	return min(from, size)
}

// DataSize is how many bytes of a file of that size a copy of it writes: all
// but its holes, where the file system knows them. On ZFS it is an estimate
// from what the file takes there, and lacks what was written in the last
// seconds. It moves the offset of f.
func DataSize(f *os.File, size int64) (int64, error) {
	if fsType(f) == zfsMagic {
		// A seek for a hole in a file that was just written waits until three
		// groups of transactions are on the disk (dmu_offset_next): where the
		// processor or the pool is busy, a minute for one journal. What takes
		// much less than its size has holes; less than that is compression,
		// which the copy may be without.
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return 0, err
		}
		return min(size, compressed*512*int64(st.Blocks)), nil
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
