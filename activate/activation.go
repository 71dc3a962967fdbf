package activate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"beadm/activate/boot"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/rooted"
	"beadm/be/state"
)

// ActivateOptions are those of beadm activate.
type ActivateOptions struct {
	Once          bool
	Permanent     bool
	Strict        bool
	NoAutoConfirm bool
	ConfirmWithin time.Duration // 0: what beadm.conf says
	LeaveBehind   bool          // data of the running boot environment may be left behind
	DryRun        bool
}

// Activate arms one trial boot of a boot environment (or, with Permanent,
// makes it the default at once). The permanent default is not touched by a
// trial. An armed trial of another is taken back first.
func (t *Target) Activate(ctx context.Context, name string, opts ActivateOptions) error {
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.activate(ctx, name, opts)
}

// Within is how long the trial may take, or why (Usage) not that long.
func (o ActivateOptions) Within(conf Conf) (time.Duration, error) {
	within := o.ConfirmWithin
	if within == 0 {
		within = conf.ConfirmWithin
	}
	switch {
	case o.Once || o.Permanent: // nobody waits for it
		return within, nil
	case o.NoAutoConfirm: // nor do the checks have to hold
		conf.Hold = 0
	}
	return within, conf.CheckWithin(within)
}

func (s *Session) activate(ctx context.Context, name string, opts ActivateOptions) error {
	within, err := opts.Within(s.Conf)
	if err != nil {
		return err
	}
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "activate", b.UUID); err != nil {
		return err
	}
	if b.UUID == "" && !opts.DryRun {
		if b, err = s.Store.Adopt(ctx, name); err != nil {
			return err
		}
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	agrees := s.sameDefault(ctx)
	if b.Running {
		if s.State.Trial != nil {
			if opts.DryRun {
				s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
				return nil
			}
			return s.disarm(ctx)
		}
		if b.UUID == s.State.Default && agrees == nil {
			s.Report.Note("%s is running and the default already", name)
			return nil
		}
		if b.UUID != s.State.Default && !opts.Permanent {
			return be.E(be.InUse, "%s is running: give --permanent to make it the default without a trial", name)
		}
	}
	if agrees != nil && !opts.Permanent {
		return fmt.Errorf("cannot activate %s: %w", name, agrees)
	}
	if b.Mountpoint != "" && !b.Running {
		return be.E(be.InUse, "cannot activate %s: it is mounted at %s; unmount it first", name, b.Mountpoint)
	}
	if b.Incomplete {
		return be.E(be.Unbootable, "cannot activate %s: it is incomplete; destroy it and create it again", name)
	}
	if err := s.upgradedWell(b, "activate"); err != nil {
		return err
	}
	if !opts.Permanent {
		if err := s.Loader.Probe(ctx); err != nil {
			return fmt.Errorf("cannot arm a trial of %s: %w", name, err)
		}
		if err := s.mayRestart(name); err != nil {
			return err
		}
	}
	if err := s.roomFor(ctx, "activate "+name); err != nil {
		return err
	}
	if !b.Running {
		if err := s.checkBootable(ctx, b); err != nil {
			return err
		}
	}
	if !b.Running && !opts.Permanent {
		if err := s.checkWayBack(ctx, b.Name); err != nil {
			return err
		}
	}
	if !b.Running && !opts.Permanent && !opts.Once {
		if err := s.checkWatched(ctx, b); err != nil {
			return err
		}
	}
	looked := time.Now().Add(-tick).UTC()
	var leaves []left.Place
	if !b.Running {
		if leaves, err = s.checkLeft(ctx, running, b, opts.LeaveBehind); err != nil {
			return err
		}
	}
	args := activateArgs{
		Activation: be.NewToken(), Name: b.Name, UUID: b.UUID, From: running.Name, FromUUID: running.UUID,
		Default: s.State.Default, Previous: s.State.Previous, Once: opts.Once, Permanent: opts.Permanent,
		NoAutoConfirm: opts.NoAutoConfirm, Within: within, Strict: opts.Strict, Running: b.Running,
		LookedAt: looked,
	}
	entries, err := s.Loader.Entries(ctx)
	if err != nil {
		return err
	}
	for _, id := range entries {
		args.HadEntry = args.HadEntry || id == b.ID()
	}
	stale, err := s.stale(ctx)
	if err != nil {
		return err
	}
	for _, other := range stale {
		if other.UUID != b.UUID || b.Running {
			args.Stale = append(args.Stale, other.UUID)
		}
	}
	if opts.DryRun {
		if s.State.Trial != nil {
			s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
		}
		s.printPlan(s.activatePlan(args))
		return nil
	}
	before := ""
	if s.State.Trial != nil {
		before = s.nameOf(ctx, s.State.Trial.BE)
		// Before anything else, so that no power cut from here on starts a
		// trial that is being changed.
		if err := s.disarm(ctx); err != nil {
			return err
		}
	}
	if err := s.run(ctx, s.activatePlan(args)); err != nil {
		if before != "" && be.KindOf(err) != be.Recovery {
			return fmt.Errorf("%w, but the trial of %s, which was armed, was taken back: activate it again", err, before)
		}
		return err
	}
	what := "activate"
	if opts.Permanent {
		what = "activate --permanent"
	}
	s.record(what, name, activationDetail+args.Activation)
	s.recordLeft(running.Name, name, leaves)
	return nil
}

