package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/copy"
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
	plan, err := MakePlan(ctx, o.Root, o.OS, o.Paths...)
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
			return Result{}, be.E(be.Decision, "cannot move %s: the shared dataset holds %s already; adopt it, or move it away first", p.Path, p.Name)
		}
		m.trees = append(m.trees, &tree{
			name: p.Name, from: p.Path, to: MountPoint + "/" + newDir + "/" + p.Name, link: deeper,
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
		if paths, err = layout(m.r, o.OS); err != nil {
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
			name: p.Name, from: MountPoint + "/" + p.Name, to: OldDir + "/" + backPrefix + p.Name, link: shallower,
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
	name     string
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
		return be.E(be.Other, "cannot move: the copies take %d MiB and %d MiB are free; nothing was changed", need>>20, free>>20)
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
		list = append(list, "/var/"+t.name)
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
		err = be.E(be.Undone, "%w; nothing was moved", err)
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
			if info, err := m.r.Lstat(OldDir + "/" + t.name); err == nil && info.IsDir() {
				if err := setOldAside(m.r, t.name); err != nil {
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
		m.res.Moved = append(m.res.Moved, "/var/"+t.name)
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
		if m.rec.Op != "init" || slices.Contains(Profile(m.o.OS), "/var/"+t.name) {
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
	if err := m.r.RemoveAll(t.to); err != nil {
		return err
	}
	if err := m.r.Mkdir(t.to, 0o700); err != nil {
		return err
	}
	if t.dst, err = copier.OpenDir(m.r, t.to); err != nil {
		return err
	}
	t.copy = copier.New(t.src, t.dst, copier.Options{
		Link: t.link,
		Progress: func(p copier.Progress) {
			if m.o.Progress != nil {
				m.o.Progress("/var/"+t.name, p)
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
		return be.E(be.Other, "cannot copy %s: %w", t.from, err)
	}
	return nil
}

// still makes the copies true and durable while nobody has the directories
// open. What starts during the last pass is stopped like the rest, and the
// pass is made again.
func (m *move) still(ctx context.Context) error {
	for i := 0; ; i++ {
		if err := m.quiet(ctx); err != nil {
			return err
		}
		err := m.settle(ctx)
		if err == nil {
			var holders []Holder
			if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
				return be.E(be.Other, "cannot see who has the directories open: %w", err)
			}
			if len(holders) == 0 {
				return nil
			}
			_, err = m.allowed(holders)
			if err == nil {
				err = be.E(be.InUse, "cannot move %s: in use again and again by %s", strings.Join(m.asSeen(), ", "), holdersText(holders))
			}
		}
		if be.KindOf(err) != be.InUse || i == 5 {
			return err
		}
	}
}

// quiet makes everybody let go of the directories, or refuses.
func (m *move) quiet(ctx context.Context) error {
	if m.o.Units != nil {
		m.rec.Release = true
		if err := m.rec.save(m.o.Record, stopping); err != nil {
			return err
		}
		if _, err := m.o.Units.Release(ctx, m.asSeen()); err != nil {
			m.note("the system's journal does not let go of its files: %v", err)
		}
	}
	var holders []Holder
	var stop []string
	var err error
	for end := time.Now().Add(brief); ; {
		if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
			return be.E(be.Other, "cannot see who has the directories open: %w", err)
		}
		// Somebody who just drops a message there is soon gone.
		if stop, err = m.allowed(holders); err == nil {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(brief / 20)
	}
	if m.o.Units == nil {
		return nil
	}
	if !m.o.StopAll {
		stop = append(stop, withSuffix(m.o.Stop)...)
	}
	if err := m.stop(ctx, stop); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; {
		if holders, err = findHolders(ctx, m.r, m.dirs(), m.o.Units); err != nil {
			return be.E(be.Other, "cannot see who has the directories open: %w", err)
		}
		if len(holders) == 0 {
			return nil
		}
		more, err := m.allowed(holders)
		if err != nil && time.Now().After(end) {
			return err
		}
		if time.Now().After(end) {
			return be.E(be.InUse, "cannot move %s: after their units were stopped still in use by %s", strings.Join(m.asSeen(), ", "), holdersText(holders))
		}
		if err == nil { // started since, or never stopped
			if err := m.stop(ctx, more); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// allowed lists the units to stop, or says who is in the way.
func (m *move) allowed(holders []Holder) ([]string, error) {
	may := map[string]bool{}
	for _, u := range withSuffix(m.o.Stop) {
		may[u] = true
	}
	var blocked []Holder
	for _, h := range holders {
		if h.Unit == "" || !m.o.StopAll && !may[h.Unit] {
			blocked = append(blocked, h)
		}
	}
	if len(blocked) > 0 {
		return nil, be.E(be.InUse, "cannot move %s while in use by %s; stop these first, or name units to stop", strings.Join(m.asSeen(), ", "), holdersText(blocked))
	}
	return unitsOf(holders), nil
}

func withSuffix(units []string) []string {
	var list []string
	for _, u := range units {
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		list = append(list, u)
	}
	return list
}

func (m *move) stop(ctx context.Context, units []string) error {
	all, err := m.o.Units.With(ctx, units, m.asSeen())
	if err != nil {
		return be.E(be.InUse, "cannot stop %s: %w", strings.Join(units, ", "), err)
	}
	known := map[string]bool{}
	for _, u := range m.rec.Units {
		known[u] = true
	}
	for _, u := range all {
		if !known[u] {
			m.rec.Units = append(m.rec.Units, u)
		}
	}
	if len(all) == 0 {
		return nil
	}
	// Who is stopped is recorded before: a power cut or a kill in between
	// starts one too many, never one too few.
	if err := m.rec.save(m.o.Record, stopping); err != nil {
		return err
	}
	m.res.Stopped = m.rec.Units
	effect("stop units")
	if err := m.o.Units.Stop(ctx, all); err != nil {
		return be.E(be.InUse, "cannot stop %s: %w", strings.Join(all, ", "), err)
	}
	return nil
}

func (m *move) restart(ctx context.Context) error {
	if m.o.Units == nil {
		return nil
	}
	// The journal first, to hold what the units say.
	if m.rec.Release {
		effect("resume journal")
		if err := m.o.Units.Resume(ctx); err != nil {
			m.note("the system's journal stays in /run until the next boot: %v", err)
		}
	}
	if len(m.rec.Units) == 0 {
		return nil
	}
	effect("start units")
	if err := m.o.Units.Start(ctx, m.rec.Units); err != nil {
		return be.E(be.Recovery, "cannot start %s again: %w", strings.Join(m.rec.Units, ", "), err)
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
			return be.E(be.Other, "cannot copy %s: %w", t.from, err)
		}
		if res.Changed == 0 {
			return nil
		}
		if i == 5 {
			return be.E(be.InUse, "cannot move %s: somebody goes on changing it (%s)", t.from, res.Example)
		}
	}
}

// swap puts the copy in place and makes the path what it is to be.
func (m *move) swap(ctx context.Context, t *tree) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", "/var/"+t.name, err) }
	// Once more, for what a program that started since did: it takes a walk.
	if err := m.final(ctx, t); err != nil {
		return err
	}
	p := Path{Path: "/var/" + t.name, Name: t.name}
	if m.rec.Op == "undo" {
		if err := t.copy.Sync(); err != nil {
			return fail(err)
		}
		effect("put back " + p.Path)
		if err := putBack(m.r, t.name); err != nil {
			return fail(err)
		}
		effect("retire " + t.from)
		if err := retire(m.r, t.name); err != nil {
			return fail(err)
		}
		return nil
	}
	effect("name copy of " + p.Path)
	if err := m.r.Rename(t.to, MountPoint+"/"+t.name); err != nil {
		return fail(err)
	}
	// The name of the copy is durable before anything leads to it.
	effect("sync share")
	if err := t.copy.Sync(); err != nil {
		return fail(err)
	}
	effect("exchange " + p.Path)
	if err := put(m.r, p); err != nil {
		return fail(err)
	}
	return nil
}

// putBack exchanges the link for the directory that was copied back. Where
// names cannot be exchanged, the link is removed first; whoever is called at
// the next boot finds the path absent and the copy, which is whole, beside.
func putBack(r *rooted.Root, name string) error {
	p, back := "/var/"+name, OldDir+"/"+backPrefix+name
	err := exchange(r, p, back)
	if err == nil {
		return r.Remove(back)
	}
	if !cannotExchange(err) {
		return err
	}
	if err := r.Remove(p); err != nil {
		return err
	}
	effect("removed link " + p)
	return r.Rename(back, p)
}

// retire hides what was copied back from the shared dataset.
func retire(r *rooted.Root, name string) error {
	dir := MountPoint + "/" + UndoneDir
	if err := r.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	to := dir + "/" + name
	for i := 1; exists(r, to); i++ {
		to = dir + "/" + name + "~" + itoa(i)
	}
	if err := r.Rename(MountPoint+"/"+name, to); err != nil {
		return err
	}
	return setAdded(r, MountPoint, name, false)
}

// dropCopies removes what was not put in place.
func (m *move) dropCopies() error {
	effect("drop copies")
	for _, t := range m.trees {
		if err := m.r.RemoveAll(t.to); err != nil {
			return be.E(be.Other, "cannot remove the copy of %s: %w", t.from, err)
		}
	}
	m.r.Remove(MountPoint + "/" + newDir)
	// Nobody looks for them any more once the record is done.
	return m.r.SyncFSAt(MountPoint)
}

// latecomers brings over what was written into the old trees after the last
// pass, by programs that had opened something there before the exchange.
func (m *move) latecomers(ctx context.Context) error {
	var old []string
	for _, t := range m.trees {
		if at := OldDir + "/" + t.name; exists(m.r, at) {
			old = append(old, at)
		}
	}
	for end := time.Now().Add(3 * time.Second); len(old) > 0; time.Sleep(50 * time.Millisecond) {
		holders, err := findHolders(ctx, m.r, old, m.o.Units)
		if err != nil || len(holders) == 0 {
			break
		}
		if time.Now().After(end) {
			m.note("what these go on writing into the old trees is not in the new ones: %s", holdersText(holders))
			break
		}
	}
	for _, t := range m.trees {
		live, err := copier.OpenDir(m.r, MountPoint+"/"+t.name)
		if err != nil {
			continue // it was not moved
		}
		err = t.copy.Late(ctx, func(path string, was int64) error { return m.late(t, live, path, was) })
		live.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *move) late(t *tree, live *os.File, path string, was int64) error {
	parts := strings.Split(path, "/")
	name := parts[len(parts)-1]
	src, dst := t.src, live
	for _, p := range parts[:len(parts)-1] {
		next, err := openSub(src, p)
		if err != nil {
			return err
		}
		defer next.Close()
		into, err := openSub(dst, p)
		if errors.Is(err, fs.ErrNotExist) {
			if err = copier.Dir(next, dst, p); err == nil || errors.Is(err, fs.ErrExist) {
				into, err = openSub(dst, p)
			}
		}
		if err != nil {
			return err
		}
		defer into.Close()
		src, dst = next, into
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	id := fileID{uint64(st.Dev), st.Ino}
	if m.tails[id] {
		return nil // under another of its names
	}
	if was >= 0 {
		appended, err := appendTail(src, dst, name, was)
		if err != nil {
			return err
		}
		if appended {
			if m.tails == nil {
				m.tails = map[fileID]bool{}
			}
			m.tails[id] = true
			return nil
		}
		if nothing, err := adds(src, dst, name); err == nil && nothing {
			return nil
		}
	} else {
		err := copier.Node(src, name, dst, name, copier.Options{Link: func(_, target string) string { return t.link(path, target) }})
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if nothing, err := adds(src, dst, name); err == nil && nothing {
			return nil
		}
	}
	m.res.Late = append(m.res.Late, "/var/"+t.name+"/"+path+".beadm-late")
	err := copier.Node(src, name, dst, name+".beadm-late", copier.Options{})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// appendTail adds what the file in src has grown by to the one in dst, which
// is at least as long as it was: somebody may have appended there, too.
func appendTail(src, dst *os.File, name string, was int64) (bool, error) {
	in, err := openRegular(src, name)
	if err != nil {
		return false, nil
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() <= was {
		return false, err
	}
	fd, err := unix.Openat(int(dst.Fd()), name, unix.O_WRONLY|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	to, err := out.Stat()
	if err != nil || !to.Mode().IsRegular() || to.Size() < was {
		return false, err
	}
	tail := make([]byte, st.Size()-was)
	if len(tail) > 64<<20 {
		return false, nil // no last line of anybody: set aside
	}
	if _, err := in.ReadAt(tail, was); err != nil {
		return false, err
	}
	_, err = out.Write(tail)
	return err == nil, err
}
