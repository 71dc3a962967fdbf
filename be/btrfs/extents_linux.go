package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
)

// leaf stands for the metadata of one inode in one block: trees of a family in
// which the block of an inode is of the same transaction share the block.
type leaf struct{ family, inode, transid uint64 }

// walk goes through all that a subvolume, without those nested in it, refers
// to: extents of the disk by where they begin and how long they are, some more
// than once, and its metadata by the bytes that its items take. Small files are
// in the metadata.
func (s *Store) walk(ctx context.Context, sv *subvolume, family uint64, extent func(at, bytes uint64), meta func(at leaf, bytes uint64)) error {
	var now leaf
	var bytes, n uint64
	err := searchEach(s.fd(), sv.id, 0, ^uint64(0), func(it item) error {
		if n++; n%1024 == 1 && ctx.Err() != nil {
			return ctx.Err()
		}
		if at := (leaf{family, it.objectid, it.transid}); at != now {
			if bytes > 0 {
				meta(now, bytes)
			}
			now, bytes = at, 0
		}
		bytes += itemHeader + uint64(len(it.data))
		if it.kind == extentData && len(it.data) >= 53 && it.data[20] != extentIsInline {
			if at := binary.LittleEndian.Uint64(it.data[21:]); at != 0 { // else a hole
				extent(at, binary.LittleEndian.Uint64(it.data[29:]))
			}
		}
		return nil
	})
	if bytes > 0 {
		meta(now, bytes)
	}
	if err != nil {
		return fmt.Errorf("reading subvolume %d: %w", sv.id, err)
	}
	return nil
}

const (
	itemHeader     = 25 // struct btrfs_item
	extentIsInline = 0  // the data is in the item itself
)

// fill is how much of the blocks of trees their items take: what metadata is
// said to hold is blocks.
type fill struct{ items, blocks uint64 }

func (f *fill) of(items uint64) int64 {
	if f.items == 0 {
		return int64(items)
	}
	return int64(float64(items) * float64(f.blocks) / float64(f.items))
}