// activationDetail is before the activation's name in the history.
const activationDetail = "activation "

// Deactivate takes an armed trial back (activate -T): that of name, or of
// whatever is armed if name is empty.
func (t *Target) Deactivate(ctx context.Context, name string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := Allow(s.State, "activate"); err != nil {
		return err
	}
	var named be.BE
	if name != "" {
		if named, err = s.find(ctx, name); err != nil {
			return err
		}
	}
	if s.State.Trial == nil {
		s.Report.Note("no trial is armed")
		return nil
	}
	if name != "" && named.UUID != s.State.Trial.BE {
		return be.E(be.InUse, "no trial of %s is armed: %s is", name, s.nameOf(ctx, s.State.Trial.BE))
	}
	if dryRun {
		s.Report.Would("take back the armed trial of " + s.nameOf(ctx, s.State.Trial.BE))
		return nil
	}
	return s.disarm(ctx)
}

// disarm takes the token first: a cut between the two writes leaves a state
// that says armed with no token, which boot and recover read as disarmed.
func (s *Session) disarm(ctx context.Context) error {
	if err := s.Loader.Disarm(ctx); err != nil {
		return err
	}
	name := s.nameOf(ctx, s.State.Trial.BE)
	s.State.Trial = nil
	if err := s.save(); err != nil {
		return err
	}
	s.record("disarm", name, "")
	return nil
}

type activateArgs struct {
	Activation    string        `json:"activation"`
	Name          string        `json:"name"`
	UUID          be.UUID       `json:"uuid"`
	From          string        `json:"from"`
	FromUUID      be.UUID       `json:"from_uuid"`
	Default       be.UUID       `json:"default"`
	Previous      be.UUID       `json:"previous,omitempty"`
	HadEntry      bool          `json:"had_entry"`
	Once          bool          `json:"once,omitempty"`
	Permanent     bool          `json:"permanent,omitempty"`
	NoAutoConfirm bool          `json:"no_auto_confirm,omitempty"`
	Within        time.Duration `json:"within_ns"`
	Strict        bool          `json:"strict,omitempty"`
	Running       bool          `json:"running,omitempty"` // the BE is the running one: nothing to prepare
	LookedAt      time.Time     `json:"looked_at,omitzero"`
	Stale         []be.UUID     `json:"stale,omitempty"` // entries that the loader could not start by
}

