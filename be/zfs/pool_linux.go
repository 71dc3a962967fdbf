package zfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"beadm/be"
)

// kstat is what the kernel's ZFS says of its pools (OpenZFS,
// module/os/linux/spl/spl-kstat.c; state: module/zfs/spa_stats.c, since 0.8).
var kstat = "/proc/spl/kstat/zfs"

// imported reports whether the pool is, as far as the kernel says so.
func imported(pool string) bool {
	_, err := os.Stat(filepath.Join(kstat, pool))
	return err == nil
}

// checkPool says why nothing can be asked of the pool: zfs(8) would wait for ever
// for one that is suspended. It costs no command.
func checkPool(pool string) error {
	if _, err := os.Stat(kstat); err != nil {
		return nil // no ZFS, or an old one: the commands say so
	}
	dir := filepath.Join(kstat, pool)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return be.E(be.NoStore, "pool %s is not imported: zpool import %s", pool, pool)
	}
	state, err := os.ReadFile(filepath.Join(dir, "state"))
	if err == nil && strings.TrimSpace(string(state)) == "SUSPENDED" {
		return be.E(be.NoStore, "pool %s is suspended, as its disks do not answer: see zpool status %s, and give zpool clear %s when they do", pool, pool, pool)
	}
	return nil
}
