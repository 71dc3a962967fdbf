package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// Options of Init and Undo.
type Options struct {
	Root  string   // the running system's, or a guest's; the shared dataset is mounted at its /var/share
	BE    be.UUID  // which boot environment that is; Recover settles it in no other
	OS    string   // whose profile; empty: of the one we run on
	Paths []string // empty: the profile
	Free  int64    // bytes free in the pool; 0: ask the file system of the shared dataset

	Stop    []string // units that may be stopped
	StopAll bool     // whatever unit holds the directories may be
	Units   Units    // nil: nothing can be stopped

	Record   Recorder                             // nil: not recorded
	Progress func(path string, p copier.Progress) // of the copies; may be nil
	Note     func(text string)                    // what the user should know; may be nil
}

// Result of Init and Undo.
type Result struct {
	Moved   []string `json:"moved,omitempty"`
	Stopped []string `json:"stopped,omitempty"` // units that were stopped and started again
	Files   int64    `json:"files"`
	Bytes   int64    `json:"bytes"`
	Late    []string `json:"late,omitempty"` // written while the path was exchanged: see Init
}

// patience is how long processes may take to let go after their unit stopped.
var patience = 15 * time.Second

// brief is how long whoever may not be stopped is waited for.
const brief = time.Second

// Init moves the profile's directories of the running system into the shared
// dataset. They are copied while everything runs. If nobody has anything open
// in them then, or once those who have are stopped, the rest is copied and
// each directory is exchanged for its link in one step. Units are started
// again whatever happens. The old trees are kept in OldDir until Commit.
//
// Who holds a directory and may not be stopped makes the error kind InUse,
// which names them; nothing is moved then. A path whose exchange fails stays
// what it was, with all that is in it.
//
// What a program that began in the last moment wrote into an old tree is
// brought over afterwards; where that is not simply an appended line, it is
// put beside as NAME.beadm-late, and listed in Result.Late.
func Init(ctx context.Context, o Options) (Result, error) {
	plan, err := MakePlan(ctx, o.Root, Profile(o.OS), true, o.Paths...)
	if err != nil {
		return Result{}, err
	}
	moves := plan.Moves()
	if len(moves) == 0 {
		return Result{}, nil
	}
	m, err := newMove(o, "init")
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	if err := m.room(plan.Need); err != nil {
		return Result{}, err
	}
	for _, p := range moves {
		final := MountPoint + "/" + p.Name
		if list, err := m.r.ReadDir(final); err == nil && len(list) == 0 {
			// An empty directory of that name is nobody's data.
			if err := m.r.Remove(final); err != nil {
				return Result{}, be.E(be.Other, "cannot move %s: %w", p.Path, err)
			}
		} else if exists(m.r, final) {
			return Result{}, be.E(be.Decision, "cannot share %s: there is a %s/%s already; move that away first", rooted.Printable(p.Path), MountPoint, rooted.Printable(p.Name))
		}
		m.trees = append(m.trees, &tree{
			path: p.Path, name: p.Name, from: p.Path, to: MountPoint + "/" + newDir + "/" + p.Name, link: deeper(p.Path),
		})
	}
	return m.run(ctx)
}

// Undo moves the linked directories back into the boot environment at o.Root
// and leaves them as directories. What was in the shared dataset is kept there
// in a hidden directory until Commit. It stops and starts as Init does.
func Undo(ctx context.Context, o Options) (Result, error) {
	m, err := newMove(o, "undo")
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	paths := o.Paths
	if len(paths) == 0 {
		if paths, err = layout(m.r, Profile(o.OS)); err != nil {
			return Result{}, err
		}
	}
	list, err := look(m.r, paths)
	if err != nil {
		return Result{}, err
	}
	for _, p := range list {
		if p.State != Linked {
			continue
		}
		m.trees = append(m.trees, &tree{
			path: p.Path, name: p.Name, from: MountPoint + "/" + p.Name, to: backAt(p.Path), link: shallower(p.Path),
		})
	}
	if len(m.trees) == 0 {
		return Result{}, nil
	}
	return m.run(ctx)
}

// backPrefix begins the name of a copy that Undo has not put in place yet.
const backPrefix = ".back-"

// tree is one directory on its way.
type tree struct {
	path     string // of the boot environment
	name     string // in the shared dataset
	from, to string // paths inside the root; to is a hidden name
	link     func(path, target string) string
	src, dst *os.File
	copy     *copier.Copier
}

