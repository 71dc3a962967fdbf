package durable

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ext4Checkpoint is EXT4_IOC_CHECKPOINT, _IOW('f', 43, __u32), Linux 5.14
// (Documentation/filesystems/ext4/journal.rst): what is in the journal goes
// to its own place, where a loader that does not replay journals reads it.
const ext4Checkpoint = 0x4004662b

// settle is syncfs, and on ext3 and ext4 a checkpoint of the journal. fsync
// leaves a new name in the journal only, and GRUB, which reads past the
// journal, does not find the file. syncfs commits and then writes the device's
// dirty blocks in place; a block that another writer has meanwhile taken into
// the next transaction it leaves out, and the checkpoint does not. Linux
// before 5.14 has no checkpoint: there syncfs must do.
func settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", dir, err)
	}
	if st.Type != unix.EXT4_SUPER_MAGIC {
		return nil
	}
	flags := uint32(0)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4Checkpoint, uintptr(unsafe.Pointer(&flags)))
	switch {
	case errno == 0, errno == unix.ENODEV: // done; or there is no journal
		return nil
	case errno == unix.ENOTTY, errno == unix.EOPNOTSUPP:
		return nil
	}
	return fmt.Errorf("cannot checkpoint the journal of %s: %w", dir, errno)
}

// forget drops the cached pages of f that are clean.
func forget(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
