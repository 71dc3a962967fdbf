package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
)

// SetupOptions are those of beadm setup.
type SetupOptions struct {
	Loader state.LoaderConfig
	// Mirrors are further places of the loader, on other disks: nil leaves them
	// as they were.
	Mirrors []state.LoaderConfig
	Binary  string // the program to put into the boot environment; empty: the running one
	// MoveBoot has a /boot that is a file system of its own become the loader's,
	// at /boot/beadm, and what is there a directory of each boot environment.
	// Loader is on that file system (BootFS).
	MoveBoot bool
	DryRun   bool
}

// Setup makes a host ready: the state file system, our init in the running
// boot environment, the loader's configuration with an entry and the default
// for what runs now. Everything it does may be repeated.
func (t *Target) Setup(ctx context.Context, opts SetupOptions) error {
	running, err := t.running(ctx)
	if err != nil {
		return err
	}
	var move *bootMove
	if opts.MoveBoot {
		if move, err = (&Session{Target: t}).planBootMove(ctx); err != nil {
			return err
		}
	}
	if opts.DryRun {
		s, err := t.Look(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		if s.Dir == nil {
			t.Report.Would("create the state file system of " + t.Store.Location())
		} else {
			s.dryRun = true
			if err := s.lock(); err != nil {
				return err
			}
			if err := s.maySetup(running); err != nil {
				return err
			}
			if err := s.mayMove(ctx, opts.Loader, opts.Mirrors); err != nil {
				return err
			}
			if err := s.mayMoveBoot(ctx, move); err != nil {
				return err
			}
		}
		if move != nil {
			if err := s.wouldInherit(ctx, opts.Loader, running); err != nil {
				return err
			}
		}
		move.would(t.Report)
		def := running.Name
		if d, err := s.byUUID(ctx, s.State.Default); err == nil {
			def = d.Name
		}
		if !t.Guest {
			t.Report.Would("put beadm into " + running.Name + " as " + initPath)
		}
		t.Report.Would("install the configuration of " + opts.Loader.Kind + " with " + def + " as the default")
		for _, m := range opts.Mirrors {
			t.Report.Would("install it also on " + m.Place().Name())
		}
		return nil
	}
	t.Report.Step("create the state file system")
	if err := t.Store.CreateVolume(ctx, be.StateVolume); err != nil {
		return err
	}
	s := &Session{Target: t}
	defer s.Close()
	if err := s.mountState(ctx); err != nil {
		return err
	}
	if s.Dir, err = state.Open(s.path("state"), t.Store.GUID(), true); err != nil {
		return err
	}
	if _, err := s.Dir.Load(); state.Damaged(err) {
		to, aerr := state.SetAside(s.Dir.Path("state.json"))
		if aerr != nil {
			return errors.Join(err, aerr)
		}
		t.Report.Warn("the state could not be read and is set up anew: the old one stands in %s", filepath.Base(to))
	}
	if err := s.lock(); err != nil {
		return err
	}
	if err := s.maySetup(running); err != nil {
		return err
	}
	if err := s.mayMove(ctx, opts.Loader, opts.Mirrors); err != nil {
		return err
	}
	if err := s.mayMoveBoot(ctx, move); err != nil {
		return err
	}
	if running, err = t.Store.Adopt(ctx, running.Name); err != nil {
		return err
	}
	if !t.Guest {
		t.Report.Step("put beadm into " + running.Name)
		identity, err := s.identity()
		if err != nil {
			return err
		}
		if err := putBeadm(t.Root, opts.Binary, identity); err != nil {
			return err
		}
		if err := putHooks(opts.Loader.Kind, t.Root); err != nil {
			return fmt.Errorf("cannot have %s run beadm boot: %w", running.Name, err)
		}
	}
	t.Report.Step("install the configuration of " + opts.Loader.Kind)
	conf := opts.Loader
	if conf.Args == nil {
		var dropped []string
		if conf.Args, dropped = kernelArgs(t.Cmdline); len(dropped) > 0 {
			t.Report.Note("of the kernel's arguments these are of the present boot only, and in no menu entry: %s", rooted.Printable(strings.Join(dropped, " ")))
		}
		if _, trial := boot.Cmdline(t.Cmdline); trial {
			// The kernel was not told of them this time.
			conf.Args = append(conf.Args, boot.LeftOutOfTrial(s.State.Loader.Args)...)
		}
	}
	was := s.State.Loader.Kernels
	if conf.Kernels == "" && conf.Kind == s.State.Loader.Kind {
		conf.Kernels = was
	}
	if err := s.placeLoaders(conf, opts.Mirrors); err != nil {
		return err
	}
	if s.Loader, err = s.openLoader(ctx, conf); err != nil {
		return err
	}
	s.State.Loader = conf
	if m := s.mirrored(); m != nil {
		s.State.Loaders.Primary = m.Primary()
	}
	entry, err := s.entry(ctx, running, t.Root)
	if err != nil {
		return err
	}
	if move != nil {
		if err := s.mayInherit(ctx, entry); err != nil {
			return err
		}
		if err := s.moveBoot(ctx, move); err != nil {
			return err
		}
	}
	if opts.MoveBoot {
		if err := s.inherit(ctx); err != nil {
			return err
		}
	}
	if err := t.Store.Flush(ctx); err != nil {
		return err
	}
	// The default first: in a new place what is installed first is that.
	if err := s.installDefault(ctx, running, entry); err != nil {
		return err
	}
	if err := s.Loader.Put(ctx, entry); err != nil {
		return err
	}
	if conf.Kernels != was {
		entries, err := s.Loader.Entries(ctx)
		if err != nil {
			return err
		}
		all, err := t.Store.List(ctx)
		if err != nil {
			return err
		}
		for _, b := range all {
			if b.UUID != running.UUID && slices.Contains(entries, b.ID()) {
				s.followEntry(ctx, b.UUID)
			}
		}
	}
	s.mendEntries(ctx)
	s.alikeLoaders(ctx)
	if s.State.Last == "" {
		s.State.Last = running.UUID
		s.State.Know(running.UUID).RanFrom = time.Now().UTC()
		if err := s.beginRun(ctx, running.UUID, t.Root); err != nil {
			return err
		}
	}
	s.State.Know(running.UUID).Name = running.Name
	if s.State.Default == running.UUID {
		// It boots: it did.
		s.State.Know(running.UUID).Good = true
	}
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return err
	}
	if tr := s.State.Trial; lostToken(tr, ls) {
		s.Report.Warn("the trial of %s is not armed any more: its token was the other loader's", s.nameOf(ctx, tr.BE))
		s.State.Trial = nil
	}
	if err := s.save(); err != nil {
		return err
	}
	// Where beadm was set up before another default may stand.
	did, err := s.agree(ctx, running)
	for _, what := range did {
		s.Report.Note("%s", what)
	}
	if err != nil {
		return err
	}
	if sys, own := systems[conf.Kind]; own {
		s.Report.Warn("no trial on this system was ever seen to come back, and this would end none: %s; see beadm(8), FREEBSD AND ILLUMOS", sys.gaps)
	}
	if err := s.Loader.Probe(ctx); errors.Is(err, boot.ErrRestart) {
		s.Report.Warn("no trial can be armed yet: %v", err)
	} else if err != nil {
		return fmt.Errorf("beadm is set up, but no trial can be armed: %w", err)
	}
	if s.mirrorsTrouble != nil {
		return fmt.Errorf("beadm is set up, but not on every disk: %w", s.mirrorsTrouble)
	}
	s.record("setup", running.Name, conf.Kind)
	return nil
}

