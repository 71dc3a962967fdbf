package lvm

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What <linux/dm-ioctl.h> has of a message to a target: a head of fixed size, the
// sector, which a pool does not look at, and the text with a NUL.
const (
	dmHead    = 312
	dmName    = 48         // where the device's name is in the head
	dmMessage = 0xc138fd0e // DM_TARGET_MSG
)

// message sends a device mapper device what its target understands
// (Documentation/admin-guide/device-mapper).
func message(device, text string) error {
	if len(device) > maxDeviceName {
		return fmt.Errorf("message to %s: %w", device, unix.ENAMETOOLONG)
	}
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, dmHead+8+len(text)+1)
	binary.NativeEndian.PutUint32(b, 4) // version 4.0.0: every kernel's
	binary.NativeEndian.PutUint32(b[12:], uint32(len(b)))
	binary.NativeEndian.PutUint32(b[16:], dmHead)
	copy(b[dmName:], device)
	copy(b[dmHead+8:], text)
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), dmMessage, uintptr(unsafe.Pointer(&b[0])))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return fmt.Errorf("message %s to %s: %w", text, device, errno)
	}
}
