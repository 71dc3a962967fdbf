package manifest

import (
	"errors"

	"golang.org/x/sys/unix"
)

// notDir says that a path cannot lead anywhere as it is.
func notDir(err error) bool {
	return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
