package activate

import (
	"context"
	"os"
	"path/filepath"

	"beadm/activate/boot"
	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/rooted"
)

// checkBootable is safety rule 4: what cannot boot, or could not come back, is
// not activated.
func (s *Session) checkBootable(ctx context.Context, b be.BE) error {
	return s.lookInto(ctx, b, func(dir string) error { return s.bootableAt(ctx, b, dir) })
}

// lookInto calls f with where b is mounted, read-only if it is not yet.
func (s *Session) lookInto(ctx context.Context, b be.BE, f func(dir string) error) error {
	dir := b.Mountpoint
	if dir == "" {
		dir = s.path("look")
		if err := s.private(dir); err != nil {
			return err
		}
		if err := s.Store.Mount(ctx, b.Name, dir, true); err != nil {
			return be.E(be.Unbootable, "the root of %s cannot be mounted: %w", b.Name, err)
		}
		defer s.Store.Unmount(context.WithoutCancel(ctx), b.Name, true)
	}
	return f(dir)
}

// checkWayBack refuses a trial whose failure would end in a default that the
// loader cannot start.
func (s *Session) checkWayBack(ctx context.Context, name string) error {
	if s.State.Loader.Kind == "stub" {
		return nil
	}
	old, err := s.byUUID(ctx, s.State.Default)
	if err != nil {
		return err
	}
	return s.lookInto(ctx, old, func(dir string) error {
		if _, _, err := s.findKernel(ctx, dir); err != nil {
			return be.E(be.Unbootable, "cannot activate %s: a failed trial would come back to %s, which could not boot: %w", name, old.Name, err)
		}
		return nil
	})
}

// checkWatched refuses a trial that nothing could end: its timers are
// systemd's, or of our own where the system has a boot loader of its own. A
// guest is watched by its host.
func (s *Session) checkWatched(ctx context.Context, b be.BE) error {
	if _, own := systems[s.State.Loader.Kind]; own || s.Root != "/" {
		return nil
	}
	return s.lookInto(ctx, b, func(dir string) error {
		root, err := rooted.Open(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		init, err := root.Resolve("/sbin/init")
		if err != nil || filepath.Base(init) != "systemd" {
			return be.E(be.Unbootable, "cannot activate %s: its init is not systemd, so that nothing could confirm its trial or end it; give -t or --permanent", b.Name)
		}
		return nil
	})
}

// fits refuses what the loader would have no room for.
func (s *Session) fits(ctx context.Context, b be.BE) error {
	f, ok := s.Loader.(boot.Fitter)
	if !ok {
		return nil
	}
	return s.lookInto(ctx, b, func(dir string) error {
		e, err := s.entry(ctx, b, dir)
		if err != nil {
			return err
		}
		return f.Fits(ctx, e)
	})
}

func (s *Session) bootableAt(ctx context.Context, b be.BE, dir string) error {
	var inside *boot.Initrd
	if s.State.Loader.Kind != "stub" {
		kernel, initrd, err := s.findKernel(ctx, dir)
		if _, own := systems[s.State.Loader.Kind]; err == nil && !own {
			var found boot.Initrd
			found, err = boot.CheckWhole(ctx, dir, kernel, initrd)
			inside = &found
		}
		if err != nil {
			return be.E(be.Unbootable, "cannot activate %s: %w", b.Name, err)
		}
	}
	if err := holdsBeadm(dir); err != nil && !s.Guest {
		return be.E(be.Unbootable, "cannot activate %s: %w; mount it and run beadm setup --root DIR", b.Name, err)
	}
	if !existsInRoot(dir, "/sbin/init") {
		return be.E(be.Unbootable, "cannot activate %s: it has no /sbin/init", b.Name)
	}
	if s.Guest {
		// The rest is the host's: its runtime mounts the root, and its beadm.conf rules.
		return guest.CheckRoot(dir)
	}
	if data, err := readInRoot(dir, "/etc/beadm/beadm.conf"); err == nil {
		if _, err := ParseConf("beadm.conf", data); err != nil {
			return be.E(be.Unbootable, "cannot activate %s: the configuration in it cannot be read: %w", b.Name, err)
		}
	}
	if err := checkFstab(dir, func() (be.RootRef, error) { return s.Store.RootRef(ctx, b.Name) }); err != nil {
		return be.E(be.Unbootable, "cannot activate %s: %w", b.Name, err)
	}
	if err := s.sameHostid(ctx, dir, inside); err != nil {
		return be.E(be.Unbootable, "cannot activate %s: %w", b.Name, err)
	}
	theirs, err := readInRoot(dir, "/"+identityFile)
	if ours, e := os.ReadFile(s.Dir.Path("identity")); e == nil && (err != nil || string(ours) != string(theirs)) && !s.AnyHost {
		return be.E(be.Unbootable, "cannot activate %s: beadm in it was set up for another host; mount it and run beadm setup --root DIR", b.Name)
	}
	return nil
}
