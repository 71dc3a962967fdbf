package copier

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const noXattr = unix.ENODATA

// pathAttrs are those of a name that is not followed.
type pathAttrs string

func (p pathAttrs) list(buf []byte) (int, error) { return unix.Llistxattr(string(p), buf) }
func (p pathAttrs) get(name string, buf []byte) (int, error) {
	return unix.Lgetxattr(string(p), name, buf)
}
func (p pathAttrs) set(name string, value []byte) error {
	return unix.Lsetxattr(string(p), name, value, 0)
}
func (p pathAttrs) remove(name string) error { return unix.Lremovexattr(string(p), name) }

// nodeXattrs copies the attributes of what cannot be opened. The kernel has
// no *xattrat before 6.13: the open directory is reached through /proc.
func nodeXattrs(src int, from string, dst int, to string) error {
	return copyXattrs(attrsOfNode(src, from), attrsOfNode(dst, to))
}

func attrsOfNode(dirfd int, name string) attrs {
	return pathAttrs(fmt.Sprintf("/proc/self/fd/%d/%s", dirfd, name))
}
