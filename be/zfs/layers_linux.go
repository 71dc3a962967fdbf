package zfs

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"beadm/be/blockdev"
)

// layers are what the devices of a pool are made of.
func layers(devices []string) (names []string, err error) {
	var gone error
	seen := false
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
		seen = true
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		sys, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
		if err != nil {
			return nil, err
		}
		below, err := blockdev.Layers(sys)
		if err != nil {
			return nil, err
		}
		names = append(names, below...)
	}
	if !seen {
		return nil, gone
	}
	return names, nil
}
