package activate

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/journal"
	"beadm/be/rooted"
	"beadm/be/state"
	reconcile "beadm/sync"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// OpenConflict is a file that a switch found changed on both sides and that
// nobody decided yet.
type OpenConflict struct {
	reconcile.Item
	BE   string    `json:"be"`             // where it is open
	From string    `json:"from,omitempty"` // the boot environment that the other side came from
	At   time.Time `json:"at,omitzero"`
}

// Synclist is the list in force in a boot environment, by name or, with an
// empty one, in the one that runs.
func (t *Target) Synclist(ctx context.Context, name string) (list synclist.List, err error) {
	err = t.inBE(ctx, name, func(s *Session, b be.BE, root string) error {
		a, err := s.archive()
		if err != nil {
			return err
		}
		list, err = reconcile.List(root, a.GOOS)
		return err
	})
	return list, err
}

// Conflicts are those open in a boot environment, by name or, with an empty
// one, in the one that runs.
func (t *Target) Conflicts(ctx context.Context, name string) ([]OpenConflict, error) {
	s, b, err := t.lookAt(ctx, name)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := []OpenConflict{}
	if s.Dir == nil || b.UUID == "" {
		return out, nil
	}
	a, err := s.archive()
	if err != nil {
		return nil, err
	}
	list, err := a.Conflicts(b.UUID)
	for _, c := range list {
		o := OpenConflict{Item: c.Item, BE: b.Name, At: c.At}
		if c.From != "" {
			o.From = s.nameOf(ctx, c.From)
		}
		out = append(out, o)
	}
	return out, err
}

// ConflictSides are the sides of the conflict open at a path.
func (t *Target) ConflictSides(ctx context.Context, name, path string) (c OpenConflict, sides reconcile.Sides, err error) {
	if path, err = cleanPath(path); err != nil {
		return c, sides, err
	}
	err = t.inBE(ctx, name, func(s *Session, b be.BE, root string) error {
		a, err := s.archive()
		if err != nil {
			return err
		}
		open, err := a.Conflict(b.UUID, path)
		if err != nil {
			return err
		}
		c = OpenConflict{Item: open.Item, BE: b.Name, At: open.At}
		if open.From != "" {
			c.From = s.nameOf(ctx, open.From)
		}
		sides, err = a.Sides(open, root)
		return err
	})
	return c, sides, err
}

// lookAt opens the state for reading and finds a boot environment.
func (t *Target) lookAt(ctx context.Context, name string) (*Session, be.BE, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, be.BE{}, err
	}
	b, err := s.running(ctx)
	if name != "" {
		b, err = s.find(ctx, name)
	}
	if err != nil {
		s.Close()
		return nil, be.BE{}, err
	}
	return s, b, nil
}

// inBE calls f with the root of a boot environment, to be read. One that does
// not run is mounted, which waits for no other command: the error is of kind
// Locked while one is at work.
func (t *Target) inBE(ctx context.Context, name string, f func(s *Session, b be.BE, root string) error) error {
	s, b, err := t.lookAt(ctx, name)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Dir == nil {
		return be.E(be.NoStore, "beadm is not set up here: run beadm setup")
	}
	if b.Running {
		return f(s, b, s.Root)
	}
	// What it is mounted for and unmounted, others mount, too.
	s.dryRun = true
	if err := s.lock(); err != nil {
		return err
	}
	return s.lookInto(ctx, b, func(dir string) error { return f(s, b, dir) })
}

// cleanPath is a path in a boot environment as conflicts name them.
func cleanPath(p string) (string, error) {
	if !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) {
		return "", be.E(be.Usage, "%q is no path in a boot environment: give it from / on", p)
	}
	return path.Clean(p), nil
}

// ResolveOptions are those of beadm sync resolve.
type ResolveOptions struct {
	BE     string // empty: the running one
	Path   string
	Take   reconcile.Take
	File   string // of TakeFile, in the running system
	DryRun bool
}

