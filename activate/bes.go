package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// CreateOptions are those of beadm create.
type CreateOptions struct {
	From        string    // name or BE@SNAP; empty: the running boot environment
	Template    *Template // in place of From
	Empty       bool
	Description string
	Properties  []string
	DryRun      bool
	// Guests get one of that name, too, each of what it runs, all of them or none.
	Guests []*Machine
	// Joint has the snapshot that is cloned, if the source is in it.
	Joint *Joint

	uuid be.UUID // empty: a new one
}

// Create clones a boot environment. Until its plan is committed nothing of it
// is left when something fails.
func (t *Target) Create(ctx context.Context, name string, opts CreateOptions) (be.BE, error) {
	if err := be.CheckName(name); err != nil {
		return be.BE{}, err
	}
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return be.BE{}, err
	}
	defer s.Close()
	return s.create(ctx, name, opts)
}

// createArgs rebuild the plan of a create.
type createArgs struct {
	Name     string   `json:"name"`
	Source   string   `json:"source"`
	Snapshot string   `json:"snapshot"`
	Auto     bool     `json:"auto"`
	Token    string   `json:"token"`
	Desc     string   `json:"description,omitempty"`
	Props    []string `json:"properties,omitempty"`
	UUID     be.UUID  `json:"uuid"`
	Template string   `json:"template,omitempty"` // in place of Source

	UpTo    time.Time      `json:"up_to,omitzero"` // as in state.Known
	Upgrade *state.Upgrade `json:"upgrade,omitempty"`
	Pinned  bool           `json:"pinned,omitempty"`
	// Takes are boot environments of guests, there already, that belong to it.
	Takes []state.GuestBE `json:"takes_guests,omitempty"`

	Guests  []state.GuestBE `json:"guests,omitempty"`     // made with it
	Run     []state.GuestBE `json:"guests_run,omitempty"` // what they run
	Running be.UUID         `json:"running,omitempty"`    // the host's
	Had     []state.GuestBE `json:"had_guests,omitempty"` // what belonged to that before
}

func (s *Session) create(ctx context.Context, name string, opts CreateOptions) (be.BE, error) {
	if _, err := s.find(ctx, name); err == nil {
		return be.BE{}, be.E(be.InUse, "the boot environment %s exists already: choose another name", name)
	} else if be.KindOf(err) != be.NotFound {
		return be.BE{}, err
	}
	args := createArgs{Name: name, Token: be.NewToken(), Desc: opts.Description, Props: opts.Properties, UUID: cmp.Or(opts.uuid, be.NewUUID())}
	var err error
	switch {
	case opts.Template != nil:
		if err := opts.Template.fitsHere(s); err != nil {
			return be.BE{}, err
		}
		args.Template = opts.Template.name
	case !opts.Empty:
		from, snap, isSnap := be.SplitSnapshot(opts.From)
		if opts.From == "" {
			running, err := s.running(ctx)
			if be.KindOf(err) == be.NoStore {
				return be.BE{}, be.E(be.NoStore, "%w; give -e BE for what to clone, or --empty", err)
			}
			if err != nil {
				return be.BE{}, err
			}
			from = running.Name
		}
		src, err := s.find(ctx, from)
		if err != nil {
			return be.BE{}, err
		}
		if src.Incomplete {
			return be.BE{}, be.E(be.InUse, "cannot clone %s: it is incomplete; beadm recover or beadm destroy ends that", from)
		}
		if isSnap {
			if err := s.findSnapshot(ctx, src.Name, snap); err != nil {
				return be.BE{}, err
			}
		}
		args.Source, args.Snapshot = src.Name, snap
		if args.UpTo, err = s.cloneUpTo(ctx, src, snap); err != nil {
			return be.BE{}, err
		}
		if !isSnap {
			args.Auto, args.Snapshot = true, jointSnapshotPrefix+args.Token
			// Another command may have swept it away.
			if opts.Joint.has(src) && s.findSnapshot(ctx, src.Name, opts.Joint.snap) == nil {
				s.joint, args.Snapshot = opts.Joint, opts.Joint.snap
				if src.Running {
					args.UpTo = opts.Joint.at.Add(-tick).UTC()
				}
			}
		}
		if args.Upgrade, err = s.upgradeIn(ctx, args); err != nil {
			return be.BE{}, err
		}
	}
	for _, p := range opts.Properties {
		if k, _, ok := strings.Cut(p, "="); !ok || k == "" {
			return be.BE{}, be.E(be.Usage, "cannot create %s: the property %q is not NAME=VALUE", name, p)
		}
	}
	if check, ok := s.Store.(be.PropertyChecker); ok && len(opts.Properties) > 0 {
		if err := check.CheckProperties(ctx, be.CreateOptions{Name: name, From: args.Source + args.Template, Properties: opts.Properties}); err != nil {
			return be.BE{}, err
		}
	}
	if err := s.roomFor(ctx, "create "+name); err != nil {
		return be.BE{}, err
	}
	if err := s.withGuests(ctx, &args, opts); err != nil {
		return be.BE{}, err
	}
	if opts.DryRun {
		s.printPlan(s.clonePlan(args, opts.Template))
		return be.BE{}, nil
	}
	if err := s.run(ctx, s.clonePlan(args, opts.Template)); err != nil {
		return be.BE{}, err
	}
	b, err := s.find(ctx, name)
	if err != nil {
		return be.BE{}, err
	}
	s.record("create", name, "from "+args.Source+args.Template)
	return b, nil
}