type fileID struct{ dev, ino uint64 }

type move struct {
	o     Options
	r     *rooted.Root
	rec   record
	trees []*tree
	res   Result
	links copier.Links    // files with names in several of the trees
	tails map[fileID]bool // inodes whose late lines have been brought over
}

func newMove(o Options, op string) (*move, error) {
	r, err := rooted.Open(o.Root)
	if err != nil {
		return nil, be.E(be.NotFound, "cannot open %s: %w", o.Root, err)
	}
	m := &move{o: o, r: r, rec: record{Op: op, BE: o.BE, Root: o.Root}}
	mounted, err := shareMounted(r)
	if err == nil && !mounted {
		err = errors.New("the shared dataset is not mounted")
	}
	if err != nil {
		r.Close()
		return nil, be.E(be.NotFound, "cannot use %s: %w", MountPoint, err)
	}
	return m, nil
}

func (m *move) close() {
	for _, t := range m.trees {
		if t.copy != nil {
			t.copy.Close()
		}
		for _, f := range []*os.File{t.src, t.dst} {
			if f != nil {
				f.Close()
			}
		}
	}
	m.r.Close()
}

// room refuses before anything is written: the pool may be the root's too.
func (m *move) room(need int64) error {
	free := m.o.Free
	if free == 0 {
		d, err := copier.OpenDir(m.r, MountPoint)
		if err != nil {
			return be.E(be.Other, "cannot see how much is free in %s: %w", MountPoint, err)
		}
		defer d.Close()
		if free, err = freeBytes(d); err != nil {
			return be.E(be.Other, "cannot see how much is free in %s: %w", MountPoint, err)
		}
	}
	if need += need / 16; need > free {
		return be.E(be.Undone, "cannot move %s: the copies take %d MiB and %d MiB are free; make room, or share fewer directories", strings.Join(m.asSeen(), ", "), need>>20, free>>20)
	}
	return nil
}

func (m *move) dirs() []string {
	var list []string
	for _, t := range m.trees {
		list = append(list, t.from)
	}
	return list
}

// asSeen are the names that programs use for the directories.
func (m *move) asSeen() []string {
	var list []string
	for _, t := range m.trees {
		list = append(list, t.path)
	}
	return list
}

func (m *move) note(format string, args ...any) {
	if m.o.Note != nil {
		m.o.Note(fmt.Sprintf(format, args...))
	}
}

func (m *move) run(ctx context.Context) (Result, error) {
	for _, t := range m.trees {
		m.rec.Names = append(m.rec.Names, t.name)
	}
	err := m.work(ctx)
	if be.KindOf(err) == be.Other && len(m.res.Moved) == 0 && ctx.Err() == nil {
		err = be.E(be.Undone, "%w", err)
	}
	// What is left to do is done even if ctx has ended: a mail server that
	// stays stopped is worse than a Ctrl-C that takes a moment.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	settled := err == nil || m.rec.Phase != exchanging
	if settled {
		// Before any unit starts and writes: from here on nothing concludes
		// from the paths how far this came.
		if serr := m.rec.save(m.o.Record, starting); serr != nil && err == nil {
			err = serr
		}
	}
	if restart := m.restart(clean); restart != nil {
		// The record stays: recover starts them.
		return m.res, errors.Join(err, restart)
	}
	if settled {
		if cerr := m.dropCopies(); cerr != nil && err == nil {
			err = cerr
		}
		if rerr := m.rec.save(m.o.Record, done); rerr != nil && err == nil {
			err = rerr
		}
	}
	return m.res, err
}

