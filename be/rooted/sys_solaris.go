package rooted

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// golang.org/x/sys/unix has no readlinkat, symlinkat and linkat for illumos.
// They are called in libc, the way that package calls its own.

//go:cgo_import_dynamic libc_readlinkat readlinkat "libc.so"
//go:cgo_import_dynamic libc_symlinkat symlinkat "libc.so"
//go:cgo_import_dynamic libc_linkat linkat "libc.so"

//go:linkname procReadlinkat libc_readlinkat
//go:linkname procSymlinkat libc_symlinkat
//go:linkname procLinkat libc_linkat

var procReadlinkat, procSymlinkat, procLinkat uintptr

// sysvicall6 is syscall's (sys_solaris.s).
func sysvicall6(trap, nargs, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)

func readlinkat(dirfd int, name string) (string, error) {
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return "", err
	}
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, _, errno := sysvicall6(uintptr(unsafe.Pointer(&procReadlinkat)), 4, uintptr(dirfd),
			uintptr(unsafe.Pointer(cname)), uintptr(unsafe.Pointer(&buf[0])), uintptr(size), 0, 0)
		if errno != 0 {
			return "", errno
		}
		if int(n) < size {
			return string(buf[:n]), nil
		}
	}
}

func symlinkat(target string, dirfd int, name string) error {
	ctarget, err := unix.BytePtrFromString(target)
	if err != nil {
		return err
	}
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, errno := sysvicall6(uintptr(unsafe.Pointer(&procSymlinkat)), 3,
		uintptr(unsafe.Pointer(ctarget)), uintptr(dirfd), uintptr(unsafe.Pointer(cname)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func linkat(fromfd int, from string, tofd int, to string) error {
	cfrom, err := unix.BytePtrFromString(from)
	if err != nil {
		return err
	}
	cto, err := unix.BytePtrFromString(to)
	if err != nil {
		return err
	}
	_, _, errno := sysvicall6(uintptr(unsafe.Pointer(&procLinkat)), 5, uintptr(fromfd),
		uintptr(unsafe.Pointer(cfrom)), uintptr(tofd), uintptr(unsafe.Pointer(cto)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// illumos keeps extended attributes as files of their own (fsattr(7)); they
// are not read yet.
func getXattrs(int) (map[string][]byte, error) { return nil, nil }

func setXattrs(int, map[string][]byte) error { return nil }
