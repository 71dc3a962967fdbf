package rooted

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func syncfs(fd int) error { return unix.Syncfs(fd) }

func renameNoReplace(fromfd int, from string, tofd int, to string) error {
	return unix.Renameat2(fromfd, from, tofd, to, unix.RENAME_NOREPLACE)
}

func exchange(afd int, a string, bfd int, b string) error {
	err := unix.Renameat2(afd, a, bfd, b, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return errors.ErrUnsupported
	}
	return err
}

// parentAtOnce opens the directory of the last component of path in one step.
// Where it cannot, for whatever reason, the walk says why.
func (r *Root) parentAtOnce(path string, follow bool) (dirfd int, name string, ok bool) {
	if follow || r.avoid != nil {
		return 0, "", false
	}
	parts := split(path)
	n := len(parts) - 1
	if n < 1 || slices.Contains(parts, "..") {
		return 0, "", false
	}
	dirfd, err := unix.Openat2(r.Fd(), strings.Join(parts[:n], "/"), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	return dirfd, parts[n], err == nil
}
