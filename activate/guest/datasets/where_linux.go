package datasets

import (
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// zfsMagic is ZFS_SUPER_MAGIC of OpenZFS, which is not in linux/magic.h.
const zfsMagic = 0x2fc12fc1

func onZFS(dir string) bool { return fileSystem(dir) == zfsMagic }

func fileSystem(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Type)
}

// comesAndGoes says that dir is within root where that is, or may become, one of
// several boot environments: another has another dir, or none.
func comesAndGoes(root, dir string) bool {
	switch fileSystem(root) {
	case zfsMagic:
		return sameFileSystem(root, dir)
	case unix.BTRFS_SUPER_MAGIC:
		// A subvolume that is below the root's without being mounted is part of it.
		return sameFileSystem(root, dir) || mountPoint(root) == mountPoint(dir)
	}
	return false
}

func sameFileSystem(a, b string) bool {
	var sa, sb unix.Stat_t
	return unix.Stat(a, &sa) == nil && unix.Stat(b, &sb) == nil && sa.Dev == sb.Dev
}

// mountPoint is where what holds path is mounted.
func mountPoint(path string) (at string) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return ""
	}
	for _, m := range mounts {
		if len(m.Mountpoint) > len(at) {
			at = m.Mountpoint
		}
	}
	return at
}
