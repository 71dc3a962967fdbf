package share

import (
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be/copy"
	"beadm/be/rooted"
)

// unmountDisplaced unmounts staging directories that are not on /var/share any
// more: whoever works in the boot environment can rename a directory above, and
// what is mounted goes with it. They are the mounts of a directory of the boot
// environment in it.
func unmountDisplaced(r *rooted.Root) error {
	top, err := r.HostPath("/")
	if err != nil {
		return err
	}
	top = strings.TrimSuffix(top, "/")
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(top))
	if err != nil {
		return err
	}
	var own *mountinfo.Info
	for _, m := range mounts {
		if m.Mountpoint == top {
			own = m
		}
	}
	if own == nil {
		return nil
	}
	var root unix.Stat_t
	if err := unix.Stat(top, &root); err != nil {
		return err
	}
	for _, m := range mounts {
		at, below := strings.CutPrefix(m.Mountpoint, top+"/")
		if !below || m.Major != own.Major || m.Minor != own.Minor || !strings.HasPrefix(m.Root, strings.TrimSuffix(own.Root, "/")+"/") {
			continue
		}
		d, err := copier.OpenDir(r, "/"+at)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Fstat(int(d.Fd()), &st)
		d.Close()
		if err != nil {
			return err
		}
		if st.Dev != root.Dev {
			continue // a subvolume of its own
		}
		if err := unmountAt(r, "/"+at); err != nil {
			return err
		}
	}
	return nil
}
