package copier

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Node copies the file, link, FIFO, socket or device name in src to the name
// to in dst, which must not be there: then the error is fs.ErrExist and
// nothing happened. A file cut off by a crash never has that name. It is not
// synced. o.Link, if set, is given name as the path.
func Node(src *os.File, name string, dst *os.File, to string, o Options) error {
	c := New(src, dst, o)
	next, err := newRecord()
	if err != nil {
		return err
	}
	defer next.close()
	c.next, c.links = next, map[inode]*linked{}
	at := []string{name}
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.fail("stat", at, err)
	}
	temp := tempName()
	switch kind(&st) {
	case unix.S_IFREG:
		err = c.file(int(src.Fd()), int(dst.Fd()), temp, at, &st)
	case unix.S_IFLNK:
		err = c.symlink(int(src.Fd()), int(dst.Fd()), temp, at, &st)
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		err = c.special(int(src.Fd()), int(dst.Fd()), temp, at, &st)
	default:
		return c.fail("copy", at, errors.New("it is a directory or of an unknown type"))
	}
	if err == nil {
		// A second name and then one less, which never replaces, where a
		// rename would.
		err = linkat(int(dst.Fd()), temp, int(dst.Fd()), to)
		if errors.Is(err, unix.EEXIST) {
			err = fs.ErrExist
		}
		if err != nil {
			err = c.fail("name the copy of", at, err)
		}
	}
	unix.Unlinkat(int(dst.Fd()), temp, 0)
	if err == nil && len(c.guards) > 0 {
		err = guard(int(dst.Fd()), to, c.guards[name])
	}
	return err
}

// Dir makes the directory to in dst with the owner, mode, attributes and times
// of the open directory src and nothing in it. It must not be there: then the
// error is fs.ErrExist. It never has that name before it is complete.
func Dir(src, dst *os.File, to string) error {
	c := New(src, dst, Options{})
	temp := tempName()
	if err := unix.Mkdirat(int(dst.Fd()), temp, 0o700); err != nil {
		return c.fail("make the copy of", nil, err)
	}
	fd, err := openDir(int(dst.Fd()), temp)
	if err == nil {
		err = c.dirAttr(int(src.Fd()), fd, nil)
		unix.Close(fd)
	}
	if err == nil {
		if err = renameNoReplace(int(dst.Fd()), temp, to); errors.Is(err, unix.EEXIST) {
			err = fs.ErrExist
		}
		if err != nil {
			err = c.fail("name the copy of", nil, err)
		}
	}
	if err != nil {
		unix.Unlinkat(int(dst.Fd()), temp, unix.AT_REMOVEDIR)
	}
	return err
}
