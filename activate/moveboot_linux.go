package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/activate/boot/partition"
	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// alone is a directory without what is mounted below it, by a mount that
// has no place and ends with the process.
type alone struct {
	*rooted.Root
	tree int
}

func openAlone(dir string) (alone, error) {
	tree, err := cloneMount(dir)
	if err != nil {
		return alone{}, fmt.Errorf("cannot open what is mounted at %s: %w", rooted.Printable(dir), err)
	}
	// Nothing that is mounted where it came from comes into it.
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	var root *rooted.Root
	if err == nil {
		root, err = rooted.Open(fmt.Sprintf("/proc/self/fd/%d", tree))
	}
	if err != nil {
		unix.Close(tree)
		return alone{}, err
	}
	return alone{root, tree}, nil
}

func cloneMount(dir string) (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
}

func (a alone) close() {
	a.Root.Close()
	unix.Close(a.tree)
}

// notCopied are names on the file system that no boot environment wants: the
// loader's own files, and what belongs to the file system.
func notCopied(name string) bool { return name == "beadm" || name == "lost+found" }

// measureBoot is how many bytes there are to copy. It refuses more than the root
// file system has room for; free is what its store has.
func measureBoot(ctx context.Context, rootDir, bootDir string, free int64) (size int64, err error) {
	from, err := openAlone(bootDir)
	if err != nil {
		return 0, err
	}
	defer from.close()
	root, err := openAlone(rootDir)
	if err != nil {
		return 0, err
	}
	defer root.close()
	if info, err := root.Lstat(bootPoint); err != nil {
		return 0, err
	} else if !info.IsDir() {
		return 0, be.E(be.Unbootable, "/boot in the root file system, below it, is no directory")
	}
	if err := from.Walk("/", func(path string, info rooted.Info) error {
		if notCopied(strings.TrimPrefix(path, "/")) {
			return rooted.SkipDir
		}
		size += 4096 // its name, and the end of its last block
		if info.IsRegular() {
			size += info.Size
		}
		return ctx.Err()
	}); err != nil {
		return 0, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(root.Fd(), &st); err != nil {
		return 0, err
	}
	if have := min(free, int64(st.Bavail)*int64(st.Bsize)); have < size+room {
		return 0, be.E(be.Other, "what is there takes %d MiB, and the root file system has %d MiB free: make room in it", (size+room)>>20, have>>20)
	}
	return size, nil
}

// sourceOf says why what /etc/fstab mounts is not what is mounted at dir. A name
// that only udev could resolve is believed if it is not there.
func sourceOf(dir, source string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	key, value, named := strings.Cut(source, "=")
	same := true
	switch {
	case named && key == "UUID":
		uuid, err := partition.At(dir)
		if err != nil {
			return err
		}
		same = strings.EqualFold(uuid, value)
	case named && key == "LABEL":
		source = "/dev/disk/by-label/" + value
	case named && key == "PARTUUID":
		source = "/dev/disk/by-partuuid/" + strings.ToLower(value)
	}
	if strings.HasPrefix(source, "/dev/") {
		var dev unix.Stat_t
		if unix.Stat(source, &dev) == nil {
			same = dev.Rdev == st.Dev
		}
	}
	if !same {
		return fmt.Errorf("/etc/fstab mounts %s there, and that is not what is mounted", source)
	}
	return nil
}

// moveBoot makes the move. It is undone where it fails before the commit; what
// fails behind it is done by the next boot as well.
func (s *Session) moveBoot(ctx context.Context, mv *bootMove) error {
	from, err := openAlone(mv.dir)
	if err != nil {
		return err
	}
	defer from.close()
	root, err := openAlone(s.Root)
	if err != nil {
		return err
	}
	defer root.close()
	if !mv.committed {
		if err := s.copyAndCommit(ctx, mv, from.Root, root.Root); err != nil {
			return err
		}
	} else if names, err := filesIn(root.Root); err != nil || len(names) == 0 {
		return wrapMove(errors.Join(err, fmt.Errorf("/etc/fstab has its file system on %s, and the directory /boot below it is empty: have that line mount it on /boot again", loaderPoint)))
	}
	s.Report.Step("mount the file system of /boot on " + loaderPoint)
	if err := endCopy(root.Root); err != nil {
		return err
	}
	s.rereadUnits(ctx)
	if err := remountBoot(mv.dir); err != nil {
		return fmt.Errorf("/boot is moved, but its file system cannot be mounted on %s before the next restart: %w", loaderPoint, err)
	}
	return nil
}

// copyAndCommit is the part that is undone where it fails.
func (s *Session) copyAndCommit(ctx context.Context, mv *bootMove, from, root *rooted.Root) (err error) {
	s.Report.Step("copy /boot into the root file system")
	for _, dir := range []string{"/etc", bootPoint} { // what a cut left
		if err := root.SweepTemp(dir); err != nil {
			return err
		}
	}
	aside, err := beginCopy(root)
	defer func() {
		if err != nil {
			err = errors.Join(err, dropCopy(root, aside))
		}
	}()
	if err != nil {
		return err
	}
	if err := copyBoot(ctx, from, root); err != nil {
		return err
	}
	if err := uncover(from, root); err != nil {
		return err
	}
	// All of it is on the disk before the line that has it seen.
	if err := root.SyncFS(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.Report.Step("have /etc/fstab mount the file system of /boot on " + loaderPoint)
	if err := s.writeFstab(mv); err != nil {
		return err
	}
	list, _ := root.ReadDir(bootPoint)
	for _, info := range list {
		if at := bootPoint + "/" + info.Name; strings.HasPrefix(at, asideDir) {
			s.Report.Note("what lay hidden in the directory /boot, below its file system, is kept in %s", rooted.Printable(at))
		}
	}
	return nil // it is committed
}

// beginCopy makes the place for the copy, empty, and puts aside what lies in
// the hidden /boot: to the directory that it names.
func beginCopy(root *rooted.Root) (aside string, err error) {
	if _, err := root.Lstat(copyDir); err == nil {
		// A move was cut: all that it had come to is made again.
		return "", clearBoot(root, false)
	}
	names, err := filesIn(root)
	if err != nil {
		return "", err
	}
	if len(names) > 0 {
		aside = asideDir
		for i := 2; ; i++ {
			err := root.MkdirAttr(aside, rooted.Attr{Mode: 0o700})
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrExist) {
				return "", err
			}
			if list, err := root.ReadDir(aside); err == nil && len(list) == 0 {
				break // of one that was cut
			}
			aside = fmt.Sprintf("%s-%d", asideDir, i)
		}
		for _, name := range names {
			if err := root.RenameNoReplace(bootPoint+"/"+name, aside+"/"+name); err != nil {
				return aside, err
			}
		}
		// All at once: of one directory btrfs could keep the new name alone, and
		// the old one as well.
		if err := root.SyncFS(); err != nil {
			return aside, err
		}
	}
	if err := root.Mkdir(copyDir, 0o700); err != nil {
		return aside, err
	}
	return aside, root.SyncDir(bootPoint)
}

// filesIn are the names in the hidden /boot that are more than directories to
// mount on, without ours.
func filesIn(root *rooted.Root) (names []string, err error) {
	list, err := root.ReadDir(bootPoint)
	if err != nil {
		return nil, err
	}
	for _, info := range list {
		at := bootPoint + "/" + info.Name
		if at == copyDir || strings.HasPrefix(at, asideDir) {
			continue
		}
		holds := false
		if err := root.Walk(at, func(_ string, info rooted.Info) error {
			holds = holds || !info.IsDir()
			return nil
		}); err != nil {
			return nil, err
		}
		if holds {
			names = append(names, info.Name)
		}
	}
	return names, nil
}

// clearBoot removes what a copy brought into the hidden /boot; with all, also
// the place where it is made, last.
func clearBoot(root *rooted.Root, all bool) error {
	names, err := filesIn(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := root.RemoveAll(bootPoint + "/" + name); err != nil {
			return err
		}
	}
	if !all {
		return nil
	}
	if err := root.SyncDir(bootPoint); err != nil {
		return err
	}
	return root.RemoveAll(copyDir)
}

// dropCopy undoes beginCopy and what followed.
func dropCopy(root *rooted.Root, aside string) error {
	if _, err := root.Lstat(copyDir); err == nil {
		if err := clearBoot(root, true); err != nil {
			return fmt.Errorf("cannot undo the copy of /boot: %w", err)
		}
	}
	if aside == "" {
		return nil
	}
	// Only now, when nothing is ours in there any more.
	if err := root.SyncDir(bootPoint); err != nil {
		return err
	}
	list, err := root.ReadDir(aside)
	for _, info := range list {
		err = errors.Join(err, root.RenameNoReplace(aside+"/"+info.Name, bootPoint+"/"+info.Name))
	}
	if err == nil {
		err = root.Remove(aside)
	}
	return err
}

// passes are how often /boot is copied anew because it changes meanwhile.
const passes = 5

// copyBoot copies the file system and reads the copy back from the disk.
func copyBoot(ctx context.Context, from, root *rooted.Root) error {
	src, err := copier.OpenDir(from, "/")
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := copier.OpenDir(root, copyDir)
	if err != nil {
		return err
	}
	defer dst.Close()
	c := copier.New(src, dst, copier.Options{Skip: notCopied})
	defer c.Close()
	why := errors.New("it changes")
	for range passes {
		res, err := c.Pass(ctx, false)
		if err == nil {
			err = c.Sync()
		}
		if err != nil {
			return err
		}
		if err = sameBoot(ctx, from, root); err == nil && res.Changed == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			why = err
		}
	}
	return be.E(be.InUse, "cannot copy /boot as it is; if something writes to it, as the installation of a kernel, wait for its end: %w", why)
}

