//go:build linux || freebsd

package share

import (
	"os"

	"golang.org/x/sys/unix"
)

// sameLink compares two links of one name.
func sameLink(a, b *os.File, name string) bool {
	x, y := make([]byte, unix.PathMax), make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(a.Fd()), name, x)
	m, err2 := unix.Readlinkat(int(b.Fd()), name, y)
	return err == nil && err2 == nil && n < len(x) && string(x[:n]) == string(y[:m])
}
