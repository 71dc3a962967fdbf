package activate

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
)

// A /boot that is a file system of its own is every boot environment's: one
// kernel for all. The move gives each its own. What is there is copied into the
// directory /boot of the root, which lies hidden below it, and the file system
// is the loader's from then on, at /boot/beadm, where copies of the kernels are
// that the loader cannot read from a root.
//
// The line of /etc/fstab is the one commit point. Before it there is only a copy
// that nobody sees; after it only mounts have to follow, as at the next boot.
// Nothing is taken away from the file system, and the configuration that the
// machine starts by is on it before, meanwhile and after.
const (
	bootPoint   = "/boot"
	loaderPoint = "/boot/beadm"

	// copyDir, below the hidden /boot, is the copy as long as it is being made.
	// While it is there all else in there that is a file is ours, but what was
	// put aside.
	copyDir = "/boot/.beadm-moving"

	// asideDir is where is put what lay hidden below the file system.
	asideDir = "/boot/before-beadm"
)

// loaderFS are what GRUB can write to.
var loaderFS = []string{"vfat", "ext2", "ext3", "ext4"}

// bootMove is what is to be done, made by reading only.
type bootMove struct {
	dir   string // where the file system is mounted: /boot of the running root
	was   string // /etc/fstab
	fstab string // and what it is to be
	bytes int64  // how much there is to copy

	// committed: /etc/fstab is that already, and only mounts are left.
	committed bool
}

// BootFS says where the file system is mounted that is, or was, /boot, for
// setup with MoveBoot: /boot, or /boot/beadm. After a move that was cut it is
// mounted again, unless dryRun; without one of its own it is refused.
func (t *Target) BootFS(ctx context.Context, dryRun bool) (string, error) {
	s := &Session{Target: t}
	own, err := s.ownBoot(ctx)
	if err != nil {
		return "", err
	}
	if own != nil {
		return filepath.Join(t.Root, bootPoint), nil
	}
	at := filepath.Join(t.Root, loaderPoint)
	text, _, err := s.readFstab()
	if err != nil {
		return "", err
	}
	switch {
	case fstabLine(text, loaderPoint) == nil && fstabLine(text, bootPoint) != nil:
		return "", be.E(be.NoStore, "the file system that /etc/fstab has on /boot is not mounted: mount it first")
	case fstabLine(text, loaderPoint) == nil:
		return "", be.E(be.Usage, "/boot is in the root file system already: leave --move-boot out")
	case !dryRun:
		if err := mountBelowBoot(ctx, t.Root, text); err != nil {
			return "", err
		}
	case !isMountPoint(at):
		return "", be.E(be.NoStore, "the file system of %s is not mounted: mount it first", loaderPoint)
	}
	return at, nil
}

// ownBoot is what is mounted on /boot, or nil if that is a directory of the boot
// environment.
func (s *Session) ownBoot(ctx context.Context) (*mountinfo.Info, error) {
	mounted, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read what is mounted: %w", err)
	}
	if !s.isLive(mounted) {
		return nil, be.E(be.Usage, "--move-boot is for the system that runs")
	}
	m := mountOf(mounted, filepath.Join(s.Root, bootPoint))
	if m == nil || m.Mountpoint != filepath.Join(s.Root, bootPoint) {
		return nil, nil
	}
	if _, part, err := s.volumeAt(ctx, bootPoint); err == nil && part {
		return nil, nil
	}
	return m, nil
}

