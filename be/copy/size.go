package copier

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// DataSize is how many bytes of a file of that size a copy of it writes: all
// but its holes, where the file system knows them. It moves the offset of f.
func DataSize(f *os.File, size int64) (int64, error) {
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
