//go:build !linux

package zfs

import "runtime"

// renameFlags leave mounts alone where zfs has an option for it.
var renameFlags = func() []string {
	if runtime.GOOS == "freebsd" {
		return []string{"-u"}
	}
	return nil
}()