// createPlan is for undoing what was cut: no template is needed.
func (s *Session) createPlan(args createArgs) journal.Plan { return s.clonePlan(args, nil) }

func (s *Session) clonePlan(args createArgs, template *Template) journal.Plan {
	snapDir := s.path("snap")
	plan := journal.Plan{Op: "create", Args: args, Commit: -1, Steps: slices.Concat(s.snapshotWithGuests(args), s.createGuests(args))}
	plan.Steps = append(plan.Steps, []journal.Step{
		{
			Name: "clone " + args.Source + args.Template + " as " + args.Name,
			Do: func(ctx context.Context) error {
				opts := be.CreateOptions{Name: args.Name, UUID: args.UUID, From: args.Source, Description: args.Desc, Properties: args.Props}
				opts.Snapshot = args.Snapshot
				if template != nil {
					return template.create(ctx, s, opts)
				}
				if args.Auto {
					src, err := s.find(ctx, args.Source)
					switch {
					case err != nil:
						return err
					case s.joint.has(src):
						s.asOf = s.joint.at
					default:
						s.asOf, opts.Snapshot, opts.AutoSnapshot = time.Now(), "", args.Snapshot
					}
				}
				_, err := s.Store.Create(ctx, opts)
				return err
			},
			Undo: func(ctx context.Context) error {
				b, err := s.find(ctx, args.Name)
				if err == nil && b.UUID != args.UUID && !b.Incomplete {
					return nil // another tool's, made since: never this one's
				}
				if err == nil {
					_, err = s.Store.Destroy(ctx, args.Name, false)
				}
				if be.KindOf(err) == be.NotFound {
					return nil
				}
				return err
			},
		},
		{
			Name: "record what its files are",
			Do: func(ctx context.Context) error {
				if err := s.recordFiles(ctx, args, snapDir); err != nil {
					return err
				}
				k := s.State.Know(args.UUID)
				k.Name, k.UpTo, k.Template, k.Upgrade, k.Pinned, k.Guests = args.Name, args.UpTo, args.Template, args.Upgrade, args.Pinned, args.Takes
				return s.save()
			},
			Undo: func(ctx context.Context) error {
				if err := s.Store.UnmountDir(ctx, snapDir); err != nil {
					return err
				}
				if s.State.BEs[args.UUID] != nil {
					delete(s.State.BEs, args.UUID)
					if err := s.save(); err != nil {
						return err
					}
				}
				b, err := s.find(ctx, args.Name)
				if err != nil || b.UUID != args.UUID {
					return nil // never made, or gone, and another has its name again
				}
				return s.forget(b.UUID)
			},
		},
	}...)
	if len(args.Guests) > 0 {
		plan.Steps = append(plan.Steps, s.recordGuests(args))
	}
	return plan
}

// recordFiles takes down what the files of a clone are, from the snapshot that it
// was made of; of an empty one there is nothing to say.
func (s *Session) recordFiles(ctx context.Context, args createArgs, snapDir string) error {
	if args.Source == "" && args.Template == "" {
		return nil
	}
	b, err := s.find(ctx, args.Name)
	if err != nil {
		return err
	}
	if err := s.private(snapDir); err != nil {
		return err
	}
	if args.Template != "" {
		if err := s.Store.Mount(ctx, args.Name, snapDir, true); err != nil {
			return err
		}
		err := s.fromTemplate(ctx, b.UUID, snapDir)
		return errors.Join(err, s.Store.UnmountDir(context.WithoutCancel(ctx), snapDir))
	}
	src, err := s.find(ctx, args.Source)
	if err != nil {
		return err
	}
	if err := s.Store.MountSnapshot(ctx, args.Source, args.Snapshot, snapDir); err != nil {
		return err
	}
	err = s.cloned(ctx, b.UUID, src.UUID, snapDir, src.Running && args.Auto)
	return errors.Join(err, s.Store.UnmountDir(context.WithoutCancel(ctx), snapDir))
}

