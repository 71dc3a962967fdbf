package zfs

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"beadm/be/blockdev"
)

// layers are what the devices of a pool are made of.
func layers(devices []string) (names []string, err error) {
	for _, dev := range devices {
		var st unix.Stat_t
		if err := unix.Stat(dev, &st); err != nil {
			return nil, fmt.Errorf("%s: %w", dev, err)
		}
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
	return names, nil
}
