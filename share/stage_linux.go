package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/rooted"
)

// Stage puts the staging directory of the boot environment mounted at root
// over its /var/share, so that what packages write into shared directories
// stays in the boot environment. The directories of its layout are made in
// it, with the modes and owners that they and the directories in them have in
// shareDir, where the live shared dataset is mounted (empty: modes of the
// profile, nothing in them). No data is copied. Repeatable.
func Stage(ctx context.Context, root, shareDir string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return be.E(be.NotFound, "cannot stage %s: %w", root, err)
	}
	defer r.Close()
	if err := stage(ctx, r, shareDir); err != nil {
		return be.E(be.KindOf(err), "cannot put the staging directory over %s%s: %w", root, MountPoint, err)
	}
	return nil
}

func stage(ctx context.Context, r *rooted.Root, shareDir string) error {
	all, err := layout(r, Profile("linux"))
	if err != nil {
		return err
	}
	paths, err := look(r, all)
	if err != nil {
		return err
	}
	if err := makeStaged(ctx, r, paths, shareDir); err != nil {
		return err
	}
	if err := r.MkdirAll(MountPoint, 0o755); err != nil {
		return err
	}
	from, err := copier.OpenDir(r, StagedDir)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := copier.OpenDir(r, MountPoint)
	if err != nil {
		return err
	}
	defer to.Close()
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(from.Fd()), &a), unix.Fstat(int(to.Fd()), &b)); err != nil {
		return err
	}
	if a.Dev == b.Dev && a.Ino == b.Ino {
		return nil // it is there
	}
	if mounted, err := copier.Mounted(to); err != nil || mounted {
		if err == nil {
			err = errors.New("something else is mounted there")
		}
		return err
	}
	// Through descriptors: a link that appears on the way cannot lead the
	// mount out of the boot environment.
	return unix.Mount(fdPath(from), fdPath(to), "", unix.MS_BIND, "")
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Unstage takes away what Stage mounted, wherever a rename has brought it, or
// whatever is mounted on the boot environment's /var/share. Nothing mounted is no
// error.
func Unstage(ctx context.Context, root string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return be.E(be.NotFound, "cannot unstage %s: %w", root, err)
	}
	defer r.Close()
	if err := errors.Join(unmountShare(r), unmountDisplaced(r)); err != nil {
		return be.E(be.Other, "cannot unmount %s%s: %w", root, MountPoint, err)
	}
	return nil
}

func unmountShare(r *rooted.Root) error {
	for {
		mounted, err := shareMounted(r)
		if err != nil || !mounted {
			return err
		}
		// A stand-in's own, which nobody else mounts there.
		for _, name := range readOnly {
			standIn, err := isStandIn(r, MountPoint+"/"+name)
			if err == nil && standIn {
				err = unmountAt(r, MountPoint+"/"+name)
			}
			if err != nil {
				return err
			}
		}
		if err := unmountAt(r, MountPoint); err != nil {
			return err
		}
	}
}

// isStandIn says whether a tmpfs of refuseMail's is mounted at path, which may
// be a link in somebody's boot environment.
func isStandIn(r *rooted.Root, path string) (bool, error) {
	info, err := r.Lstat(path)
	if err != nil || !info.IsDir() {
		return false, ignoreGone(err)
	}
	d, err := copier.OpenDir(r, path)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return false, err
	}
	mounted, err := copier.Mounted(d)
	return mounted && st.Type == unix.TMPFS_MAGIC && st.Flags&unix.ST_RDONLY != 0, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func unmountAt(r *rooted.Root, path string) error {
	// Where Stage has followed the links to.
	at, err := r.Resolve(path)
	if err != nil {
		return err
	}
	i := strings.LastIndexByte(at, '/')
	parent, err := copier.OpenDir(r, at[:i]+"/")
	if err != nil {
		return err
	}
	defer parent.Close()
	return unix.Unmount(fdPath(parent)+at[i:], unix.UMOUNT_NOFOLLOW)
}

// shareMounted says whether something is mounted at /var/share.
func shareMounted(r *rooted.Root) (bool, error) {
	to, err := copier.OpenDir(r, MountPoint)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return false, nil // nothing can be mounted there
	}
	if err != nil {
		return false, err
	}
	defer to.Close()
	return copier.Mounted(to)
}

// Skeleton is for a machine whose shared dataset cannot be mounted: a tmpfs
// with the directories that the links of root lead to, so that sshd and the
// administrator come up. What is written there is lost at the next boot, and
// whoever calls this says so loudly; mail and spool are read-only, so that no
// mail is accepted. Something mounted there already is left.
func Skeleton(ctx context.Context, root string) error {
	r, err := rooted.Open(root)
	if err != nil {
		return be.E(be.NotFound, "cannot make a stand-in for the shared dataset: %w", err)
	}
	defer r.Close()
	err = func() error {
		if err := straight(r); err != nil {
			return err
		}
		mounted, err := shareMounted(r)
		if err != nil || mounted {
			return err
		}
		all, err := layout(r, Profile("linux"))
		if err != nil {
			return err
		}
		paths, err := look(r, all)
		if err != nil {
			return err
		}
		to, err := copier.OpenDir(r, MountPoint)
		if err != nil {
			return err
		}
		err = unix.Mount(StandIn, fdPath(to), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=10%")
		to.Close()
		if err != nil {
			return err
		}
		if err := makeDirs(r, MountPoint, paths); err != nil {
			return err
		}
		return refuseMail(r, paths)
	}()
	if err != nil {
		return be.E(be.Other, "cannot make a stand-in for the shared dataset at %s%s: %w", root, MountPoint, err)
	}
	return nil
}

// readOnly are the directories of a stand-in that take nothing in.
var readOnly = []string{"mail", "spool"}

// refuseMail keeps what must not be lost from being taken in: a mailer that
// cannot write lets the sender try again.
func refuseMail(r *rooted.Root, paths []Path) error {
	for _, p := range paths {
		if p.State != Linked || !slices.Contains(readOnly, p.Name) {
			continue
		}
		d, err := copier.OpenDir(r, MountPoint+"/"+p.Name)
		if err != nil {
			return err
		}
		err = unix.Mount(StandIn, fdPath(d), "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4k")
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h

// isImmutable says whether a directory has the immutable flag.
func isImmutable(d *os.File) (bool, error) {
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	return flags&immutable != 0, ignoreUnsupported(err)
}

// protect sets or clears the immutable flag of a directory, where its file
// system has one.
func protect(d *os.File, on bool) error {
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return ignoreUnsupported(err)
	}
	want := flags &^ immutable
	if on {
		want |= immutable
	}
	if want == flags {
		return nil
	}
	return ignoreUnsupported(unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, int(want)))
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
