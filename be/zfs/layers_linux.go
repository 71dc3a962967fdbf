package zfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"beadm/be/blockdev"
)

// sysBlock has a link to each block device (sysfs(5));
// tests have another.
var sysBlock = "/sys/dev/block"

// layers are what the devices of a pool are made of.
func layers(devices []string) (names []string, err error) {
	var gone error
	seen, hidden := false, false
	for _, dev := range devices {
		var st unix.Stat_t
		err := unix.Stat(dev, &st)
		if errors.Is(err, unix.ENOENT) {
			// Pulled out, which the pool notices at the next error of it, or known
			// to it by a name of the initramfs.
			gone = errors.Join(gone, fmt.Errorf("%s: %w", dev, err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dev, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			seen = true
			continue
		}
		sys, err := filepath.EvalSymlinks(fmt.Sprintf("%s/%d:%d", sysBlock, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
		if errors.Is(err, fs.ErrNotExist) {
			hidden = true // a name in /dev that outlived its disk, or no sysfs here
			continue
		}
		if err != nil {
			return nil, err
		}
		seen = true
		below, err := blockdev.Layers(sys)
		if err != nil {
			return nil, err
		}
		names = append(names, below...)
	}
	switch {
	case !seen && hidden:
		return []string{blockdev.Unknown}, nil
	case !seen:
		return nil, gone
	}
	return names, nil
}
