package zfs

// renameFlags leave mounts alone.
var renameFlags = []string{"-u"}
