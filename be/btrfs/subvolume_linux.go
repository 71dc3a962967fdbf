package btrfs

import "os"

// MakeSubvolume makes an empty subvolume in a directory on btrfs.
func MakeSubvolume(dir *os.File, name string) error { return subvolCreate(int(dir.Fd()), name) }

// RemoveSubvolume deletes one in which no other is. It takes all that is in it along.
func RemoveSubvolume(dir *os.File, name string) error { return snapDestroy(int(dir.Fd()), name) }
