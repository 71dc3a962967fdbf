//go:build linux || freebsd

package rooted

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// getXattrs returns all attributes of an open file; empty where its file
// system has none.
func getXattrs(fd int) (map[string][]byte, error) {
	names, err := listXattrs(fd)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	attrs := make(map[string][]byte, len(names))
	for _, name := range names {
		for {
			n, err := unix.Fgetxattr(fd, name, nil)
			if errors.Is(err, noXattr) {
				break
			}
			if err != nil {
				return nil, err
			}
			buf := make([]byte, n)
			n, err = unix.Fgetxattr(fd, name, buf)
			if errors.Is(err, unix.ERANGE) || errors.Is(err, noXattr) { // changed between
				continue
			}
			if err != nil {
				return nil, err
			}
			attrs[name] = buf[:n]
			break
		}
	}
	return attrs, nil
}

func listXattrs(fd int) ([]string, error) {
	for {
		n, err := unix.Flistxattr(fd, nil)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil
		}
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = unix.Flistxattr(fd, buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var names []string
		for _, name := range strings.Split(string(buf[:n]), "\x00") {
			if name != "" {
				names = append(names, name)
			}
		}
		return names, nil
	}
}

// setXattrs gives an open file exactly these attributes.
func setXattrs(fd int, want map[string][]byte) error {
	names, err := listXattrs(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, keep := want[name]; keep || strings.HasPrefix(name, "security.selinux") {
			continue // a label can be changed, not taken away
		}
		if err := unix.Fremovexattr(fd, name); err != nil && !errors.Is(err, noXattr) {
			return err
		}
	}
	for name, value := range want {
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return err
		}
	}
	return nil
}
