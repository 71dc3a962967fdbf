package partition

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Find returns the device that holds the file system with this UUID, and what
// it is. Two of them are an error: writing to the wrong one would arm nothing.
// With part, the UUID of a GPT partition, only that one counts: a file system
// that was copied from disk to disk has the same UUID on both.
func Find(part, uuid string) (device, fs string, err error) {
	blocks, err := filepath.Glob("/sys/class/block/*")
	if err != nil {
		return "", "", err
	}
	half := ""
	for _, block := range blocks {
		name := filepath.Base(block)
		if strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "zd") {
			continue
		}
		dev := "/dev/" + strings.ReplaceAll(name, "!", "/")
		f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // no medium, or not ours to read
		}
		kind, id := Identify(f)
		if kind == "" || !strings.EqualFold(id, uuid) {
			f.Close()
			continue
		}
		member := isMember(f)
		f.Close()
		if part != "" {
			sys, err := filepath.EvalSymlinks(block)
			if err != nil {
				continue
			}
			if have, err := partUUID(sys); err != nil || !strings.EqualFold(have, part) {
				continue
			}
		}
		if member {
			half = block
			continue
		}
		if device != "" {
			return "", "", be.E(be.NoStore, "both %s and %s hold a file system with the UUID %s: give one another UUID", device, dev, uuid)
		}
		device, fs = dev, kind
	}
	if device == "" && half != "" {
		return "", "", be.E(be.NoStore, "cannot use the loader's file system with the UUID %s: %w", uuid, errMember(half))
	}
	if device == "" && part != "" {
		return "", "", be.E(be.NoStore, "the partition %s with the loader's file system %s is not there", part, uuid)
	}
	if device == "" {
		return "", "", be.E(be.NoStore, "no partition holds the loader's file system with the UUID %s", uuid)
	}
	return device, fs, nil
}

// isMember is raidMember of a device. One whose size nobody tells is left alone.
func isMember(f *os.File) bool {
	size, err := f.Seek(0, io.SeekEnd)
	return err != nil || raidMember(f, size)
}

// errMember says what can be done about a device, by its directory in sysfs,
// that has the superblock of an md array: whether it is a mirror's or was left
// over when the partition was made anew, nobody can tell from it. What an array
// has in use is no left-over.
func errMember(block string) error {
	dev := "/dev/" + strings.ReplaceAll(filepath.Base(block), "!", "/")
	if arrays, _ := os.ReadDir(filepath.Join(block, "holders")); len(arrays) > 0 {
		return fmt.Errorf("%s is a member of the mirror %s, which is not started", dev, arrays[0].Name())
	}
	return fmt.Errorf("%s has the superblock of an md array at its end, which is not assembled: if it is a mirror's, assemble that (mdadm --assemble --scan) and use it; if it was left over from an old one (mdadm --examine %s), unmount the partition and take it off with mdadm --zero-superblock %s", dev, dev, dev)
}

// At returns the UUID of the file system mounted at dir. It refuses the half of
// a mirror, as Find does: what is set up on it would not be found at the next
// boot.
func At(dir string) (uuid string, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", be.E(be.NoStore, "there is no loader directory %s: mount its FAT or ext partition there, or give --loader-dir", dir)
	}
	target, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", be.E(be.NoStore, "%s is not on a partition of its own: the loader cannot write there", dir)
	}
	f, err := os.Open("/dev/" + strings.ReplaceAll(filepath.Base(target), "!", "/"))
	if err != nil {
		return "", fmt.Errorf("cannot read the partition of %s: %w", dir, err)
	}
	defer f.Close()
	if isMember(f) {
		return "", be.E(be.Unbootable, "the loader cannot be on %s: %w", dir, errMember(filepath.Join("/sys/class/block", filepath.Base(target))))
	}
	if _, uuid = Identify(f); uuid == "" {
		return "", be.E(be.NoStore, "%s is neither on FAT nor on ext2, ext3 or ext4: the loader cannot write there", dir)
	}
	return uuid, nil
}

// Mount mounts the file system that Find finds at dir, in the open for root
// alone.
func Mount(part, uuid, dir string) error {
	device, fs, err := Find(part, uuid)
	if err != nil {
		return err
	}
	data := ""
	if fs == "vfat" {
		data = "umask=0077"
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	err = unix.Mount(device, dir, fs, flags, data)
	// While fsck holds it, at boot.
	for i := 0; errors.Is(err, unix.EBUSY) && i < 50; i++ {
		time.Sleep(100 * time.Millisecond)
		err = unix.Mount(device, dir, fs, flags, data)
	}
	if err != nil && !errors.Is(err, unix.EBUSY) && fs == "vfat" {
		// A kernel without the default character set's module.
		err = unix.Mount(device, dir, fs, flags, data+",iocharset=ascii")
	}
	if err != nil {
		return fmt.Errorf("cannot mount the loader's file system %s: %w", device, err)
	}
	return nil
}