func (s *Session) activatePlan(a activateArgs) journal.Plan {
	snap := "beadm-activate-" + a.Activation
	snapDir, newDir := s.path("snap"), s.path("new")
	id := a.UUID.ID()
	plan := journal.Plan{Op: "activate", Args: a}
	if len(a.Stale) > 0 {
		// First the way back. It stays when the activation is undone.
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "write the menu entries anew that the loader can no longer start by",
			Do:   func(ctx context.Context) error { return s.mendStale(ctx, a) },
		})
	}
	if !a.Running {
		plan.Steps = append(plan.Steps,
			journal.Step{
				Name: "snapshot " + a.From + " as it runs",
				Do: func(ctx context.Context) error {
					if _, err := s.Store.Snapshot(ctx, a.From, snap); err != nil {
						return err
					}
					if err := s.private(snapDir); err != nil {
						return err
					}
					return s.Store.MountSnapshot(ctx, a.From, snap, snapDir)
				},
				Undo: func(ctx context.Context) error {
					return errors.Join(s.Store.UnmountDir(ctx, snapDir), notFoundIsFine(s.Store.DestroySnapshot(ctx, a.From, snap)))
				},
			},
			journal.Step{
				Name: "mount " + a.Name,
				Do: func(ctx context.Context) error {
					if err := s.private(newDir); err != nil {
						return err
					}
					return s.mountStaged(ctx, a.Name, newDir, false)
				},
				Undo: func(ctx context.Context) error {
					if _, err := os.Lstat(newDir); errors.Is(err, fs.ErrNotExist) {
						return nil // restarted since: nothing is mounted
					}
					if b, err := s.find(ctx, a.Name); err == nil && b.Running {
						return nil // chosen at the loader's menu since: its mounts are the system's
					}
					return errors.Join(s.unstage(ctx, newDir), s.Store.Unmount(ctx, a.Name, true), s.Store.UnmountDir(ctx, newDir))
				},
			},
			// What these two bring into the new boot environment stays when the
			// activation is undone: it is what `sync run` would bring, and the
			// records say that it is there.
			journal.Step{
				Name: "bring in the links to the shared data",
				Do: func(ctx context.Context) error {
					return errors.Join(s.adoptShare(ctx, a.Name, newDir), stillMounted(a.Name, newDir))
				},
			},
			journal.Step{
				Name: "reconcile the files of the synclist",
				Do: func(ctx context.Context) error {
					if err := s.reconcileRunning(ctx, a.FromUUID, a.UUID, snapDir, newDir, a.Strict); err != nil {
						return err
					}
					return stillMounted(a.Name, newDir)
				},
				Undo: func(ctx context.Context) error { s.tidy(ctx, a.Name, newDir); return nil },
			},
			journal.Step{
				Name: "write the menu entry of " + a.Name,
				Do: func(ctx context.Context) error {
					b, err := s.find(ctx, a.Name)
					if err != nil {
						return err
					}
					return errors.Join(s.putEntry(ctx, b, newDir), stillMounted(a.Name, newDir))
				},
				Undo: func(ctx context.Context) error {
					if a.HadEntry {
						return nil
					}
					return s.Loader.Remove(ctx, id)
				},
			},
			journal.Step{
				Name: "unmount " + a.Name,
				Do: func(ctx context.Context) error {
					if err := s.unmountStaged(ctx, a.Name, newDir, false); err != nil {
						return err
					}
					if err := s.Store.UnmountDir(ctx, snapDir); err != nil {
						return err
					}
					return notFoundIsFine(s.Store.DestroySnapshot(ctx, a.From, snap))
				},
			},
		)
	}
	plan.Steps = append(plan.Steps, journal.Step{
		Name: "flush everything to where the loader reads it",
		Do:   func(ctx context.Context) error { return s.Store.Flush(ctx) },
	})
	if a.Permanent {
		plan.Commit = len(plan.Steps)
		plan.Committed = func(ctx context.Context) (bool, error) {
			st, err := s.Loader.State(ctx)
			return st.Default == id, err
		}
		plan.Steps = append(plan.Steps,
			journal.Step{Name: "make " + a.Name + " the default", Do: func(ctx context.Context) error { return s.Loader.SetDefault(ctx, id) }},
			journal.Step{Name: "record that", Do: func(ctx context.Context) error { return s.becameDefault(ctx, a.UUID, a.Default) }},
		)
		return plan
	}
	plan.Steps = append(plan.Steps, journal.Step{
		// So that a token found consumed from here on is this activation's.
		Name: "clear the trace of an earlier trial",
		Do:   func(ctx context.Context) error { return s.Loader.ClearTried(ctx) },
	}, journal.Step{
		// Before the token: a trial that starts finds out what it is. After a
		// cut between the two, the token is not there and this is taken back.
		Name: "record the trial",
		Do: func(ctx context.Context) error {
			s.State.NotTried = nil
			for i := range s.State.Failures {
				if s.State.Failures[i].BE == a.UUID {
					s.State.Failures[i].Acknowledged = true
				}
			}
			s.State.Trial = &state.Trial{
				Activation: a.Activation, BE: a.UUID, From: a.Default, Phase: state.Armed, Once: a.Once,
				ArmedAt: time.Now().UTC(), NoAutoConfirm: a.NoAutoConfirm, ConfirmWithin: a.Within,
				Baseline: s.baseline(ctx), LookedAt: a.LookedAt,
			}
			return s.save()
		},
		Undo: func(ctx context.Context) error {
			s.State.Trial = nil
			return s.save()
		},
	})
	plan.Commit = len(plan.Steps)
	plan.Committed = func(ctx context.Context) (bool, error) {
		st, err := s.Loader.State(ctx)
		return st.Trial == id || st.Tried == id, err
	}
	plan.Steps = append(plan.Steps, journal.Step{
		Name: "arm one trial of " + a.Name,
		Do: func(ctx context.Context) error {
			// Recovered after the trial boot: its token is never armed twice.
			if st, err := s.Loader.State(ctx); err != nil || st.Tried == id {
				return err
			}
			return s.Loader.Arm(ctx, id)
		},
		Undo: func(ctx context.Context) error { return s.Loader.Disarm(ctx) },
	})
	return plan
}