// planBootMove refuses what cannot be moved. It is nil where nothing is left to
// do.
func (s *Session) planBootMove(ctx context.Context) (*bootMove, error) {
	m, err := s.ownBoot(ctx)
	if err != nil || m == nil {
		return nil, err
	}
	mounted, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read what is mounted: %w", err)
	}
	mv := &bootMove{dir: m.Mountpoint}
	at := filepath.Join(s.Root, loaderPoint)
	for _, other := range mounted {
		switch {
		case other.Mountpoint == mv.dir && other.ID != m.ID:
			return nil, be.E(be.InUse, "cannot move /boot: more than one file system is mounted on it, as by an automount: have a plain line in /etc/fstab mount it")
		case other.Mountpoint == at:
			return nil, be.E(be.InUse, "cannot move /boot: another file system is mounted on %s, where it is to be: unmount that", loaderPoint)
		case other.FSType == "autofs" && strings.HasPrefix(other.Mountpoint, mv.dir+"/"):
			return nil, be.E(be.InUse, "cannot move /boot: %s is mounted by an automount: have a plain line in /etc/fstab mount it", rooted.Printable(other.Mountpoint))
		}
	}
	switch {
	case m.FSType == "zfs":
		return nil, be.E(be.Unbootable, "cannot move /boot: it is a dataset, to which GRUB cannot write, and not on a partition")
	case !slices.Contains(loaderFS, m.FSType):
		return nil, be.E(be.Unbootable, "cannot move /boot: it is %s, to which GRUB cannot write: it can to %s", m.FSType, strings.Join(loaderFS, ", "))
	case m.Root != "/":
		return nil, be.E(be.Unbootable, "cannot move /boot: only the directory %s of its file system is mounted there", rooted.Printable(m.Root))
	case slices.Contains(strings.Split(m.Options, ","), "ro"):
		return nil, be.E(be.Unbootable, "cannot move /boot: it is mounted read-only")
	}
	text, _, err := s.readFstab()
	if err != nil {
		return nil, err
	}
	mv.was = text
	if line := fstabLine(text, loaderPoint); line != nil && fstabLine(text, bootPoint) == nil {
		mv.committed = true
		return mv, wrapMove(sourceOf(mv.dir, line[0]))
	}
	var source string
	if mv.fstab, source, err = movePoint(text, bootPoint, loaderPoint); err != nil {
		return nil, wrapMove(err)
	}
	if err := sourceOf(mv.dir, source); err != nil {
		return nil, wrapMove(err)
	}
	free, err := s.Store.Free(ctx)
	if err != nil {
		return nil, err
	}
	if mv.bytes, err = measureBoot(ctx, s.Root, mv.dir, free); err != nil {
		return nil, be.E(be.KindOf(err), "cannot move /boot: %w", err)
	}
	return mv, nil
}

func wrapMove(err error) error {
	if err == nil {
		return nil
	}
	return be.E(be.Unbootable, "cannot move /boot: %w", err)
}

// mayMoveBoot is what the state has against it.
func (s *Session) mayMoveBoot(ctx context.Context, mv *bootMove) error {
	if mv == nil {
		return nil
	}
	if t := s.State.Trial; t != nil {
		return be.E(be.InUse, "cannot move /boot while there is a trial of %s: take it back with beadm activate -T first", s.nameOf(ctx, t.BE))
	}
	if len(s.loaderPlaces(s.State.Loader)) > 1 {
		return be.E(be.Usage, "cannot move /boot where the loader is on several disks: beadm setup --loader-mirror none first")
	}
	return nil
}

func (mv *bootMove) would(r Reporter) {
	if mv == nil {
		return
	}
	if !mv.committed {
		r.Would(fmt.Sprintf("copy /boot, %d MiB, into the directory /boot of the root file system", (mv.bytes+1<<20-1)>>20))
	}
	r.Would("mount the file system of /boot on " + loaderPoint + ", by /etc/fstab too")
}

// mayInherit refuses what the loader could not do with the file system, before
// anything is moved.
func (s *Session) mayInherit(ctx context.Context, def boot.Entry) error {
	h, ok := s.heir()
	if !ok {
		return nil
	}
	if err := h.MayInherit(ctx, def); err != nil {
		return be.E(be.KindOf(err), "cannot move /boot: %w", err)
	}
	return nil
}

// inherit has the machine, which starts by what is on the file system, come to
// the loader's configuration.
func (s *Session) inherit(ctx context.Context) error {
	if h, ok := s.heir(); ok {
		return h.Inherit(ctx)
	}
	return nil
}