// Destroy removes a boot environment, its menu entry and its records. With
// dryRun it only says what would come back.
func (t *Target) Destroy(ctx context.Context, name string, force, dryRun bool) (be.DestroyReport, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return be.DestroyReport{}, err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return be.DestroyReport{}, err
	}
	if err := s.mayDestroy(ctx, b, force); err != nil {
		return be.DestroyReport{}, err
	}
	if dryRun {
		s.mentionGuests(b)
		return s.wouldDestroy(ctx, b)
	}
	return s.destroy(ctx, b, force)
}

// destroy destroys one that mayDestroy lets go.
func (s *Session) destroy(ctx context.Context, b be.BE, force bool) (be.DestroyReport, error) {
	args := destroyArgs{Name: b.Name, UUID: b.UUID, Force: force}
	if b.UUID != "" {
		entries, err := s.Loader.Entries(ctx)
		if err != nil {
			return be.DestroyReport{}, err
		}
		args.HadEntry = slices.Contains(entries, b.ID())
	}
	var report be.DestroyReport
	plan := s.destroyPlan(args, &report)
	if err := s.run(ctx, plan); err != nil {
		return report, err
	}
	s.record("destroy", b.Name, "")
	return report, nil
}

func (s *Session) mayDestroy(ctx context.Context, b be.BE, force bool) error {
	st := s.State
	if err := Allow(st, "destroy", b.UUID); err != nil {
		return err
	}
	switch {
	case b.Running:
		return be.E(be.InUse, "cannot destroy %s: it is running", b.Name)
	case b.UUID != "" && b.UUID == st.Default:
		return be.E(be.InUse, "cannot destroy %s: it is the default; activate another first", b.Name)
	case b.Mountpoint != "" && !force && !s.swept(b.Mountpoint):
		return be.E(be.InUse, "cannot destroy %s: it is mounted at %s; unmount it, or give -f", b.Name, b.Mountpoint)
	}
	back, err := s.isWayBack(ctx, b)
	if err != nil {
		return err
	}
	if back {
		return be.E(be.InUse, "cannot destroy %s: it is the way back while %s is not confirmed; run beadm confirm in that once it is known to be good", b.Name, s.nameOf(ctx, st.Default))
	}
	return nil
}

// isWayBack says that the default was never confirmed, and that without b there
// is no rollback, or no boot environment that ever was confirmed.
func (s *Session) isWayBack(ctx context.Context, b be.BE) (bool, error) {
	good := func(u be.UUID) bool { return s.State.BEs[u] != nil && s.State.BEs[u].Good }
	if b.UUID == "" || s.State.Default == "" || good(s.State.Default) {
		return false, nil
	}
	if b.UUID == s.State.Previous {
		return true, nil
	}
	if !good(b.UUID) {
		return false, nil
	}
	all, err := s.Store.List(ctx)
	return !slices.ContainsFunc(all, func(o be.BE) bool { return o.UUID != b.UUID && !o.Incomplete && good(o.UUID) }), err
}

type destroyArgs struct {
	Name     string  `json:"name"`
	UUID     be.UUID `json:"uuid"`
	Force    bool    `json:"force,omitempty"`
	HadEntry bool    `json:"had_entry,omitempty"`
}

// destroyPlan commits with the store's own first effect: a boot environment
// that is incomplete is finished off, not brought back. The menu entry goes
// before, so that no entry ever names a root that is not there.
func (s *Session) destroyPlan(args destroyArgs, report *be.DestroyReport) journal.Plan {
	return journal.Plan{Op: "destroy", Args: args, Commit: 1, Repeatable: true,
		Committed: func(ctx context.Context) (bool, error) {
			all, err := s.Store.List(ctx)
			i := slices.IndexFunc(all, func(b be.BE) bool { return b.Name == args.Name })
			return err == nil && (i < 0 || all[i].Incomplete), err
		},
		Steps: []journal.Step{
			{
				Name: "take it out of the boot menu",
				Do: func(ctx context.Context) error {
					if args.UUID == "" {
						return nil
					}
					return s.Loader.Remove(ctx, args.UUID.ID())
				},
				Undo: func(ctx context.Context) error {
					if !args.HadEntry {
						return nil
					}
					entries, err := s.Loader.Entries(ctx)
					if err != nil || slices.Contains(entries, args.UUID.ID()) {
						return nil // nothing was taken away
					}
					s.entryBack(ctx, args.UUID, args.Name)
					return nil
				},
			},
			{Name: "destroy " + args.Name, Do: func(ctx context.Context) error {
				if args.Force {
					if err := s.Store.Unmount(ctx, args.Name, true); err != nil && be.KindOf(err) != be.NotFound {
						return err
					}
				}
				r, err := s.Store.Destroy(ctx, args.Name, false)
				if report != nil {
					*report = r
				}
				if be.KindOf(err) == be.NotFound {
					return nil
				}
				return err
			}},
			{Name: "forget its records", Do: func(ctx context.Context) error {
				if args.UUID == "" {
					return nil
				}
				err := s.forget(args.UUID)
				if state.NoSpace(err) {
					// Its own space may be on the way back. Records of what is
					// gone do no harm.
					if _, err := s.Store.Free(ctx); err != nil {
						return err
					}
					if err = s.forget(args.UUID); state.NoSpace(err) {
						s.Report.Warn("%s is destroyed, but its records stay for want of space", args.Name)
						return nil
					}
				}
				if err != nil {
					return err
				}
				delete(s.State.BEs, args.UUID)
				if s.State.Previous == args.UUID {
					s.State.Previous = ""
				}
				for i := range s.State.Failures {
					if s.State.Failures[i].BE == args.UUID {
						s.State.Failures[i].Acknowledged = true
					}
				}
				return s.save()
			}},
		}}
}