// installDefault installs the loader's configuration with what boots by default,
// which is the running boot environment, whose entry is given, only if there is
// none that could.
func (s *Session) installDefault(ctx context.Context, running be.BE, entry boot.Entry) error {
	if s.State.Default != "" && s.State.Default != running.UUID {
		var installed error
		def, err := s.byUUID(ctx, s.State.Default)
		if err == nil {
			err = s.lookInto(ctx, def, func(dir string) error {
				e, err := s.entry(ctx, def, dir)
				if err == nil {
					installed = s.Loader.Install(ctx, e)
				}
				return err
			})
		}
		if err == nil {
			return installed
		}
		s.Report.Warn("%s is the default now: %s cannot be started: %v", running.Name, s.nameOf(ctx, s.State.Default), err)
	}
	s.State.Default = running.UUID
	return s.Loader.Install(ctx, entry)
}

func (s *Session) maySetup(running be.BE) error {
	if err := s.checkIdentity(); err != nil && be.KindOf(err) != be.Denied {
		return err
	} else if err != nil && existsInRoot(s.Root, "/"+identityFile) {
		return err
	}
	if !s.Store.Caps().Hosts && s.State.Default != "" && s.State.BEs[running.UUID] == nil {
		return be.E(be.InUse, "cannot set up %s: %s holds the boot environments of another machine, %s; give each machine a directory of its own", s.Root, s.Store.Location(), s.nameOf(context.Background(), s.State.Default))
	}
	if t := s.State.Trial; t != nil && t.BE != running.UUID {
		return nil // not settled, maybe for want of a loader: that is what setup is for
	}
	return Allow(s.State, "setup", running.UUID)
}

