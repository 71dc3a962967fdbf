package efivar

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// mutable takes the immutable flag off, which efivarfs sets on all variables
// that are not known to be harmless.
func mutable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "get flags", Path: path, Err: err}
	}
	if flags&immutable == 0 {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable)); err != nil {
		return &os.PathError{Op: "clear the immutable flag", Path: path, Err: err}
	}
	return nil
}

// Present says why there are no variables here: that a file is not there says
// nothing otherwise.
func (d Dir) Present() error {
	_, err := d.statfs()
	return err
}

func (d Dir) statfs() (st unix.Statfs_t, err error) {
	if err := unix.Statfs(string(d), &st); err != nil {
		return st, fmt.Errorf("there are no UEFI variables here: %s: %w", d, err)
	}
	if st.Type != unix.EFIVARFS_MAGIC {
		return st, fmt.Errorf("there are no UEFI variables here: efivarfs is not mounted at %s", d)
	}
	return st, nil
}

// Writable says why variables cannot be written here.
func (d Dir) Writable() error {
	st, err := d.statfs()
	if err != nil {
		return err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("efivarfs at %s is mounted read-only", d)
	}
	return nil
}

// MountFS mounts efivarfs at Mount unless it is there: in the first moment of
// a boot nobody has.
func MountFS() error {
	var st unix.Statfs_t
	if err := unix.Statfs(Mount, &st); err != nil {
		return fmt.Errorf("there are no UEFI variables here: %s: %w", Mount, err)
	}
	if st.Type == unix.EFIVARFS_MAGIC {
		return nil
	}
	if err := unix.Mount("efivarfs", Mount, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cannot mount efivarfs at %s: %w", Mount, err)
	}
	return nil
}
