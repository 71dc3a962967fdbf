//go:build linux || freebsd

package copier

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// lateACLs sets the ACLs that name users and groups by name: who that is, the
// tree that was unpacked knows.
func (u *unpacker) lateACLs() error {
	if len(u.late) == 0 {
		return nil
	}
	users, groups := u.idsIn("passwd"), u.idsIn("group")
	for _, l := range u.late {
		value, err := parseACL(l.text, func(group bool, name string) (uint32, bool) {
			if group {
				id, is := groups[name]
				return id, is
			}
			id, is := users[name]
			return id, is
		})
		if err == nil {
			err = u.setLate(l, value)
		}
		if err != nil {
			return fmt.Errorf("cannot set the ACL %q of /%s: %w", l.text, rooted.Printable(l.path), err)
		}
	}
	return nil
}

func (u *unpacker) setLate(l lateACL, value []byte) error {
	at, err := parts(l.path)
	if err != nil || len(at) == 0 {
		return err
	}
	dir, err := openBelow(int(u.dst.Fd()), at[:len(at)-1])
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	name := at[len(at)-1]
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if kind(&st) != unix.S_IFREG && kind(&st) != unix.S_IFDIR { // a device is not opened
		if a := attrsOfNode(dir, name); a != nil {
			return a.set(aclAttr(l.kind), value)
		}
		return nil
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fdAttrs(fd).set(aclAttr(l.kind), value)
}

// idsIn are the numbers in etc/passwd or etc/group of the tree; none if there is
// no such file.
func (u *unpacker) idsIn(file string) map[string]uint32 {
	ids := map[string]uint32{}
	etc, err := openBelow(int(u.dst.Fd()), []string{"etc"})
	if err != nil {
		return ids
	}
	defer unix.Close(etc)
	var st unix.Stat_t
	if err := unix.Fstatat(etc, file, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || kind(&st) != unix.S_IFREG {
		return ids
	}
	f, err := openFile(etc, file)
	if err != nil {
		return ids
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 16<<20))
	if err != nil {
		return ids
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if len(fields) > 2 {
			if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
				ids[fields[0]] = uint32(id)
			}
		}
	}
	return ids
}
