package lvm

import (
	"bytes"
	"fmt"
	"strings"
)

// superblock is what a file system says of itself.
type superblock struct {
	kind  string // "ext4" for ext2 and ext3 too: that driver mounts them
	uuid  string
	label string
}

// superblockSize is how much of a device has to be read for it.
const superblockSize = 0x10040 + 8

// readSuperblock looks at the beginning of a device. Offsets: ext4's of
// Documentation/filesystems/ext4/super.rst, xfs' of its Algorithms & Data
// Structures, btrfs' of its On-disk Format.
func readSuperblock(b []byte) superblock {
	at := func(from, n int) []byte {
		if len(b) < from+n {
			return make([]byte, n)
		}
		return b[from : from+n]
	}
	text := func(b []byte) string { return strings.TrimRight(string(bytes.TrimRight(b, "\x00")), " ") }
	switch {
	case bytes.Equal(at(0, 4), []byte("XFSB")):
		return superblock{"xfs", formatUUID(at(32, 16)), text(at(108, 12))}
	case bytes.Equal(at(0x10040, 8), []byte("_BHRfS_M")):
		return superblock{kind: "btrfs"}
	case bytes.Equal(at(0x438, 2), []byte{0x53, 0xef}):
		return superblock{"ext4", formatUUID(at(0x468, 16)), text(at(0x478, 16))}
	}
	return superblock{}
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// mountOptions are what a mount of it beside its copies takes.
func (s superblock) mountOptions() string {
	if s.kind == "xfs" {
		return "nouuid"
	}
	return ""
}