// becameDefault follows the loader, which is changed already.
func (s *Session) becameDefault(ctx context.Context, uuid, was be.UUID) error {
	if was != uuid {
		s.State.Previous = was
	}
	s.State.Default = uuid
	s.State.Trial = nil
	if err := s.save(); err != nil {
		return err
	}
	b, err := s.byUUID(ctx, uuid)
	if err != nil {
		return err
	}
	return s.Store.SetDefaultRoot(ctx, b.Name)
}

func notFoundIsFine(err error) error {
	if be.KindOf(err) == be.NotFound {
		return nil
	}
	return err
}

// putEntry writes the menu entry of b, whose root is mounted at dir.
func (s *Session) putEntry(ctx context.Context, b be.BE, dir string) error {
	e, err := s.entry(ctx, b, dir)
	if err != nil {
		return err
	}
	return s.Loader.Put(ctx, e)
}

// refreshEntry writes the menu entry of a boot environment, mounted or not.
func (s *Session) refreshEntry(ctx context.Context, uuid be.UUID) error {
	b, err := s.byUUID(ctx, uuid)
	if err != nil {
		return err
	}
	return s.lookInto(ctx, b, func(dir string) error { return s.putEntry(ctx, b, dir) })
}

// followEntry is refreshEntry for one that was changed at rest, if it has an
// entry: what is not armed and not rolled back to must still start from the
// menu, or as the default.
func (s *Session) followEntry(ctx context.Context, uuid be.UUID) {
	entries, err := s.Loader.Entries(ctx)
	if err == nil && slices.Contains(entries, uuid.ID()) && uuid != "" {
		if err = s.Store.Flush(ctx); err == nil {
			err = s.refreshEntry(ctx, uuid)
		}
	}
	if err != nil {
		s.Report.Warn("its entry in the boot menu is the old one: %v", err)
	}
}

// initPath is our init in every boot environment that holds beadm.
const initPath = "/usr/lib/beadm/init"

// identityFile is who the host is, in each of its boot environments.
const identityFile = "etc/beadm/identity"

func (s *Session) entry(ctx context.Context, b be.BE, dir string) (boot.Entry, error) {
	ref, err := s.Store.RootRef(ctx, b.Name)
	if err != nil {
		return boot.Entry{}, err
	}
	e := boot.Entry{ID: b.ID(), Title: b.Name, Root: ref, Dir: dir}
	if s.State.Loader.Kind != "stub" {
		if e.Kernel, e.Initrd, err = s.findKernel(ctx, dir); err != nil {
			return boot.Entry{}, fmt.Errorf("cannot boot %s: %w", b.Name, err)
		}
	}
	args, _ := lasting(s.State.Loader.Args) // an older beadm kept them all
	e.Args = append(args, "init="+initPath)
	e.TrialArgs = boot.TrialArgs(s.Conf.Panic)
	return e, nil
}

// checkBootable is safety rule 4: what cannot boot, or could not come back, is
// not activated.
func (s *Session) checkBootable(ctx context.Context, b be.BE) error {
	return s.lookInto(ctx, b, func(dir string) error { return s.bootableAt(ctx, b, dir) })
}

// stillMounted says that what was written to dir went into the boot environment
// name: had somebody unmounted it, it would be nowhere.
func stillMounted(name, dir string) error {
	if !isMountPoint(dir) {
		return be.E(be.InUse, "%s was unmounted from %s meanwhile: activate it again", name, dir)
	}
	return nil
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
	if err := holdsBeadm(dir); err != nil {
		return be.E(be.Unbootable, "cannot activate %s: %w; mount it and run beadm setup --root DIR", b.Name, err)
	}
	if !existsInRoot(dir, "/sbin/init") {
		return be.E(be.Unbootable, "cannot activate %s: it has no /sbin/init", b.Name)
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

// baseline is what the checks of a trial compare with; a guest has none yet.
func (s *Session) baseline(ctx context.Context) *state.Baseline {
	if s.Root != "/" {
		return nil
	}
	b := lookAround(ctx)
	b.Share, _ = s.Store.VolumeExists(ctx, be.ShareVolume)
	return &b
}

func (t *Target) inRoot(path string) string { return filepath.Join(t.Root, path) }
