package btrfs

import (
	"context"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// VolumeSnapshotSpace looks up, file by file, what the snapshot of the volume
// holds alone: the extents that nothing else refers to (FIEMAP, as btrfs
// filesystem du does). What is in the metadata does not count.
func (s *Store) VolumeSnapshotSpace(ctx context.Context, v be.Volume, snap string) (int64, error) {
	vol, err := s.at(v)
	if err != nil {
		return 0, err
	}
	fd, err := openSnapshot(vol.base, vol.owner(), snap)
	if err != nil {
		return 0, problem(snapshotProblem(err, vol.name, snap), "cannot measure snapshot %s@%s", vol.name, snap)
	}
	dir := os.NewFile(uintptr(fd), snap)
	defer dir.Close()
	var top unix.Stat_t
	if err := unix.Fstat(fd, &top); err != nil {
		return 0, problem(err, "cannot measure snapshot %s@%s", vol.name, snap)
	}
	m := measure{ctx: ctx, dev: uint64(top.Dev), seen: map[uint64]bool{}}
	err = m.dir(dir)
	return m.bytes, problem(err, "cannot measure snapshot %s@%s", vol.name, snap)
}

type measure struct {
	ctx   context.Context
	dev   uint64
	seen  map[uint64]bool // files of several names
	bytes int64
}

func (m *measure) dir(d *os.File) error {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		kind := st.Mode & unix.S_IFMT
		if uint64(st.Dev) != m.dev || kind != unix.S_IFDIR && kind != unix.S_IFREG || m.seen[st.Ino] {
			continue
		}
		fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOATIME|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: name, Err: err}
		}
		f := os.NewFile(uintptr(fd), name)
		if kind == unix.S_IFDIR {
			err = m.dir(f)
		} else {
			if st.Nlink > 1 {
				m.seen[st.Ino] = true
			}
			var n int64
			n, err = alone(fd)
			m.bytes += n
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// iocFiemap is FS_IOC_FIEMAP; the structures are struct fiemap and struct
// fiemap_extent of linux/fiemap.h.
const (
	iocFiemap = 3<<30 | 32<<16 | 'f'<<8 | 11

	extentLast    = 0x1
	extentUnknown = 0x2 // and not yet written (0x4): no place on the disk
	extentDelayed = 0x4
	extentInline  = 0x200
	extentShared  = 0x2000
)

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

type fiemap struct {
	start, length         uint64
	flags, mapped, extent uint32
	_                     uint32
	extents               [256]fiemapExtent
}

// alone is how many bytes of a file nothing else refers to.
func alone(fd int) (bytes int64, err error) {
	for next := uint64(0); ; {
		m := fiemap{start: next, length: ^uint64(0) - next}
		m.extent = uint32(len(m.extents))
		if err := ioctl(fd, iocFiemap, unsafe.Pointer(&m)); err != nil {
			return bytes, err
		}
		if int(m.mapped) > len(m.extents) {
			return bytes, errors.New("the kernel tells of more extents than there is room for")
		}
		for _, e := range m.extents[:m.mapped] {
			if e.flags&(extentUnknown|extentDelayed|extentInline|extentShared) == 0 {
				bytes += int64(e.length)
			}
			if next = e.logical + e.length; e.flags&extentLast != 0 {
				return bytes, nil
			}
		}
		if m.mapped == 0 {
			return bytes, nil
		}
	}
}