// wouldInherit is mayInherit of a dry run: nothing is set up yet, and nothing
// is kept.
func (s *Session) wouldInherit(ctx context.Context, conf state.LoaderConfig, running be.BE) error {
	was, loader := s.State.Loader, s.Loader
	defer func() { s.State.Loader, s.Loader = was, loader }()
	var err error
	if s.Loader, err = s.openLoader(ctx, conf); err != nil {
		return err
	}
	s.State.Loader = conf
	if running.UUID == "" {
		running.UUID = be.NewUUID()
	}
	e, err := s.entry(ctx, running, s.Root)
	if err != nil {
		return err
	}
	return s.mayInherit(ctx, e)
}

func (s *Session) heir() (boot.Heir, bool) {
	c, _ := s.Loader.(committedLoader)
	h, ok := c.Loader.(boot.Heir)
	return h, ok
}

// readFstab is the running system's, and what its file has beside its content.
func (s *Session) readFstab() (string, rooted.Attr, error) {
	root, err := rooted.Open(s.Root)
	if err != nil {
		return "", rooted.Attr{}, err
	}
	defer root.Close()
	info, err := root.Lstat("/etc/fstab")
	if err == nil && !info.IsRegular() {
		err = be.E(be.Unbootable, "/etc/fstab is a link: have the file itself there")
	}
	if err != nil {
		return "", rooted.Attr{}, err
	}
	attr := rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID)}
	if attr.Xattrs, err = root.Xattrs("/etc/fstab"); err != nil {
		return "", attr, err
	}
	text, err := root.ReadFileLimit("/etc/fstab", 1<<20)
	return string(text), attr, err
}

// writeFstab commits the move. An fstab that somebody has changed since is not
// touched.
func (s *Session) writeFstab(mv *bootMove) error {
	text, attr, err := s.readFstab()
	if err != nil {
		return err
	}
	if text != mv.was {
		return be.E(be.InUse, "/etc/fstab was changed meanwhile: try again")
	}
	root, err := rooted.Open(s.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.WriteFileAtomic("/etc/fstab", []byte(mv.fstab), attr)
}

// fstabLine are the fields of the last line of an fstab (fstab(5)) for a mount
// point, or nil.
func fstabLine(text, point string) (found []string) {
	for line := range strings.Lines(text) {
		if f := fstabFields(line); f != nil && f[1] == point {
			found = f
		}
	}
	return found
}

// fstabFields are those of a line that mounts something, with the mount point
// as a clean path; nil for another.
func fstabFields(line string) []string {
	f := strings.Fields(line)
	if len(f) < 3 || strings.HasPrefix(f[0], "#") || !strings.HasPrefix(f[1], "/") {
		return nil
	}
	f[0], f[1] = strings.ReplaceAll(fstabUnescape.Replace(f[0]), `"`, ""), path.Clean(fstabUnescape.Replace(f[1]))
	return f
}

// movePoint is an fstab with another mount point in the line that has from; all
// other bytes stay. source is what that line mounts.
func movePoint(text, from, to string) (moved, source string, err error) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		f := fstabFields(line)
		switch {
		case f != nil && f[1] == to:
			return "", "", fmt.Errorf("/etc/fstab has another line for %s: take it out", to)
		case f == nil || f[1] != from:
			out.WriteString(line)
			continue
		case source != "":
			return "", "", fmt.Errorf("/etc/fstab has two lines for %s: take one out", from)
		case len(f) > 3 && slices.Contains(strings.Split(f[3], ","), "x-systemd.automount"):
			return "", "", fmt.Errorf("/etc/fstab has an automount on %s: take the option x-systemd.automount out, and restart", from)
		}
		source = f[0]
		raw := strings.Fields(line)
		at := strings.Index(line, raw[0]) + len(raw[0])
		at += strings.Index(line[at:], raw[1])
		out.WriteString(line[:at] + to + line[at+len(raw[1]):])
	}
	if source == "" {
		return "", "", fmt.Errorf("no line of /etc/fstab mounts %s: have one there, as systemd's own units are not changed", from)
	}
	return out.String(), source, nil
}
