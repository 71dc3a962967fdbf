//go:build !linux

package zfs

import "os"

// readLabel reads the disk's raw device, which has no cache.
func readLabel(disk string) ([]byte, error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFull(f, make([]byte, labelSize))
}