// Resolve decides a conflict. What is replaced is kept beside the file, under
// the name returned.
func (t *Target) Resolve(ctx context.Context, opts ResolveOptions) (kept string, err error) {
	if opts.Path, err = cleanPath(opts.Path); err != nil {
		return "", err
	}
	if opts.Take == reconcile.TakeFile {
		info, err := os.Stat(opts.File)
		if err != nil {
			return "", be.E(be.NotFound, "cannot take the content of a file: %w", err)
		}
		if !info.Mode().IsRegular() {
			return "", be.E(be.Usage, "cannot take the content of %s: it is no regular file", opts.File)
		}
	}
	s, err := t.write(ctx, opts.DryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	b, err := s.running(ctx)
	if opts.BE != "" {
		b, err = s.find(ctx, opts.BE)
	}
	if err != nil {
		return "", err
	}
	if err := Allow(s.State, "sync resolve", b.UUID); err != nil {
		return "", err
	}
	if b.Mountpoint != "" && !b.Running {
		return "", be.E(be.InUse, "cannot resolve a conflict in %s: it is mounted at %s; unmount it first", b.Name, b.Mountpoint)
	}
	a, err := s.archive()
	if err != nil {
		return "", err
	}
	c, err := a.Conflict(b.UUID, opts.Path)
	if err != nil {
		return "", err
	}
	if err := a.CheckDecision(c, opts.Take); err != nil {
		return "", err
	}
	args := resolveArgs{Name: b.Name, UUID: b.UUID, Path: manifest.Text(opts.Path), Take: opts.Take, File: opts.File, Runs: b.Running}
	plan := s.resolvePlan(args, &kept)
	if opts.DryRun {
		s.printPlan(plan)
		return "", nil
	}
	if err := s.run(ctx, plan); err != nil {
		return "", err
	}
	s.record("sync resolve", b.Name, rooted.Printable(opts.Path)+": "+string(opts.Take))
	return kept, nil
}

type resolveArgs struct {
	Name string         `json:"name"`
	UUID be.UUID        `json:"uuid"`
	Path manifest.Text  `json:"path"`
	Take reconcile.Take `json:"take"`
	File string         `json:"file,omitempty"`
	Runs bool           `json:"runs,omitempty"`
}

// resolvePlan commits when the conflict is no longer noted. Undone before, it
// is still open, and can be decided again.
func (s *Session) resolvePlan(a resolveArgs, kept *string) journal.Plan {
	dir := s.path("new")
	root := s.Root
	release := func(ctx context.Context) error {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return s.unmountStaged(ctx, a.Name, dir, true)
	}
	plan := journal.Plan{Op: "sync resolve", Args: a, Committed: func(context.Context) (bool, error) {
		archive, err := s.archive()
		if err != nil {
			return false, err
		}
		_, err = archive.Conflict(a.UUID, string(a.Path))
		if be.KindOf(err) == be.NotFound {
			return true, nil
		}
		return false, err
	}}
	if !a.Runs {
		root = dir
		plan.Commit = 1
		plan.Steps = append(plan.Steps, journal.Step{
			Name: "mount " + a.Name,
			Do: func(ctx context.Context) error {
				if err := s.private(dir); err != nil {
					return err
				}
				return s.mountStaged(ctx, a.Name, dir, false)
			},
			Undo: release,
		})
	}
	name, file := rooted.Printable(string(a.Path)), rooted.Printable(a.File)
	what := map[reconcile.Take]string{
		reconcile.TakeOutgoing: "take the outgoing side of " + name + " into " + a.Name,
		reconcile.TakeIncoming: "leave " + name + " as it is in " + a.Name,
		reconcile.TakeFile:     "take " + file + " as " + name + " into " + a.Name,
	}[a.Take]
	plan.Steps = append(plan.Steps,
		journal.Step{
			Name: what,
			Do: func(ctx context.Context) error {
				archive, err := s.archive()
				if err != nil {
					return err
				}
				name, err := archive.Resolve(reconcile.Decision{BE: a.UUID, Root: root, Path: string(a.Path), Take: a.Take,
					File: func() (io.ReadCloser, error) { return os.Open(a.File) }})
				if be.KindOf(err) == be.NotFound {
					return nil // decided before the crash
				}
				if kept != nil {
					*kept = name
				}
				return err
			},
			Undo: func(ctx context.Context) error {
				if !a.Runs {
					s.tidy(ctx, a.Name, dir)
				}
				return nil
			},
		},
		journal.Step{
			Name: "forget its notice",
			Do: func(ctx context.Context) error {
				if !a.Runs {
					if err := release(ctx); err != nil {
						return err
					}
					return s.Store.Flush(ctx)
				}
				n := len(s.State.Conflicts)
				s.State.Conflicts = slices.DeleteFunc(s.State.Conflicts, func(c state.Conflict) bool { return c.Path == string(a.Path) })
				if len(s.State.Conflicts) == n {
					return nil
				}
				if err := s.save(); err != nil {
					return err
				}
				return s.notice()
			},
		})
	return plan
}