// Mount mounts a boot environment that is not running and returns where. A
// read-write one gets the staging directory in place of the shared data.
func (t *Target) Mount(ctx context.Context, name, dir string, readOnly, dryRun bool) (string, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return "", err
	}
	if !readOnly {
		if err := Allow(s.State, "mount", b.UUID); err != nil {
			return "", err
		}
	}
	if b.Mountpoint != "" {
		return "", be.E(be.InUse, "%s is mounted at %s already", name, b.Mountpoint)
	}
	made := false
	if dir == "" {
		dir = s.path("be", b.UUID.ID())
		if b.UUID == "" {
			dir = s.path("be", be.NewToken())
		}
		if !dryRun {
			if err := s.private(dir); err != nil {
				return "", err
			}
			made = true
		}
	} else if info, err := os.Stat(dir); err != nil {
		return "", be.E(be.NotFound, "cannot mount %s: %w", name, err)
	} else if !info.IsDir() {
		return "", be.E(be.Usage, "cannot mount %s: %s is not a directory", name, dir)
	} else if inside, err := os.ReadDir(dir); err != nil {
		return "", fmt.Errorf("cannot mount %s: %w", name, err)
	} else if len(inside) > 0 {
		return "", be.E(be.InUse, "cannot mount %s: the directory %s is not empty", name, dir)
	}
	if dryRun {
		s.Report.Would("mount " + name + " at " + dir)
		return "", nil
	}
	if err := s.mountStaged(ctx, name, dir, readOnly); err != nil {
		if made {
			os.Remove(dir)
		}
		return "", err
	}
	return dir, nil
}

// Unmount undoes Mount.
func (t *Target) Unmount(ctx context.Context, name string, force, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if b.Running {
		return be.E(be.InUse, "cannot unmount %s: it is running", name)
	}
	if b.Mountpoint == "" {
		s.Report.Note("%s is not mounted", name)
		return nil
	}
	if dryRun {
		s.Report.Would("unmount " + name + " from " + b.Mountpoint)
		return nil
	}
	if err := s.unmountStaged(ctx, name, b.Mountpoint, force); err != nil {
		return err
	}
	os.Remove(s.path("be", b.UUID.ID()))
	return nil
}

// mountStaged mounts a boot environment at dir with the staging directory
// over its /var/share.
func (s *Session) mountStaged(ctx context.Context, name, dir string, readOnly bool) error {
	if err := s.Store.Mount(ctx, name, dir, readOnly); err != nil {
		return err
	}
	if readOnly {
		return nil
	}
	if err := s.stage(ctx, dir); err != nil {
		return errors.Join(err, s.Store.Unmount(context.WithoutCancel(ctx), name, true))
	}
	return nil
}

func (s *Session) unmountStaged(ctx context.Context, name, dir string, force bool) error {
	if err := s.unstage(ctx, dir); err != nil {
		return err
	}
	return s.Store.Unmount(ctx, name, force)
}

// room is what a clone and an activation need at most, in bytes: properties,
// manifests, a journal, and a kernel's worth of slack.
const room = 64 << 20

func (s *Session) roomFor(ctx context.Context, what string) error {
	free, err := s.Store.Free(ctx)
	if err != nil {
		return err
	}
	if free < room {
		return be.E(be.Undone, "cannot %s: %s has %d MiB free and %d are needed; nothing was changed", what, s.Store.Location(), free>>20, room>>20)
	}
	return nil
}

func (s *Session) printPlan(plan journal.Plan) {
	for i, step := range plan.Steps {
		mark := ""
		if i == plan.Commit || plan.Commit < 0 && i == len(plan.Steps)-1 {
			mark = " (the commit)"
		}
		s.Report.Would(step.Name + mark)
	}
}

// Describe gives a boot environment a text.
func (t *Target) Describe(ctx context.Context, name, text string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "describe", b.UUID); err != nil {
		return err
	}
	if dryRun {
		s.Report.Would(fmt.Sprintf("describe %s as %q", name, text))
		return nil
	}
	return s.Store.Describe(ctx, name, text)
}
