package activate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"beadm/be"
	"beadm/be/rooted"
)

// kernelHooks are where packages of kernels call for whoever keeps a boot menu
// (Debian's kernel handbook, chapter 8; Fedora and others have no such place),
// and where update-initramfs(8) does, which writes a new initrd at any time:
// systemd-boot starts a copy of it. That one's place need not be there yet.
var kernelHooks = []struct{ dir, of string }{
	{dir: "/etc/kernel/postinst.d"},
	{dir: "/etc/kernel/postrm.d"},
	{dir: "/etc/initramfs/post-update.d", of: "/usr/sbin/update-initramfs"},
}

// A removal that cannot be told is not made to fail: the kernel is gone.
const kernelHook = `#!/bin/sh
# beadm: the boot menu's entry follows the kernel of the running system.
[ -x /usr/lib/beadm/init ] && [ ! -d /run/beadm-recorders ] || exit 0
case $0 in
*postrm*) /usr/lib/beadm/init kernel-changed || : ;;
*) exec /usr/lib/beadm/init kernel-changed ;;
esac
`

// putKernelHooks installs the hook where the boot environment has the places
// for it.
func putKernelHooks(root *rooted.Root) error {
	for _, hook := range kernelHooks {
		if hook.of != "" {
			if _, err := root.Stat(hook.of); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
			if err := root.MkdirAll(hook.dir, 0o755); err != nil {
				return err
			}
		}
		if info, err := root.Stat(hook.dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			continue
		} else if err != nil {
			return err
		}
		path := filepath.Join(hook.dir, "zz-beadm")
		if old, err := root.ReadFileLimit(path, 1<<20); err == nil && string(old) == kernelHook {
			continue
		}
		if err := root.WriteFileAtomic(path, []byte(kernelHook), rooted.Attr{Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

// KernelChanged writes the menu entry of the running boot environment again,
// after its kernel was replaced in place: an entry names files, and the old
// ones go. It waits up to wait for another beadm. Where it is called in a root
// that does not run it does nothing: that one's entry is written when it is
// activated.
func (t *Target) KernelChanged(ctx context.Context, wait time.Duration) error {
	if !isSystemRoot() {
		return nil
	}
	for deadline := time.Now().Add(wait); ; {
		err := t.kernelChanged(ctx)
		if be.KindOf(err) != be.Locked || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (t *Target) kernelChanged(ctx context.Context) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Dir == nil || s.State.Loader.Kind == "" || s.State.Loader.Kind == "stub" {
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	if err := s.keepPrimary(); err != nil {
		return err
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	// First what the entry names, to where the loader reads it.
	if err := s.Store.Flush(ctx); err != nil {
		return err
	}
	if err := s.putEntry(ctx, running, t.Root); err != nil {
		return err
	}
	s.mendEntries(ctx)
	return nil
}

// isSystemRoot says whether / is the root of process 1, and not a chroot.
func isSystemRoot() bool {
	ours, err := os.Stat("/")
	if err != nil {
		return false
	}
	its, err := os.Stat("/proc/1/root/.")
	return err == nil && os.SameFile(ours, its)
}
