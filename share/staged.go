package share

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// PrepareMountPoint makes the empty directory at /var/share of the boot
// environment mounted at root and makes it immutable where that is possible,
// so that nothing is written below the shared dataset while it is not mounted.
// It does nothing where something is mounted on it. With protected false the
// flag is taken away, for those who delete the boot environment file by file.
func PrepareMountPoint(root string, protected bool) error {
	err := func() error {
		r, err := rooted.Open(root)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.MkdirAll(MountPoint, 0o755); err != nil {
			return err
		}
		if mounted, err := shareMounted(r); err != nil || mounted {
			return err
		}
		d, err := copier.OpenDir(r, MountPoint)
		if err != nil {
			return err
		}
		defer d.Close()
		return protect(d, protected)
	}()
	if err != nil {
		return be.E(be.Other, "cannot make the mount point %s%s: %w", root, MountPoint, err)
	}
	return nil
}

// RemoveMountPoint removes what PrepareMountPoint made, for a root that is to have
// nothing of it any more. A directory that is not empty or not immutable, or that
// something is mounted on, stays as it is.
func RemoveMountPoint(root string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return err
	}
	defer r.Close()
	mounted, err := shareMounted(r)
	if err != nil || mounted {
		return err
	}
	d, err := copier.OpenDir(r, MountPoint)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // whatever is there is not ours
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Readdirnames(1); err != io.EOF {
		return err
	}
	if ours, err := isImmutable(d); err != nil || !ours {
		return err
	}
	if err := protect(d, false); err != nil {
		return err
	}
	return r.Remove(MountPoint)
}

// OpenMountPoint opens /var/share of the root, or what is mounted there. A link
// in the way is refused: it leads to something else, and what it leads to is
// for whoever controls the root to say.
func OpenMountPoint(root string) (*os.File, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := straight(r); err != nil {
		return nil, err
	}
	// Should it become a link now, it leads to a place in the root.
	return copier.OpenDir(r, MountPoint)
}

// OpenDir opens a directory of the root, which no link leads out of. It is what
// is mounted there, if anything is.
func OpenDir(root, p string) (*os.File, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return copier.OpenDir(r, p)
}

// straight refuses a mount point that is reached by a link.
func straight(r *rooted.Root) error {
	at, err := r.Resolve(MountPoint)
	if err == nil && at != MountPoint {
		err = be.E(be.Decision, "%s is no place for the shared data: a link leads from there to %s", MountPoint, at)
	}
	return err
}

// The directories of a staging tree are made this deep: where packages expect
// to find theirs (/var/spool/postfix/private), not where users keep things.
const stagedDepth = 3

// makeStaged makes the staging tree.
func makeStaged(ctx context.Context, r *rooted.Root, paths []Path, shareDir string) error {
	if err := r.MkdirAll(StagedDir, 0o755); err != nil {
		return err
	}
	if err := give(r, StagedDir); err != nil {
		return err
	}
	var live *rooted.Root
	if shareDir != "" {
		var err error
		if live, err = rooted.Open(shareDir); err != nil {
			return err
		}
		defer live.Close()
		for _, p := range paths {
			if p.State != Linked {
				continue
			}
			if err := mirror(ctx, live, r, p.Name); err != nil {
				return err
			}
		}
	}
	return makeDirs(r, StagedDir, paths)
}

// mirror makes the directories of a live tree in the staging tree. Nothing of
// users': of mail and temporary files only the top.
func mirror(ctx context.Context, live, r *rooted.Root, name string) error {
	depth := stagedDepth
	if name == "mail" || name == "tmp" || name == "crash" || name == "cores" {
		depth = 0
	}
	err := live.Scan("/"+name, nil, func(p string, info rooted.Info) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !info.IsDir() {
			return nil
		}
		if strings.Count(p, "/")-1 > depth {
			return rooted.SkipDir
		}
		src, err := copier.OpenDir(live, p)
		if errors.Is(err, fs.ErrNotExist) {
			return rooted.SkipDir
		}
		if err != nil {
			return err
		}
		defer src.Close()
		to := StagedDir + p
		dst, err := copier.OpenDir(r, to[:strings.LastIndexByte(to, '/')])
		if err != nil {
			return rooted.SkipDir // a file of a package is in the way: it wins
		}
		defer dst.Close()
		err = copier.Dir(src, dst, info.Name)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeDirs makes what is missing of the linked directories below at, with the
// modes of the profile.
func makeDirs(r *rooted.Root, at string, paths []Path) error {
	known := map[string]dir{}
	for _, os := range []string{"linux", "freebsd", "illumos"} {
		for _, d := range profile(os) {
			known[d.path] = d
		}
	}
	uid, gid, err := rootOf(r)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if p.State != Linked {
			continue
		}
		to := at + "/" + p.Name
		err := r.Mkdir(to, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		d, ok := known[p.Path]
		if !ok {
			d = dir{mode: 0o755}
		}
		mode := fs.FileMode(d.mode & 0o777)
		if d.mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
		if d.mode&0o2000 != 0 {
			mode |= fs.ModeSetgid
		}
		if err := r.SetAttr(to, rooted.Attr{Mode: mode, UID: uid, GID: gid + d.gid}); err != nil {
			return err
		}
	}
	return nil
}

func openShare(shareDir string) (*rooted.Root, error) {
	r, err := rooted.Open(shareDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, be.E(be.NotFound, "cannot open the shared dataset: %w", err)
	}
	return r, err
}
