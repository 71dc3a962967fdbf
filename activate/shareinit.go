package activate

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/share"
)

// ShareInitOptions are those of beadm share init.
type ShareInitOptions struct {
	Paths   []string // empty: the profile
	Outside bool     // of Paths, those outside /var too
	Stop    []string
	StopAll bool
	DryRun  bool
}

// ShareInit makes the shared dataset and moves the profile's directories into
// it while the system runs.
func (t *Target) ShareInit(ctx context.Context, opts ShareInitOptions) (share.Plan, share.Result, error) {
	var plan share.Plan
	var res share.Result
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return plan, res, err
	}
	defer s.Close()
	if err := Allow(s.State, "share init"); err != nil {
		return plan, res, err
	}
	units := shareUnits(t.Root)
	if !opts.DryRun {
		if err := s.recoverShare(ctx, units); err != nil {
			return plan, res, err
		}
	}
	for _, p := range opts.Paths {
		if !strings.HasPrefix(p, "/") {
			return plan, res, be.E(be.Usage, "cannot share %q: give a path such as /var/www", p)
		}
	}
	if plan, err = share.MakePlan(ctx, t.Root, t.shareProfile(), opts.Outside, opts.Paths...); err != nil {
		return plan, res, err
	}
	if err := s.seeSeparate(ctx, plan.Paths); err != nil {
		return plan, res, err
	}
	for _, p := range plan.Paths {
		if len(opts.Paths) > 0 && p.State == share.Refused {
			return plan, res, be.E(be.Decision, "cannot share %s: %s", rooted.Printable(p.Path), p.Why)
		}
	}
	args := shareInitArgs{}
	for _, p := range plan.Moves() {
		args.Moves = append(args.Moves, p.Path)
	}
	if len(args.Moves) == 0 {
		return plan, res, nil
	}
	free, err := s.Store.Free(ctx)
	if err != nil {
		return plan, res, err
	}
	if need := plan.Need + plan.Need/16 + room; free < need {
		return plan, res, be.E(be.Undone, "cannot move %s: the copies take %d MiB and %s has %d free; make room, or share fewer directories; nothing was changed", strings.Join(args.Moves, ", "), need>>20, t.Store.Location(), free>>20)
	}
	if opts.DryRun {
		return plan, res, nil
	}
	if err := s.roomForShare(); err != nil {
		return plan, res, err
	}
	running, err := s.running(ctx)
	if err != nil {
		return plan, res, err
	}
	existed, err := s.hasShare(ctx)
	if err != nil {
		return plan, res, err
	}
	args.UUID, args.Existed = running.UUID, existed
	seal, err := s.unseal(ctx, running)
	defer seal()
	if err != nil {
		return plan, res, err
	}
	// With the command's own context: until the first directory is exchanged it
	// can be given up, and there may be hours to copy.
	err = s.run(ctx, s.shareInitPlan(args, func(context.Context) error {
		res, err = share.Init(ctx, share.Options{
			Root: t.Root, BE: running.UUID, Paths: args.Moves, Free: free, Stop: opts.Stop, StopAll: opts.StopAll, Units: units,
			Record: func(_ string, data []byte) error { return state.WriteFile(s.Dir.Path(shareRecord), data) },
			Note:   func(text string) { t.Report.Note("%s", text) },
		})
		if err == nil {
			return s.forgetShareRecord()
		}
		// Whatever was not moved is what it was.
		return errors.Join(err, s.recoverShare(context.WithoutCancel(ctx), units))
	}))
	for _, late := range res.Late {
		t.Report.Warn("written in the last moment and kept beside: %s", late)
	}
	if err != nil {
		return plan, res, err
	}
	s.record("share init", "", strings.Join(res.Moved, " "))
	if err := s.keepSeparate(ctx); err != nil {
		t.Report.Warn("%v", err)
	}
	// Only the order at shutdown hangs on this.
	if err := s.reorderJournal(ctx); err != nil {
		t.Report.Warn("%v", err)
	}
	return plan, res, nil
}

// roomForShare refuses what nothing can be mounted on, before anything is begun.
func (s *Session) roomForShare() error {
	d, err := s.openShare()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return be.E(be.Decision, "cannot share anything: %w; nothing was changed", err)
	}
	return d.Close()
}

type shareInitArgs struct {
	UUID    be.UUID  `json:"uuid"` // of the boot environment whose directories move
	Existed bool     `json:"existed,omitempty"`
	Moves   []string `json:"moves"`
}

// shareInitPlan has the relocation for its commit: that keeps a record of its
// own, of every path, since it may have to outlive boots of other boot
// environments. move is nil when the plan is made again to be recovered.
func (s *Session) shareInitPlan(a shareInitArgs, move func(context.Context) error) journal.Plan {
	moved := func(ctx context.Context) (bool, error) {
		if data, err := s.openRelocation(); err != nil || data != nil {
			return true, err
		}
		paths, err := share.Status(ctx, s.Root, nil)
		for _, p := range paths {
			for _, m := range a.Moves {
				if p.Path == m && p.State == share.Linked {
					return true, err
				}
			}
		}
		return false, err
	}
	if move == nil {
		move = func(ctx context.Context) error { return s.recoverShare(ctx, shareUnits(s.Root)) }
	}
	return journal.Plan{Op: "share init", Args: a, Commit: 2, Committed: moved, Steps: []journal.Step{
		{
			Name: "make the shared dataset and mount it",
			Do: func(ctx context.Context) error {
				if err := s.Store.CreateVolume(ctx, be.ShareVolume); err != nil {
					return err
				}
				if mounted, err := s.shareMounted(); err != nil {
					return err
				} else if !mounted {
					if err := share.PrepareMountPoint(s.Root, true); err != nil {
						return err
					}
				}
				if err := s.mountVolume(ctx); err != nil {
					return err
				}
				return share.GiveMounted(s.Root)
			},
			Undo: func(ctx context.Context) error {
				if a.Existed {
					return nil
				}
				return s.dropEmptyShare(ctx)
			},
		},
		{
			// First: a service that is stopped for the move has to work when it
			// is started again.
			Name: "tell what goes by path where they will be",
			Do:   func(ctx context.Context) error { return s.followShare(ctx, a.Moves) },
			Undo: func(ctx context.Context) error { return s.followShare(ctx, nil) },
		},
		{Name: "move " + strings.Join(a.Moves, ", ") + " into it", Do: move},
	}}
}

// dropEmptyShare destroys a shared dataset that holds nothing. One that holds
// anything is somebody's.
func (s *Session) dropEmptyShare(ctx context.Context) (err error) {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists {
		return err
	}
	at, unmount := (*os.File)(nil), s.unmountVolume
	if err := s.mountVolume(ctx); err == nil {
		if at = s.openLive(); at == nil {
			return errors.New("the shared data is not mounted any more")
		}
	} else {
		// A root that has no place for it keeps nothing from being undone.
		dir := s.path("look")
		if err := s.private(dir); err != nil {
			return err
		}
		if err := s.Store.MountVolume(ctx, be.ShareVolume, dir); err != nil {
			return err
		}
		unmount = func(ctx context.Context) error { return s.Store.UnmountDir(ctx, dir) }
		defer func() { err = errors.Join(err, unmount(context.WithoutCancel(ctx))) }()
		if at, err = os.Open(dir); err != nil {
			return err
		}
	}
	names, err := at.Readdirnames(1)
	at.Close()
	if err != nil && err != io.EOF || len(names) > 0 {
		return err
	}
	if err := unmount(ctx); err != nil {
		return err
	}
	return s.Store.DestroyVolume(ctx, be.ShareVolume)
}