// sameBoot says why the copy is not the same, by what is on the disk.
func sameBoot(ctx context.Context, from, root *rooted.Root) error {
	return from.Walk("/", func(path string, info rooted.Info) error {
		if path == "/" {
			return ctx.Err()
		}
		if notCopied(strings.TrimPrefix(path, "/")) {
			return rooted.SkipDir
		}
		if err := sameFile(from, path, info, root, copyDir+path); err != nil {
			return fmt.Errorf("the copy of /boot%s is not what it should be: %w", rooted.Printable(path), err)
		}
		return ctx.Err()
	})
}

// sameFile says why two names are not the same in what a boot needs of them.
func sameFile(from *rooted.Root, path string, info rooted.Info, in *rooted.Root, at string) error {
	made, err := in.Lstat(at)
	switch {
	case err != nil:
		return err
	case made.Mode != info.Mode || made.UID != info.UID || made.GID != info.GID:
		return errors.New("it has another type, mode or owner")
	case info.IsLink():
		was, err := from.Readlink(path)
		if err != nil {
			return err
		}
		if is, err := in.Readlink(at); err != nil || is != was {
			return errors.Join(err, fmt.Errorf("it leads to %s", rooted.Printable(is)))
		}
		return nil
	case !info.IsRegular():
		return nil
	}
	a, err := from.OpenNoFollow(path)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := in.OpenNoFollow(at)
	if err != nil {
		return err
	}
	defer b.Close()
	// It is synced: from here on it is read from the disk.
	unix.Fadvise(int(b.Fd()), 0, 0, unix.FADV_DONTNEED)
	return sameBytes(a, b)
}

