package activate

import (
	"cmp"
	"context"
	"errors"
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
	Import   string   `json:"import,omitempty"`   // in place of Source

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
	switch b, err := s.find(ctx, name); {
	case err == nil && b.Incomplete:
		return be.BE{}, be.E(be.InUse, "the boot environment %s exists already, and is incomplete: beadm recover or beadm destroy ends that", name)
	case err == nil:
		return be.BE{}, be.E(be.InUse, "the boot environment %s exists already: choose another name", name)
	case be.KindOf(err) != be.NotFound:
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
	if template == nil {
		return s.newPlan(args, nil)
	}
	return s.newPlan(args, func(ctx context.Context, opts be.CreateOptions) error { return template.create(ctx, s, opts) })
}

// newPlan has bring make the boot environment, or, if that is nil, the store.
func (s *Session) newPlan(args createArgs, bring func(context.Context, be.CreateOptions) error) journal.Plan {
	what := "clone " + args.Source + args.Template + " as " + args.Name
	if args.Import != "" {
		what = "import " + args.Name + " from " + args.Import
	}
	snapDir := s.path("snap")
	plan := journal.Plan{Op: "create", Args: args, Commit: -1, Steps: slices.Concat(s.snapshotWithGuests(args), s.createGuests(args))}
	plan.Steps = append(plan.Steps, []journal.Step{
		{
			Name: what,
			Do: func(ctx context.Context) error {
				opts := be.CreateOptions{Name: args.Name, UUID: args.UUID, From: args.Source, Description: args.Desc, Properties: args.Props}
				opts.Snapshot = args.Snapshot
				if bring != nil {
					return bring(ctx, opts)
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
