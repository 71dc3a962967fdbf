package activate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"beadm/be/rooted"
)

// Which pools a boot imports, and what it mounts of them, is told by files that
// ZFS itself writes as that changes: zpool.cache (zpoolprops(7), cachefile; of
// FreeBSD's loader in /boot/zfs), and a list a pool of zfs-mount-generator(8).
var (
	poolCaches = []string{"/etc/zfs/zpool.cache", "/boot/zfs/zpool.cache"}
	poolLists  = "/etc/zfs/zfs-list.cache"
)

// mostPoolFile is more than any of them is long: 100,000 datasets in a list.
const mostPoolFile = 64 << 20

// takePools gives the root at to the pools of the one at from, which ran last.
// They are no matter for the synclist: both sides change at every boot. It is
// for a boot that has imported no pool but its own yet.
func takePools(from, to string) error {
	last, err := rooted.Open(from)
	if err != nil {
		return err
	}
	defer last.Close()
	now, err := rooted.Open(to)
	if err != nil {
		return err
	}
	defer now.Close()
	files := poolCaches
	lists, err := last.ReadDir(poolLists)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, l := range lists {
		files = append(files[:len(files):len(files)], path.Join(poolLists, l.Name))
	}
	var errs []error
	for _, name := range files {
		if err := takePoolFile(last, now, name); err != nil {
			errs = append(errs, fmt.Errorf("cannot bring over %s, which says what pools there are: %w", rooted.Printable(name), err))
		}
	}
	return errors.Join(errs...)
}

func takePoolFile(last, now *rooted.Root, name string) error {
	info, err := last.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode&fs.ModeType != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := last.ReadFileLimit(name, mostPoolFile)
	if err != nil {
		return err
	}
	there, err := now.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := now.Stat("/etc/zfs"); errors.Is(err, fs.ErrNotExist) {
			return nil // a boot environment without ZFS
		}
		if err := now.Mkdir(path.Dir(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case err != nil:
		return err
	case there.Mode&fs.ModeType != 0:
		return nil // a link to somewhere: the administrator's
	default:
		if old, err := now.ReadFileLimit(name, mostPoolFile); err == nil && bytes.Equal(old, data) {
			return nil
		}
	}
	return now.WriteFileAtomic(name, data, rooted.Attr{Mode: info.Mode.Perm(), UID: int(info.UID), GID: int(info.GID)})
}
