package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

// stubInode is the inode of the empty directory that a snapshot has where its
// source has a subvolume.
const stubInode = 2

// copyTree makes a writable snapshot of the subvolume open at src, under
// dstName, with those subvolumes nested in it for which keep is true, by path,
// in their places; the others become empty directories of the same owner and
// mode. On failure the caller deletes what is there.
func (s *Store) copyTree(ctx context.Context, src int, dstDir int, dstName string, prefix string, keep func(path string) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, err := subvolumeID(src)
	if err != nil {
		return err
	}
	err = s.do(func() error { return snapCreate(dstDir, dstName, src) }, "snapshot subvolume %d as %s", id, dstName)
	if err != nil {
		return err
	}
	dst, err := beneath(dstDir, dstName)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	// Only now, so that none is missed: one made after the snapshot has no
	// place in it and is passed over.
	woods, err := s.scan()
	if err != nil {
		return err
	}
	for _, child := range woods.children[id] {
		dir, err := inodePath(s.fd(), id, child.dir)
		if err != nil {
			return err
		}
		path := strings.Trim(prefix+"/"+strings.Trim(dir+"/"+child.name, "/"), "/")
		if err := s.placeChild(ctx, src, dst, dir, child.name, path, keep); err != nil {
			return err
		}
	}
	return nil
}

// placeChild puts one nested subvolume, or an empty directory, where the
// snapshot has a stub for it.
func (s *Store) placeChild(ctx context.Context, src, dst int, dir, name, path string, keep func(string) bool) error {
	dstDir, err := beneath(dst, dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dstDir)
	var st unix.Stat_t
	err = unix.Fstatat(dstDir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && st.Ino != stubInode {
		return nil
	}
	if err != nil {
		return err
	}
	srcDir, err := beneath(src, dir)
	if err != nil {
		return err
	}
	defer unix.Close(srcDir)
	child, err := beneath(srcDir, name)
	if err != nil {
		return err
	}
	defer unix.Close(child)
	err = s.do(func() error { return unix.Unlinkat(dstDir, name, unix.AT_REMOVEDIR) }, "make room for %s", path)
	if err != nil {
		return err
	}
	if keep(path) {
		return s.copyTree(ctx, child, dstDir, name, path, keep)
	}
	return s.do(func() error { return emptyLike(child, dstDir, name) }, "make the empty directory %s", path)
}

// emptyLike makes a directory with the owner, mode and attributes of another.
func emptyLike(like, dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(like, &st); err != nil {
		return err
	}
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return err
	}
	fd, err := beneath(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	names := make([]byte, 64<<10)
	n, err := unix.Flistxattr(like, names)
	if err != nil {
		return err
	}
	for _, attr := range strings.Split(strings.Trim(string(names[:n]), "\x00"), "\x00") {
		// The label and the ACL; marks of ours are the subvolume's own.
		if !strings.HasPrefix(attr, "security.") && !strings.HasPrefix(attr, "system.") {
			continue
		}
		value, err := getAttr(like, attr)
		if err == nil {
			err = unix.Fsetxattr(fd, attr, []byte(value), 0)
		}
		if err != nil {
			return err
		}
	}
	return unix.Fchmod(fd, st.Mode&0o7777)
}

// deleteTree deletes a subvolume and all nested in it, innermost first. One
// that is not there is fine.
func (s *Store) deleteTree(dir int, name string) error {
	fd, err := beneath(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	id, err := subvolumeID(fd)
	if err != nil {
		return err
	}
	woods, err := s.scan()
	if err != nil {
		return err
	}
	if children := woods.children[id]; len(children) > 0 {
		if woods.byID[id].readOnly {
			err := s.do(func() error { return setReadOnly(fd, false) }, "make subvolume %s writable", name)
			if err != nil {
				return err
			}
		}
		for _, child := range children {
			path, err := inodePath(s.fd(), id, child.dir)
			if err != nil {
				return err
			}
			inner, err := beneath(fd, path)
			if err != nil {
				return err
			}
			err = s.deleteTree(inner, child.name)
			unix.Close(inner)
			if err != nil {
				return err
			}
		}
	}
	err = s.do(func() error { return snapDestroy(dir, name) }, "delete subvolume %s", name)
	if errors.Is(err, unix.EPERM) {
		return be.E(be.InUse, "cannot delete subvolume %s: the kernel keeps it, as it does with the default subvolume; see btrfs subvolume get-default (%w)", name, err)
	}
	return err
}

// setAttr writes or, for the empty value, removes an attribute.
func (s *Store) setAttr(fd int, attr, value string) error {
	return s.do(func() error {
		if value == "" {
			err := unix.Fremovexattr(fd, attr)
			if errors.Is(err, unix.ENODATA) {
				return nil
			}
			return err
		}
		return unix.Fsetxattr(fd, attr, []byte(value), 0)
	}, "set %s to %q", attr, value)
}

const maxFstab = 1 << 20

// fstab reads the fstab of the tree open at fd, as a process chrooted into it
// would. It is empty where there is none.
func fstab(fd int) (text string, info rooted.Info, err error) {
	r, err := rooted.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", info, err
	}
	defer r.Close()
	if info, err = r.Stat("/etc/fstab"); err == nil {
		var b []byte
		b, err = r.ReadFileLimit("/etc/fstab", maxFstab)
		text = string(b)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, rooted.ErrNotRegular) {
		return "", info, nil
	}
	return text, info, err
}

// nameRoot makes the fstab in the tree open at fd name the subvolume at path
// as its root, where it names any.
func (s *Store) nameRoot(fd int, path string) error {
	text, info, err := fstab(fd)
	if err != nil {
		return err
	}
	if text == "" {
		return nil
	}
	r, err := rooted.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	defer r.Close()
	// A link stays a link: it is its target that is replaced.
	where, err := r.Resolve("/etc/fstab")
	if err != nil {
		return err
	}
	// One that was cut may have left its own, also when it is taken back.
	if err := r.SweepTemp(filepath.Dir(where)); err != nil {
		return err
	}
	changed := rewriteFstab(text, path)
	if changed == text {
		return nil
	}
	return s.do(func() error {
		attrs, err := r.Xattrs(where)
		if err != nil {
			return err
		}
		return r.WriteFileAtomic(where, []byte(changed), rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID), Xattrs: attrs})
	}, "name %s as the root in fstab", path)
}

// writable calls f with the read-only flag of a subvolume off. A power cut in
// between leaves a boot environment that can be written, nothing worse.
func (s *Store) writable(fd int, readOnly bool, f func() error) error {
	if !readOnly {
		return f()
	}
	if err := s.do(func() error { return setReadOnly(fd, false) }, "make it writable"); err != nil {
		return err
	}
	return errors.Join(f(), s.do(func() error { return setReadOnly(fd, true) }, "make it read-only again"))
}
