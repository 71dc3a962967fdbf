package zfs

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// readLabel reads past the cache of the block device: the kernel's ZFS writes
// past it, and what udev read before the import may still be in it.
func readLabel(disk string) ([]byte, error) {
	f, err := os.OpenFile(disk, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// O_DIRECT wants memory that is aligned, as a mapping is.
	buf, err := unix.Mmap(-1, 0, labelSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(buf)
	b, err := readFull(f, buf)
	return slices.Clone(b), err
}
