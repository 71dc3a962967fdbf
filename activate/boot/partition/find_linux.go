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
		size, err := f.Seek(0, io.SeekEnd)
		member := err != nil || raidMember(f, size)
		f.Close()
		if member {
			half = dev
			continue
		}
		if part != "" {
			sys, err := filepath.EvalSymlinks(block)
			if err != nil {
				continue
			}
			if have, err := partUUID(sys); err != nil || !strings.EqualFold(have, part) {
				continue
			}
		}
		if device != "" {
			return "", "", be.E(be.NoStore, "both %s and %s hold a file system with the UUID %s: give one another UUID", device, dev, uuid)
		}
		device, fs = dev, kind
	}
	if device == "" && half != "" {
		return "", "", be.E(be.NoStore, "the loader's file system with the UUID %s is on a mirror of which %s is a member, and that mirror is not assembled", uuid, half)
	}
	if device == "" && part != "" {
		return "", "", be.E(be.NoStore, "the partition %s with the loader's file system %s is not there", part, uuid)
	}
	if device == "" {
		return "", "", be.E(be.NoStore, "no partition holds the loader's file system with the UUID %s", uuid)
	}
	return device, fs, nil
}

// At returns the UUID of the file system mounted at dir.
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
