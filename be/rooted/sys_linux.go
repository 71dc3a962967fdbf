package rooted

import (
	"errors"

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
