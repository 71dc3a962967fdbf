//go:build linux || freebsd

package copier

import "golang.org/x/sys/unix"

func readlinkat(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func symlinkat(target string, dirfd int, name string) error {
	return unix.Symlinkat(target, dirfd, name)
}

func linkat(fromfd int, from string, tofd int, to string) error {
	return unix.Linkat(fromfd, from, tofd, to, 0)
}
