//go:build linux || freebsd

package copier

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// attrs are the extended attributes of something.
type attrs interface {
	list(buf []byte) (int, error)
	get(name string, buf []byte) (int, error)
	set(name string, value []byte) error
	remove(name string) error
}

// fdAttrs are those of an open file or directory.
type fdAttrs int

func (f fdAttrs) list(buf []byte) (int, error) { return unix.Flistxattr(int(f), buf) }
func (f fdAttrs) get(name string, buf []byte) (int, error) {
	return unix.Fgetxattr(int(f), name, buf)
}
func (f fdAttrs) set(name string, value []byte) error {
	return unix.Fsetxattr(int(f), name, value, 0)
}
func (f fdAttrs) remove(name string) error { return unix.Fremovexattr(int(f), name) }

// ofFileSystem are attributes that describe how one kind of file system keeps
// the file, and mean nothing in another.
func ofFileSystem(name string) bool {
	return strings.HasPrefix(name, "btrfs.") || strings.HasPrefix(name, "zfs.")
}

func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP)
}

func names(a attrs) ([]string, error) {
	for {
		n, err := a.list(nil)
		if unsupported(err) || err == nil && n == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = a.list(buf)
		if errors.Is(err, unix.ERANGE) {
			continue // grew meanwhile
		}
		if err != nil {
			return nil, err
		}
		var list []string
		for _, name := range strings.Split(string(buf[:n]), "\x00") {
			if name != "" && !ofFileSystem(name) {
				list = append(list, name)
			}
		}
		return list, nil
	}
}

func value(a attrs, name string) ([]byte, error) {
	for {
		n, err := a.get(name, nil)
		if err != nil {
			return nil, err
		}
		buf := make([]byte, n)
		if n == 0 {
			return buf, nil
		}
		n, err = a.get(name, buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		return buf[:max(n, 0)], err
	}
}

// copyXattrs gives to exactly the attributes of from. Those that a new file
// inherits (a default ACL's) and the source has not are taken away.
func copyXattrs(from, to attrs) error {
	want, err := names(from)
	if err != nil {
		return err
	}
	have, err := names(to)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range want {
		wanted[name] = true
	}
	had := map[string]bool{}
	for _, name := range have {
		had[name] = true
		if wanted[name] || name == "security.selinux" { // a label can be changed, not taken away
			continue
		}
		if err := to.remove(name); err != nil && !errors.Is(err, noXattr) {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	for _, name := range want {
		v, err := value(from, name)
		if errors.Is(err, noXattr) {
			continue // taken away meanwhile, which changed the change time
		}
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if had[name] {
			if now, err := value(to, name); err == nil && bytes.Equal(now, v) {
				continue
			}
		}
		if err := to.set(name, v); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}
