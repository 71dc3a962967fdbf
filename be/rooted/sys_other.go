//go:build !linux

package rooted

import (
	"errors"

	"golang.org/x/sys/unix"
)

// syncfs is Linux's; sync(2) does more than is asked.
func syncfs(int) error { return unix.Sync() }

// renameNoReplace looks first. Between the look and the rename another
// process could make the name; where it is used, none runs in the tree.
func renameNoReplace(fromfd int, from string, tofd int, to string) error {
	if _, err := fstatat(tofd, to); err == nil {
		return unix.EEXIST
	} else if err != unix.ENOENT {
		return err
	}
	return unix.Renameat(fromfd, from, tofd, to)
}

func exchange(int, string, int, string) error { return errors.ErrUnsupported }

// parentAtOnce is Linux's.
func (r *Root) parentAtOnce(string, bool) (dirfd int, name string, ok bool) { return 0, "", false }
