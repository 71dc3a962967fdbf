// Package partition finds the small file system that a loader reads and
// writes, by the UUID in its superblock: in the first moment of a boot there
// is no udev, and so no /dev/disk/by-uuid.
package partition

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Identify reads what a block device holds: the kernel's name of the file
// system and its UUID as blkid(8) prints it. Both are empty for what a loader
// cannot write (BOOT: FAT and ext2/3/4 on a plain partition can be).
//
// FAT: Microsoft's "FAT32 File System Specification" 1.03, volume serial
// number at 0x27 or, for FAT32, 0x43. ext: linux/fs/ext4/ext4.h, magic at
// 0x438, UUID at 0x468.
func Identify(r io.ReaderAt) (fs, uuid string) {
	var b [2048]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return "", ""
	}
	if b[0x438] == 0x53 && b[0x439] == 0xef {
		u := b[0x468:0x478]
		return "ext4", fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return "", ""
	}
	for _, at := range []struct{ kind, serial int }{{0x52, 0x43}, {0x36, 0x27}} {
		if string(b[at.kind:at.kind+3]) == "FAT" {
			n := binary.LittleEndian.Uint32(b[at.serial:])
			return "vfat", fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
		}
	}
	return "", ""
}
