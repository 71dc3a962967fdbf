package dir

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of btrfs (linux/btrfs.h, linux/btrfs_tree.h).
const (
	btrfsMagic      = 0x9123683e
	iocTreeSearch   = 0xc0709411 // BTRFS_IOC_TREE_SEARCH_V2
	iocInoLookup    = 0xd0009412 // BTRFS_IOC_INO_LOOKUP
	firstFree       = 256        // inode of a subvolume's own directory
	searchKey       = 112
	searchHead      = 32
	extentDataKey   = 108
	fileExtent      = 53 // bytes at least, where the content is not inline
	fileExtentKind  = 20 // 0: inline
	fileExtentStart = 21
)

// extentsOnBtrfs reads the extents of an open file as they are on the disk:
// compressed, and whole, since btrfs keeps all of one as long as anybody refers
// to a part of it. Fiemap knows neither. What is inline is metadata, and no
// space of files comes back with it.
func (w *weigher) extentsOnBtrfs(fd int, ino uint64) error {
	if w.buf == nil {
		w.buf = make([]byte, searchKey+64<<10)
	}
	le := binary.LittleEndian
	for next := uint64(0); ; {
		clear(w.buf[:searchKey])
		for at, v := range map[int]uint64{8: ino, 16: ino, 24: next, 32: ^uint64(0), 48: ^uint64(0), 104: uint64(len(w.buf) - searchKey)} {
			le.PutUint64(w.buf[at:], v)
		}
		le.PutUint32(w.buf[56:], extentDataKey)
		le.PutUint32(w.buf[60:], extentDataKey)
		le.PutUint32(w.buf[64:], ^uint32(0))
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocTreeSearch, uintptr(unsafe.Pointer(&w.buf[0]))); e != 0 {
			return e
		}
		n := int(le.Uint32(w.buf[64:]))
		if n == 0 {
			return nil
		}
		b := w.buf[searchKey:]
		for range n {
			offset, length := le.Uint64(b[16:]), int(le.Uint32(b[28:]))
			item := b[searchHead : searchHead+length]
			b = b[searchHead+length:]
			next = offset + 1
			if length < fileExtent || item[fileExtentKind] == 0 || le.Uint64(item[fileExtentStart:]) == 0 {
				continue // inline, or a hole
			}
			start := le.Uint64(item[fileExtentStart:])
			w.shared = append(w.shared, extent{start, start + le.Uint64(item[fileExtentStart+8:])})
		}
	}
}

// noteRoot notes in which subvolume a directory is: the first, and one that is a
// subvolume's own.
func (w *weigher) noteRoot(fd, depth int) error {
	if depth > 0 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Ino != firstFree {
			return err
		}
	}
	var a struct {
		root, inode uint64
		name        [4080]byte
	}
	a.inode = firstFree
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocInoLookup, uintptr(unsafe.Pointer(&a))); e != 0 {
		return e
	}
	w.roots[a.root] = true
	return nil
}
