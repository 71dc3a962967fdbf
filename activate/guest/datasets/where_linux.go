package datasets

import "golang.org/x/sys/unix"

// zfsMagic is ZFS_SUPER_MAGIC of OpenZFS, which is not in linux/magic.h.
const zfsMagic = 0x2fc12fc1

func onZFS(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && int64(fs.Type) == zfsMagic
}

func sameFileSystem(a, b string) bool {
	var sa, sb unix.Stat_t
	return unix.Stat(a, &sa) == nil && unix.Stat(b, &sb) == nil && sa.Dev == sb.Dev
}
