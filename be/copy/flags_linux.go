package copier

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of an inode (ioctl_iflags(2), linux/fs.h) that a copy has too.
const (
	flagImmutable, flagAppend                  = 0x10, 0x20
	flagCompress, flagNoCompress, flagNoCOW    = 0x4, 0x400, 0x800000
	flagSync, flagNoDump, flagNoAtime, dirSync = 0x8, 0x40, 0x80, 0x10000

	flagsOfContent = flagCompress | flagNoCompress | flagNoCOW // how it is kept: before the first byte
	flagsOfUse     = flagSync | flagNoDump | flagNoAtime | dirSync
	flagsOfGuard   = flagImmutable | flagAppend // nothing can be done to it any more
)

// flagsOf are none where the file system has none.
func flagsOf(fd int) uint32 {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0
	}
	return flags
}

// setFlags makes those of mask what want has of them. A file system that does
// not know one keeps the file without it.
func setFlags(fd int, want, mask uint32) error {
	now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || now&mask == want&mask {
		return nil
	}
	err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(now&^mask|want&mask))
	for _, no := range []error{unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, no) {
			return nil
		}
	}
	return err
}

// guard sets what keeps name in the directory from being changed.
func guard(dirfd int, name string, flags uint32) error {
	if flags&flagsOfGuard == 0 {
		return nil
	}
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setFlags(fd, flags, flagsOfGuard)
}

// Unguard takes from the open directory, and from all that is in it, what keeps
// it from being deleted: the flags immutable and append-only, and that a btrfs
// subvolume is read-only.
func Unguard(dir *os.File) error { return unguard(int(dir.Fd()), 0) }

func unguard(fd, depth int) error {
	if err := openSubvolume(fd); err != nil {
		return err
	}
	if err := setFlags(fd, 0, flagsOfGuard); err != nil || depth > maxDepth {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		return nil // no directory
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || kind(&st) != unix.S_IFREG && kind(&st) != unix.S_IFDIR {
			continue
		}
		child, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		err = unguard(child, depth+1)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}

// Of btrfs (linux/btrfs.h).
const (
	btrfsMagic     = 0x9123683e
	subvolumeTop   = 256        // inode of a subvolume's own directory
	iocSubvolFlags = 0x80089419 // BTRFS_IOC_SUBVOL_GETFLAGS
	iocSubvolSet   = 0x4008941a // BTRFS_IOC_SUBVOL_SETFLAGS
	subvolReadOnly = 1 << 1
)

// openSubvolume makes a read-only btrfs subvolume writable, by its own directory.
func openSubvolume(fd int) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		return err
	}
	if st.Ino != subvolumeTop || uint32(fs.Type) != btrfsMagic {
		return nil
	}
	var flags uint64
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocSubvolFlags, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return e
	}
	if flags&subvolReadOnly == 0 {
		return nil
	}
	flags &^= subvolReadOnly
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocSubvolSet, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return e
	}
	return nil
}

// Guarded says whether the open file or directory can be neither renamed nor
// deleted: it is immutable or append-only.
func Guarded(f *os.File) bool { return flagsOf(int(f.Fd()))&flagsOfGuard != 0 }

// letters of chattr(1) for the flags that a copy has too.
var flagLetters = []struct {
	letter rune
	flag   uint32
}{
	{'i', flagImmutable}, {'a', flagAppend}, {'c', flagCompress}, {'m', flagNoCompress}, {'C', flagNoCOW},
	{'S', flagSync}, {'d', flagNoDump}, {'A', flagNoAtime}, {'D', dirSync},
}

func lettersOf(flags uint32) string {
	text := ""
	for _, l := range flagLetters {
		if flags&l.flag != 0 {
			text += string(l.letter)
		}
	}
	return text
}

func flagsFrom(text string) (flags uint32, err error) {
next:
	for _, r := range text {
		for _, l := range flagLetters {
			if l.letter == r {
				flags |= l.flag
				continue next
			}
		}
		return 0, fmt.Errorf("there is no flag %q", r)
	}
	return flags, nil
}