// identity of the host, made when there is none.
func (s *Session) identity() ([]byte, error) {
	file := s.Dir.Path("identity")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(string(be.NewUUID()) + "\n")
		err = state.WriteFile(file, data)
	}
	return data, err
}

// SetupBE puts beadm into a boot environment that is mounted at dir.
func (t *Target) SetupBE(ctx context.Context, dir, binary string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Mountpoint != filepath.Clean(dir) {
			continue
		}
		if dryRun {
			s.Report.Would("put beadm into " + b.Name + " as " + initPath)
			return nil
		}
		identity, err := s.identity()
		if err != nil {
			return err
		}
		if err := putBeadm(dir, binary, identity); err != nil {
			return err
		}
		if err := putHooks(s.State.Loader.Kind, dir); err != nil {
			return fmt.Errorf("cannot have %s run beadm boot: %w", b.Name, err)
		}
		return nil
	}
	return be.E(be.NotFound, "no boot environment of %s is mounted at %s", s.Store.Location(), dir)
}

// putBeadm installs the program as our init and as the command. Each file is
// the old one or the new after a power cut.
func putBeadm(dir, binary string, identity []byte) error {
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return fmt.Errorf("cannot find the running program: %w", err)
		}
	}
	src, err := os.Open(binary)
	if err != nil {
		return fmt.Errorf("cannot read beadm: %w", err)
	}
	defer src.Close()
	data, err := io.ReadAll(src)
	if err != nil {
		return fmt.Errorf("cannot read beadm: %w", err)
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll("/usr/lib/beadm", 0o755); err != nil {
		return err
	}
	if old, err := root.ReadFile(initPath); err != nil || !bytes.Equal(old, data) {
		if err := root.WriteFileAtomic(initPath, data, rooted.Attr{Mode: 0o755}); err != nil {
			return fmt.Errorf("cannot install beadm: %w", err)
		}
	}
	if err := root.MkdirAll("/usr/sbin", 0o755); err != nil {
		return err
	}
	// What an earlier setup that was cut left there.
	for _, at := range []string{"/usr/lib/beadm", "/usr/sbin", "/etc/beadm"} {
		if err := root.SweepTemp(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := root.Lstat("/usr/sbin/beadm"); errors.Is(err, fs.ErrNotExist) {
		if err := root.SymlinkAtomic("../lib/beadm/init", "/usr/sbin/beadm", 0, 0); err != nil {
			return fmt.Errorf("cannot install beadm: %w", err)
		}
	}
	if err := putKernelHooks(root); err != nil {
		return fmt.Errorf("cannot install the hook of kernel packages: %w", err)
	}
	if err := root.MkdirAll("/etc/beadm", 0o755); err != nil {
		return err
	}
	if old, err := root.ReadFileLimit("/"+identityFile, 1<<10); err == nil && bytes.Equal(old, identity) {
		return nil
	}
	return root.WriteFileAtomic("/"+identityFile, identity, rooted.Attr{Mode: 0o600})
}

// holdsBeadm says why the root at dir could not come back from a trial by
// itself, or nil.
func holdsBeadm(dir string) error {
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(initPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it holds no beadm")
	case err != nil:
		return err
	case !info.IsRegular() || info.Perm()&0o111 == 0 || info.Size == 0:
		return fmt.Errorf("%s in it is not a program", initPath)
	}
	return nil
}

func existsInRoot(dir, path string) bool {
	root, err := rooted.Open(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Stat(path)
	return err == nil
}

func readInRoot(dir, path string) ([]byte, error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFileLimit(path, 1<<20)
}
