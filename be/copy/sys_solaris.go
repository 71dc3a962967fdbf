package copier

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	seekData = 3
	seekHole = 4
)

func mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dirfd, name, mode, int(dev))
}

// fsType: the root of an illumos system is on ZFS.
func fsType(*os.File) uint64 { return zfsMagic }

// golang.org/x/sys/unix has none of these for illumos yet.

func readlinkat(int, string) (string, error)    { return "", errors.ErrUnsupported }
func symlinkat(string, int, string) error       { return errors.ErrUnsupported }
func linkat(int, string, int, string) error     { return errors.ErrUnsupported }
func nodeXattrs(int, string, int, string) error { return nil }
func copyXattrs(_, _ fdAttrs) error             { return nil }

type fdAttrs int
