package refs

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iocLogicalInoV2 is BTRFS_IOC_LOGICAL_INO_V2, as on every architecture but
// powerpc, mips and sparc.
const iocLogicalInoV2 = 3<<30 | 56<<16 | 0x94<<8 | 59

// logicalArgs is struct btrfs_ioctl_logical_ino_args.
type logicalArgs struct {
	logical, size uint64
	_             [3]uint64
	flags         uint64
	inodes        uint64
}

const ignoreOffset = 1 << 0 // whatever part of the extent it is that they refer to

// Owners is room for an answer: struct btrfs_data_container with triples of inode,
// offset and root.
type Owners struct {
	left, missing, count, missed uint32
	val                          [3 * 2048]uint64
}

// Only reports whether all that refer to an extent of the btrfs that fd is open on
// are subvolumes of which in says yes. It is not known where they are too many to
// be told. The error is ENOENT if the extent is gone.
func (o *Owners) Only(fd int, extent uint64, in func(root uint64) bool) (yes, known bool, err error) {
	var pin runtime.Pinner
	pin.Pin(o)
	defer pin.Unpin()
	a := logicalArgs{logical: extent, size: uint64(unsafe.Sizeof(*o)), flags: ignoreOffset, inodes: uint64(uintptr(unsafe.Pointer(o)))}
	o.count, o.missed = 0, 0
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocLogicalInoV2, uintptr(unsafe.Pointer(&a)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return false, false, fmt.Errorf("asking whose the extent at %d is: %w", extent, e)
		}
		break
	}
	for i := 2; i < min(int(o.count), len(o.val)); i += 3 {
		if !in(o.val[i]) {
			return false, true, nil
		}
	}
	return true, o.missed == 0, nil
}
