package btrfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl numbers, _IOC(direction, 0x94, number, size), as on every
// architecture but powerpc, mips and sparc.
const (
	iocSync         = 0x94<<8 | 8
	iocSnapDestroy  = 1<<30 | 4096<<16 | 0x94<<8 | 15
	iocTreeSearchV2 = 3<<30 | 112<<16 | 0x94<<8 | 17
	iocInoLookup    = 3<<30 | 4096<<16 | 0x94<<8 | 18
	iocSnapCreateV2 = 1<<30 | 4096<<16 | 0x94<<8 | 23
	iocSubvolCreate = 1<<30 | 4096<<16 | 0x94<<8 | 24
	iocGetFlags     = 2<<30 | 8<<16 | 0x94<<8 | 25
	iocSetFlags     = 1<<30 | 8<<16 | 0x94<<8 | 26
	iocFSInfo       = 2<<30 | 1024<<16 | 0x94<<8 | 31
	iocGetFeatures  = 2<<30 | 24<<16 | 0x94<<8 | 57
)

const flagReadOnly = 1 << 1

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	fd   int64
	name [4088]byte
}

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	fd      int64
	transid uint64
	flags   uint64
	unused  [4]uint64
	name    [4040]byte
}

type lookupArgs struct {
	treeid   uint64
	objectid uint64
	name     [4080]byte
}

type searchKey struct {
	tree                       uint64
	minObjectid, maxObjectid   uint64
	minOffset, maxOffset       uint64
	minTransid, maxTransid     uint64
	minType, maxType, nr, skip uint32
	unused                     [4]uint64
}

const searchBuffer = 64 << 10

type searchArgs struct {
	key  searchKey
	size uint64
	buf  [searchBuffer]byte
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}

func subvolCreate(dirfd int, name string) error {
	var a volArgsV2
	if copy(a.name[:len(a.name)-1], name) != len(name) {
		return unix.ENAMETOOLONG
	}
	return ioctl(dirfd, iocSubvolCreate, unsafe.Pointer(&a))
}

func snapCreate(dirfd int, name string, srcfd int) error {
	a := volArgsV2{fd: int64(srcfd)}
	if copy(a.name[:len(a.name)-1], name) != len(name) {
		return unix.ENAMETOOLONG
	}
	return ioctl(dirfd, iocSnapCreateV2, unsafe.Pointer(&a))
}

func snapDestroy(dirfd int, name string) error {
	var a volArgs
	if copy(a.name[:len(a.name)-1], name) != len(name) {
		return unix.ENAMETOOLONG
	}
	return ioctl(dirfd, iocSnapDestroy, unsafe.Pointer(&a))
}

func setReadOnly(fd int, on bool) error {
	var flags uint64
	if err := ioctl(fd, iocGetFlags, unsafe.Pointer(&flags)); err != nil {
		return err
	}
	if on {
		flags |= flagReadOnly
	} else {
		flags &^= flagReadOnly
	}
	return ioctl(fd, iocSetFlags, unsafe.Pointer(&flags))
}

// subvolumeID says in which subvolume an open file or directory is.
func subvolumeID(fd int) (uint64, error) {
	a := lookupArgs{objectid: firstFree}
	err := ioctl(fd, iocInoLookup, unsafe.Pointer(&a))
	return a.treeid, err
}

// inodePath is the path of a directory within its subvolume, without slashes
// at either end.
func inodePath(fd int, tree, inode uint64) (string, error) {
	if inode == firstFree {
		return "", nil
	}
	a := lookupArgs{treeid: tree, objectid: inode}
	if err := ioctl(fd, iocInoLookup, unsafe.Pointer(&a)); err != nil {
		return "", err
	}
	name := a.name[:]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return string(bytes.Trim(name, "/")), nil
}

// fsUUID is the file system's UUID.
func fsUUID(fd int) (string, error) {
	var b [1024]byte
	if err := ioctl(fd, iocFSInfo, unsafe.Pointer(&b)); err != nil {
		return "", err
	}
	return formatUUID(b[16:32]), nil
}

// search returns all items of a tree from one objectid to another. A tree
// that is not there has none.
func search(fd int, tree, from, to uint64) ([]item, error) {
	var items []item
	err := searchEach(fd, tree, from, to, func(it item) error {
		it.data = bytes.Clone(it.data)
		items = append(items, it)
		return nil
	})
	return items, err
}

// searchEach calls f with each of them; its data lasts until f returns.
func searchEach(fd int, tree, from, to uint64, f func(item) error) error {
	a := &searchArgs{key: searchKey{
		tree: tree, minObjectid: from, maxObjectid: to,
		maxOffset: ^uint64(0), maxTransid: ^uint64(0), maxType: ^uint32(0),
	}}
	for {
		a.key.nr, a.size = ^uint32(0), searchBuffer
		err := ioctl(fd, iocTreeSearchV2, unsafe.Pointer(a))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tree search: %w", err)
		}
		if a.key.nr == 0 {
			return nil
		}
		b := a.buf[:]
		var last item
		for range a.key.nr {
			if len(b) < 32 {
				return errShortSearch
			}
			last = item{
				transid:  binary.NativeEndian.Uint64(b),
				objectid: binary.NativeEndian.Uint64(b[8:]),
				offset:   binary.NativeEndian.Uint64(b[16:]),
				kind:     binary.NativeEndian.Uint32(b[24:]),
			}
			n := int(binary.NativeEndian.Uint32(b[28:]))
			if len(b) < 32+n {
				return errShortSearch
			}
			last.data = b[32 : 32+n]
			b = b[32+n:]
			if err := f(last); err != nil {
				return err
			}
		}
		// The next key after the last: the kernel compares bounds as one
		// number, not part by part.
		a.key.minObjectid, a.key.minType, a.key.minOffset = last.objectid, last.kind, last.offset+1
		if last.offset == ^uint64(0) {
			a.key.minType, a.key.minOffset = last.kind+1, 0
		}
	}
}

var errShortSearch = errors.New("tree search: the kernel's answer is cut short")
