package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// device is a block device of LVM's that the kernel has.
type device struct {
	id   string // LVM-… of its volume; empty: none of LVM's
	name string // what device mapper calls it
	sys  string // its directory in sysfs
	node string // in /dev
	rdev uint64
	kind string // of the file system that is mounted, where it was found by that
}

// deviceOf is the device of that number; with an empty id if it is no whole
// volume of LVM's.
func deviceOf(rdev uint64) device {
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	return deviceIn(sys, rdev)
}

func deviceIn(sys string, rdev uint64) device {
	id := readLine(filepath.Join(sys, "dm/uuid"))
	if len(id) != len("LVM-")+64 || !strings.HasPrefix(id, "LVM-") {
		return device{}
	}
	return device{id: id, name: readLine(filepath.Join(sys, "dm/name")), sys: sys, rdev: rdev}
}

func readLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// deviceAt is that of the file system whose root directory dir is, by the
// topmost mount there.
func deviceAt(dir string) (device, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return device{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	table, err := mounttable.Read()
	if err != nil {
		return device{}, err
	}
	m, err := table.Of(fd)
	if errors.Is(err, mounttable.ErrUnseen) {
		return device{}, nil
	}
	if err != nil {
		return device{}, err
	}
	// A bind mount of a directory inside is not the file system, nor is a
	// directory below the mount.
	same, err := sameFile(m.Mountpoint, fd)
	if err != nil || !same || m.Root != "/" {
		return device{}, err
	}
	d := deviceOf(mounttable.Device(m))
	d.kind = m.FSType
	return d, nil
}

func sameFile(name string, fd int) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Stat(name, &a); err != nil {
		return false, err
	}
	if err := unix.Fstat(fd, &b); err != nil {
		return false, err
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// active is the device of a volume, and whether it has one now.
func active(v *volume) (device, bool) {
	list, _ := filepath.Glob("/sys/class/block/dm-*")
	for _, sys := range list {
		d := deviceIn(sys, 0)
		if d.id != v.id() {
			continue
		}
		major, minor, _ := strings.Cut(readLine(filepath.Join(sys, "dev")), ":")
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		if errA != nil || errB != nil {
			continue
		}
		d.rdev = unix.Mkdev(uint32(a), uint32(b))
		// The kernel's own name is there without udev. Another's name is taken
		// only where it leads to the same device.
		d.node = "/dev/" + filepath.Base(sys)
		var st unix.Stat_t
		if name := "/dev/mapper/" + d.name; unix.Stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == d.rdev {
			d.node = name
		}
		return d, true
	}
	return device{}, false
}

// started is the device of a volume, which is started if it is not, and what is
// on it.
func (s *Store) started(ctx context.Context, v *volume) (device, superblock, error) {
	d, ok := active(v)
	if !ok {
		// Snapshots, and copies that others made, are skipped without -K.
		if err := s.change(ctx, "lvchange", "-y", "-ay", "-K", "--", v.path()); err != nil {
			return d, superblock{}, err
		}
		if d, ok = active(v); !ok {
			return d, superblock{}, fmt.Errorf("%s was started and is not there", v.path())
		}
	}
	f, err := os.Open(d.node)
	if err != nil {
		return d, superblock{}, err
	}
	defer f.Close()
	b := make([]byte, superblockSize)
	if _, err := io.ReadFull(f, b); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return d, superblock{}, fmt.Errorf("reading %s: %w", d.node, err)
	}
	sb := readSuperblock(b)
	switch sb.kind {
	case "":
		return d, sb, be.E(be.NoStore, "%s holds no file system that beadm knows: ext2, ext3, ext4 or xfs", v.path())
	case "btrfs":
		return d, sb, be.E(be.NoStore, "%s holds a btrfs, which cannot be mounted beside a copy of its volume", v.path())
	}
	return d, sb, nil
}

// opened is the root directory of the file system on a volume, in a mount that
// is attached nowhere: nobody else walks into it, and it ends with the process.
func (s *Store) opened(ctx context.Context, v *volume) (*os.File, error) {
	d, sb, err := s.started(ctx, v)
	if err != nil {
		return nil, err
	}
	s.debugf("mount %s nowhere", d.node)
	fd, err := fsmount(d.node, sb)
	if err != nil {
		return nil, fmt.Errorf("mounting %s: %w", d.node, err)
	}
	defer unix.Close(fd)
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dir), d.node), nil
}

func fsmount(node string, sb superblock) (int, error) {
	fs, err := unix.Fsopen(sb.kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", node); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	if o := sb.mountOptions(); o != "" {
		if err := unix.FsconfigSetFlag(fs, o); err != nil {
			return -1, fmt.Errorf("fsconfig: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}
