package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Keys and sizes of btrfs' on-disk format (btrfs_tree.h).
const (
	fsTreeID     = 5 // the top level
	rootTreeID   = 1
	rootDirID    = 6 // holds the entry "default"
	quotaTreeID  = 8
	orphans      = ^uint64(4) // items of the root tree for deleted subvolumes that are not cleared yet
	firstFree    = 256        // inode of every subvolume's root directory, and the first subvolume's id
	lastFree     = ^uint64(255)
	dirItemKey   = 84
	extentData   = 108
	rootItemKey  = 132
	rootRefKey   = 156
	qgroupInfo   = 242
	rootItemSize = 439
	rootReadOnly = 1 << 0
)

// subvolume is one subvolume as the root tree describes it.
type subvolume struct {
	id         uint64
	parent     uint64 // subvolume that holds it; 0 for the top level
	dir        uint64 // inode of the directory that holds it
	name       string
	uuid       string
	parentUUID string // of the subvolume it is a snapshot of
	readOnly   bool
	created    time.Time
	used       uint64 // bytes of its tree's blocks, shared or not
}

// item is one result of a tree search.
type item struct {
	transid  uint64 // the transaction that wrote the block it is in
	objectid uint64
	kind     uint32
	offset   uint64
	data     []byte
}

// forest is all subvolumes of a file system.
type forest struct {
	byID     map[uint64]*subvolume
	children map[uint64][]*subvolume
}

// plant makes a forest of the items of the root tree. A root item that no
// reference leads to is a deleted subvolume which the kernel still cleans up.
func plant(items []item) (*forest, error) {
	f := &forest{byID: map[uint64]*subvolume{}, children: map[uint64][]*subvolume{}}
	roots := map[uint64][]byte{}
	for _, it := range items {
		if it.kind == rootItemKey {
			// There may be two of one subvolume; the later one counts.
			roots[it.objectid] = it.data
		}
	}
	grow := func(id uint64) (*subvolume, error) {
		data, ok := roots[id]
		if !ok {
			return nil, fmt.Errorf("the root tree names subvolume %d but does not hold it", id)
		}
		sv, err := parseRootItem(id, data)
		f.byID[id] = sv
		return sv, err
	}
	for _, it := range items {
		if it.kind != rootRefKey {
			continue
		}
		dir, name, err := parseRootRef(it.data)
		if err != nil {
			return nil, err
		}
		sv, err := grow(it.offset)
		if err != nil {
			return nil, err
		}
		sv.parent, sv.dir, sv.name = it.objectid, dir, name
		f.children[sv.parent] = append(f.children[sv.parent], sv)
	}
	_, err := grow(fsTreeID)
	return f, err
}

// defaultSubvolume is the one that a mount without options gets, out of the
// items of the root tree's directory.
func defaultSubvolume(items []item) uint64 {
	for _, it := range items {
		if it.kind == dirItemKey && len(it.data) >= 30 && string(it.data[30:]) == "default" {
			return binary.LittleEndian.Uint64(it.data)
		}
	}
	return fsTreeID
}

var errShort = errors.New("an item of the root tree is shorter than btrfs writes it")

func parseRootItem(id uint64, b []byte) (*subvolume, error) {
	sv := &subvolume{id: id}
	if len(b) < 216 {
		return nil, errShort
	}
	sv.used = binary.LittleEndian.Uint64(b[192:])
	sv.readOnly = binary.LittleEndian.Uint64(b[208:])&rootReadOnly != 0
	if len(b) < rootItemSize { // made before Linux 3.6: no UUIDs, no times
		return sv, nil
	}
	// The second half is valid only if the same kernel wrote both.
	if binary.LittleEndian.Uint64(b[160:]) != binary.LittleEndian.Uint64(b[239:]) {
		return sv, nil
	}
	sv.uuid = formatUUID(b[247:263])
	sv.parentUUID = formatUUID(b[263:279])
	sv.created = time.Unix(int64(binary.LittleEndian.Uint64(b[339:])), int64(binary.LittleEndian.Uint32(b[347:])))
	return sv, nil
}

func parseRootRef(b []byte) (dir uint64, name string, err error) {
	if len(b) < 18 {
		return 0, "", errShort
	}
	n := int(binary.LittleEndian.Uint16(b[16:]))
	if len(b) < 18+n {
		return 0, "", errShort
	}
	return binary.LittleEndian.Uint64(b), string(b[18 : 18+n]), nil
}

// formatUUID is empty for sixteen zeros.
func formatUUID(b []byte) string {
	for _, c := range b {
		if c != 0 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
		}
	}
	return ""
}

// held lists the subvolumes that lie directly in one directory.
func (f *forest) held(parent, dir uint64) []*subvolume {
	var list []*subvolume
	for _, sv := range f.children[parent] {
		if sv.dir == dir {
			list = append(list, sv)
		}
	}
	return list
}

// byUUID finds a subvolume by its own UUID.
func (f *forest) byUUID(uuid string) *subvolume {
	if uuid == "" {
		return nil
	}
	for _, sv := range f.byID {
		if sv.uuid == uuid {
			return sv
		}
	}
	return nil
}

// hasCopies reports whether sv has been the source of a snapshot that is
// still there.
func (f *forest) hasCopies(sv *subvolume) bool {
	if sv.uuid == "" {
		return false
	}
	for _, other := range f.byID {
		if other.parentUUID == sv.uuid {
			return true
		}
	}
	return false
}

// nested lists a subvolume and all that lie in it, at any depth.
func (f *forest) nested(sv *subvolume) []*subvolume {
	list := []*subvolume{sv}
	for _, child := range f.children[sv.id] {
		list = append(list, f.nested(child)...)
	}
	return list
}

// families numbers the subvolumes so that two have the same number if they come
// from one another by snapshots, also over one that is gone.
func (f *forest) families() map[uint64]uint64 {
	leader := map[string]string{}
	var lead func(uuid string) string
	lead = func(uuid string) string {
		if up, ok := leader[uuid]; ok && up != uuid {
			leader[uuid] = lead(up)
			return leader[uuid]
		}
		return uuid
	}
	for _, sv := range f.byID {
		if sv.uuid != "" && sv.parentUUID != "" {
			if a, b := lead(sv.uuid), lead(sv.parentUUID); a != b {
				leader[a] = b
			}
		}
	}
	numbers, family := map[string]uint64{}, map[uint64]uint64{}
	for id, sv := range f.byID {
		if sv.uuid == "" {
			family[id] = id
			continue
		}
		top := lead(sv.uuid)
		if numbers[top] == 0 {
			numbers[top] = id
		}
		family[id] = numbers[top]
	}
	return family
}
