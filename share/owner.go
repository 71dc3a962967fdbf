package share

import (
	"beadm/be"
	"beadm/be/rooted"
)

// rootOf is who is root in the boot environment at r: whoever owns its top. In a
// guest with ids of its own that is not the host's, and what is made for it has to
// be its, or it could not write there.
func rootOf(r *rooted.Root) (uid, gid int, err error) {
	info, err := r.Lstat("/")
	if err != nil {
		return 0, 0, err
	}
	if info.UID == 0 {
		return 0, 0, nil
	}
	return int(info.UID), int(info.GID), nil
}

// give gives a directory that the host's root has just made to the boot
// environment's.
func give(r *rooted.Root, p string) error {
	uid, gid, err := rootOf(r)
	if err != nil || uid == 0 {
		return err
	}
	info, err := r.Stat(p)
	if err != nil || !info.IsDir() || info.UID != 0 {
		return err
	}
	return r.SetAttr(p, rooted.Attr{Mode: info.Mode, UID: uid, GID: gid, Mtime: info.Mtime})
}

// GiveMounted gives what is mounted at /var/share of the root to whoever is root
// there, if it is the host's yet.
func GiveMounted(root string) error {
	r, err := rooted.Open(root)
	if err == nil {
		defer r.Close()
		if err = straight(r); err == nil {
			err = give(r, MountPoint)
		}
	}
	if err != nil {
		return be.E(be.KindOf(err), "cannot give %s%s to its root: %w", root, MountPoint, err)
	}
	return nil
}