// work does everything but starting the units again.
func (m *move) work(ctx context.Context) error {
	if err := m.rec.save(m.o.Record, copying); err != nil {
		return err
	}
	for _, t := range m.trees {
		if err := m.open(t); err != nil {
			return be.E(be.Other, "cannot copy %s: %w", t.from, err)
		}
		// Twice: the second pass takes what came in during the first, so that
		// little is left for the time in which the units are stopped.
		for range 2 {
			if err := m.pass(ctx, t, true); err != nil {
				return err
			}
		}
	}
	if err := m.still(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.rec.Op == "init" {
		// So that a directory found in OldDir after a crash is the one that
		// this exchange has put there.
		for _, t := range m.trees {
			if info, err := m.r.Lstat(oldAt(t.path)); err == nil && info.IsDir() {
				if err := setOldAside(m.r, t.path); err != nil {
					return be.E(be.Other, "cannot keep the old tree of an earlier move: %w", err)
				}
			}
		}
	}
	// Before there is a link of that name: others adopt it.
	if err := m.layOut(); err != nil {
		return be.E(be.Other, "cannot write down what is shared: %w", err)
	}
	// From here on a copy is whole and durable, and every path is what it was
	// or a link to its copy. Nothing is interrupted any more: it takes as
	// long as two renames a directory.
	if err := m.rec.save(m.o.Record, exchanging); err != nil {
		return err
	}
	var errs []error
	for _, t := range m.trees {
		if err := m.swap(context.WithoutCancel(ctx), t); err != nil {
			errs = append(errs, err)
			continue
		}
		m.res.Moved = append(m.res.Moved, t.path)
	}
	effect("sync root")
	errs = append(errs, m.r.SyncFS())
	if m.rec.Op == "init" {
		errs = append(errs, m.latecomers(context.WithoutCancel(ctx)))
	}
	if err := errors.Join(errs...); err != nil {
		// Each path that failed becomes what it was, and its copy is dropped.
		if herr := (&settling{r: m.r, rec: m.rec, mounted: true, ours: true, fresh: true}).all(); herr != nil {
			return be.E(be.Recovery, "cannot move everything: %w", errors.Join(err, herr))
		}
		m.rec.Phase = stopping // what remains is to start the units
		return be.E(be.Other, "cannot move everything: %w", err)
	}
	return nil
}

// layOut writes down the paths that are in no profile.
func (m *move) layOut() error {
	for _, t := range m.trees {
		if m.rec.Op != "init" {
			continue
		}
		if err := setLinked(m.r, t.name, true); err != nil {
			return err
		}
		if slices.Contains(Profile(m.o.OS), t.path) {
			continue
		}
		if err := setAdded(m.r, MountPoint, t.name, true); err != nil {
			return err
		}
	}
	return nil
}

func (m *move) open(t *tree) error {
	var err error
	if t.src, err = copier.OpenDir(m.r, t.from); err != nil {
		return err
	}
	parent := t.to[:strings.LastIndexByte(t.to, '/')]
	if err := m.r.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	effect("make copy of " + t.from)
	if err := removeAll(m.r, t.to); err != nil {
		return err
	}
	if err := m.r.Mkdir(t.to, 0o700); err != nil {
		return err
	}
	if t.dst, err = copier.OpenDir(m.r, t.to); err != nil {
		return err
	}
	t.copy = copier.New(t.src, t.dst, copier.Options{
		Link: t.link, Links: &m.links,
		Progress: func(p copier.Progress) {
			if m.o.Progress != nil {
				m.o.Progress(t.path, p)
			}
		},
	})
	return nil
}

func (m *move) pass(ctx context.Context, t *tree, live bool) error {
	effect("copy " + t.from)
	res, err := t.copy.Pass(ctx, live)
	m.res.Bytes += res.Bytes
	m.res.Files = max(m.res.Files, res.Files)
	if err != nil {
		return be.E(be.Other, "%w", err) // says what could not be copied
	}
	return nil
}

// settle makes the copies true and durable.
func (m *move) settle(ctx context.Context) error {
	for _, t := range m.trees {
		if err := m.final(ctx, t); err != nil {
			return err
		}
	}
	for _, t := range m.trees {
		effect("sync copy of " + t.from)
		if err := t.copy.Sync(); err != nil {
			return be.E(be.Other, "cannot make the copy of %s durable: %w", t.from, err)
		}
	}
	return nil
}

// final passes until nothing changed under it.
func (m *move) final(ctx context.Context, t *tree) error {
	for i := 0; ; i++ {
		effect("copy the rest of " + t.from)
		res, err := t.copy.Pass(ctx, false)
		m.res.Bytes += res.Bytes
		if err != nil {
			return be.E(be.Other, "%w", err)
		}
		if res.Changed == 0 {
			return nil
		}
		if i == 5 {
			return be.E(be.InUse, "cannot move %s: somebody goes on changing it (%s)", t.from, res.Example)
		}
	}
}