func sameBytes(a, b io.Reader) error {
	one, two := make([]byte, 1<<18), make([]byte, 1<<18)
	for {
		n, err := io.ReadFull(a, one)
		m, err2 := io.ReadFull(b, two)
		ended := err == io.EOF || err == io.ErrUnexpectedEOF
		switch {
		case err != nil && !ended:
			return err
		case err2 != nil && err2 != io.EOF && err2 != io.ErrUnexpectedEOF:
			return err2
		case n != m || !bytes.Equal(one[:n], two[:m]):
			return errors.New("it holds something else")
		case ended:
			return nil
		}
	}
}

// uncover gives what was copied its names in the hidden /boot, and that the mode
// and owner of the file system's top.
func uncover(from, root *rooted.Root) error {
	list, err := root.ReadDir(copyDir)
	if err != nil {
		return err
	}
	for _, info := range list {
		at := bootPoint + "/" + info.Name
		// Nothing but directories to mount on can be there.
		if err := root.RemoveAll(at); err != nil {
			return err
		}
		if err := root.RenameNoReplace(copyDir+"/"+info.Name, at); err != nil {
			return err
		}
	}
	if err := root.MkdirAll(loaderPoint, 0o755); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(from.Fd(), &st); err != nil || st.Type == unix.MSDOS_SUPER_MAGIC {
		return err // which knows no mode
	}
	info, err := from.Lstat("/")
	if err != nil {
		return err
	}
	attr := rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID)}
	if attr.Xattrs, err = from.Xattrs("/"); err != nil {
		return err
	}
	return root.SetAttr(bootPoint, attr)
}

// endCopy removes the place of the copy, of which nothing is left in it.
func endCopy(root *rooted.Root) error {
	if err := root.Remove(copyDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.SyncDir(bootPoint)
}

// remountBoot mounts the file system that is on dir, and what is below it, at
// their places in the directory that was hidden. Who has something open there
// keeps it.
func remountBoot(dir string) error {
	mounted, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("cannot read what is mounted: %w", err)
	}
	type place struct {
		tree int
		at   string
	}
	places := []place{}
	defer func() {
		for _, p := range places {
			unix.Close(p.tree)
		}
	}()
	add := func(from, to string) error {
		tree, err := cloneMount(from)
		if err != nil {
			return fmt.Errorf("cannot take %s along: %w", rooted.Printable(from), err)
		}
		places = append(places, place{tree, to})
		return nil
	}
	if err := add(dir, filepath.Join(dir, "beadm")); err != nil {
		return err
	}
	slices.SortStableFunc(mounted, func(a, b *mountinfo.Info) int { return len(a.Mountpoint) - len(b.Mountpoint) })
	for _, m := range mounted {
		if strings.HasPrefix(m.Mountpoint, dir+"/") {
			if err := add(m.Mountpoint, m.Mountpoint); err != nil {
				return err
			}
		}
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return err
	}
	for _, p := range places {
		if e := unix.MoveMount(p.tree, "", unix.AT_FDCWD, p.at, unix.MOVE_MOUNT_F_EMPTY_PATH); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", rooted.Printable(p.at), e))
		}
	}
	return err
}

// mountBelowBoot mounts what an fstab has below /boot and is not mounted, and
// ends what a move that was cut left.
func mountBelowBoot(ctx context.Context, rootDir, fstab string) error {
	root, err := openAlone(rootDir)
	if err != nil {
		return err
	}
	err = endCopy(root.Root)
	root.close()
	if err != nil {
		return err
	}
	for line := range strings.Lines(fstab) {
		f := fstabFields(line)
		if f == nil || !strings.HasPrefix(f[1], bootPoint+"/") || isMountPoint(filepath.Join(rootDir, f[1])) {
			continue
		}
		options := "defaults"
		if len(f) > 3 {
			options = f[3]
		}
		if f[1] != loaderPoint && slices.Contains(strings.Split(options, ","), "noauto") {
			continue
		}
		cmd := exec.CommandContext(ctx, "mount", "-t", f[2], "-o", options, "--", f[0], filepath.Join(rootDir, f[1]))
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if out, err := cmd.CombinedOutput(); err != nil {
			return be.E(be.NoStore, "cannot mount %s again: %w: %s", rooted.Printable(f[1]), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// rereadUnits has systemd make the units of the new fstab; one of the old would
// mount the file system where it was.
func (s *Session) rereadUnits(ctx context.Context) {
	if _, err := os.Stat(runtimeUnits); s.Root != "/" || err != nil || !initIsSystemd() {
		return
	}
	if out, err := exec.CommandContext(ctx, "systemctl", "daemon-reload").CombinedOutput(); err != nil {
		s.Report.Warn("systemd did not read /etc/fstab again (systemctl daemon-reload): %v: %s", err, bytes.TrimSpace(out))
	}
}
