// Package activate switches a target from one boot environment to another and
// back: plan, journal, commit, boot, confirm or failback. A target is the host
// or a guest; both run the same state machine (beadm(8), STATES).
package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"beadm/activate/boot"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/state"
)

// Reporter hears what happens. Its methods are called from one goroutine.
type Reporter interface {
	Step(what string)                // a step begins
	Would(what string)               // a dry run: a step that would be taken
	Note(format string, args ...any) // something the user should know
	Warn(format string, args ...any) // done, but look at it
	// Left: in lacks these, which out wrote.
	Left(out, in string, places []left.Place)
}

// Target is what is patched.
type Target struct {
	Store   be.Store
	Root    string // directory of the running root: "/" for the host
	Runtime string // directory for our mounts, root's alone, empty after a boot
	Report  Reporter
	// OpenLoader opens the loader that the state names.
	OpenLoader func(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error)
	// Cmdline is what the kernel was started with; nil for a guest.
	Cmdline []byte
	Conf    Conf
	// AnyHost accepts a store that another host set up.
	AnyHost bool
	// Guest: the target is started by a runtime of this host (package guest), and
	// holds neither beadm nor a kernel.
	Guest bool
	// InGuest runs a command in a root of the guest that does not run, as its
	// runtime confines it. An error of a command that ran and failed is an
	// ExitStatus.
	InGuest func(ctx context.Context, dir string, c OfflineCommand) error

	// Guests are the guests of a host that have boot environments of their own, and
	// beside an error those that could be found. Nil where they cannot be reached,
	// as before the system's own init.
	Guests func(ctx context.Context) ([]*Machine, error)

	// HostTakes is TakesAlong of the host of a guest; nil where there is none.
	HostTakes func(ctx context.Context) (map[be.UUID]string, error)

	// Armed, if not nil, hears the name of an activation before it arms a trial.
	Armed func(activation string)

	completing bool // boot-complete.target was started by the checks of a trial
}

// Session is one command's hold on a target: the state file system is mounted
// until Close.
type Session struct {
	*Target
	Dir    *state.Dir // nil before setup
	State  *state.State
	Loader boot.Loader // nil before setup
	unlock func()
	dryRun bool
	// conflicts are those of this session's reconciles.
	conflicts []state.Conflict
	hold      *hold
	ctx       context.Context // that hold was made with
	undo      []func()
	// Of a loader that is on several disks: which one was to be asked when it
	// was opened, and what was wrong with others.
	openedAs       string
	saidOfMirrors  []string
	mirrorsTrouble error
	host           *bool // what ofHost said
	guests         []*Machine
	// When the snapshot was asked for that this session reads, if it made it, or
	// the Joint that it is in.
	asOf  time.Time
	joint *Joint
	// booting: this is the host's boot, before any pool but the root's is imported.
	booting bool
}

// Look opens the target for reading. Before setup the State is empty and Dir
// is nil, which is no error.
func (t *Target) Look(ctx context.Context) (*Session, error) {
	s := &Session{Target: t, State: &state.State{Version: state.Version}}
	s.remember(true)
	exists, err := t.Store.VolumeExists(ctx, be.StateVolume)
	if err != nil {
		s.Close()
		return nil, err
	}
	if !exists {
		return s, nil
	}
	if err := s.mountState(ctx); err != nil {
		s.Close()
		return nil, err
	}
	s.Dir, err = state.Open(s.path("state"), t.Store.GUID(), false)
	if be.KindOf(err) == be.NoStore {
		return s, nil
	}
	if err == nil {
		s.State, err = s.Dir.Load()
	}
	if err == nil && s.State.Loader.Kind == "" {
		s.Loader = absentLoader{"", be.E(be.NoStore, "no boot loader is set up here: run beadm setup")}
	}
	if err == nil && s.State.Loader.Kind != "" {
		var lerr error
		if s.Loader, lerr = s.openLoader(ctx, s.State.Loader); lerr != nil {
			// Whoever only looks is not kept from it.
			s.Loader = absentLoader{s.State.Loader.Kind, lerr}
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Write opens the target for a command that changes something: it is the one
// writer until Close, and what an earlier one left open is recovered first.
func (t *Target) Write(ctx context.Context) (*Session, error) { return t.write(ctx, false) }

// write is Write; with dryRun it recovers nothing and says so.
func (t *Target) write(ctx context.Context, dryRun bool) (*Session, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	if s.Dir == nil {
		s.Close()
		return nil, be.E(be.NoStore, "beadm is not set up here: run beadm setup")
	}
	s.dryRun = dryRun
	if err := s.lock(); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.checkIdentity(); err != nil {
		s.Close()
		return nil, err
	}
	if dryRun {
		if err := s.keepPrimary(); err != nil {
			s.Close()
			return nil, err
		}
		rec, err := journal.Open(s.Dir)
		if err != nil {
			s.Close()
			return nil, err
		}
		if rec != nil {
			s.Report.Would("recover " + rec.Op + ", which was interrupted, first")
		}
		return s, nil
	}
	s.sweep(ctx)
	if err := s.keepPrimary(); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.recoverJournal(ctx); err != nil {
		s.Close()
		return nil, err
	}
	s.alikeLoaders(ctx)
	s.settleShareNow(ctx)
	s.finishRestore(ctx)
	if s.isBehind(ctx) {
		did, err := s.catchUp(ctx)
		for _, what := range did {
			s.Report.Note("recovered first: %s", what)
			s.record("recover", "", what)
		}
		if err != nil {
			s.Report.Warn("%v", err)
		}
	}
	return s, nil
}

func (s *Session) lock() error {
	unlock, err := s.Dir.Lock()
	if err != nil {
		return err
	}
	s.unlock = unlock
	// What was read before the lock may be another writer's past. Nobody wrote
	// while this is what the kernel started first.
	if os.Getpid() != 1 {
		s.remember(true)
	}
	s.ofHost() // now: what it lists the command wants as well
	s.State, err = s.Dir.Load()
	return err
}

// remember has a store that is slow to ask answer from memory for the time of a
// session; once more, it looks again.
func (s *Session) remember(on bool) {
	if r, ok := s.Store.(be.Rememberer); ok {
		r.Remember(on)
	}
}

func (s *Session) mountState(ctx context.Context) error {
	dir := s.path("state")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.holdMounts(ctx); err != nil {
		return err
	}
	if err := s.hold.begin(ctx); err != nil {
		return err
	}
	defer s.hold.end()
	s.undo = append(s.undo, func() { s.Store.UnmountDir(context.WithoutCancel(ctx), dir) })
	if err := s.Store.MountVolume(ctx, be.StateVolume, dir); err != nil {
		return fmt.Errorf("cannot mount the state file system: %w", err)
	}
	return nil
}

func (s *Session) holdMounts(ctx context.Context) (err error) {
	if s.hold == nil {
		s.hold, err = newHold(ctx, s.Runtime)
		s.ctx = ctx
	}
	return err
}

// path of one of our own directories.
func (t *Target) path(elem ...string) string {
	return filepath.Join(append([]string{t.Runtime}, elem...)...)
}

// private makes one of our own directories, which nobody else may enter: a
// user must not find setuid programs of an inactive boot environment.
func (t *Target) private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	return os.Chmod(t.Runtime, 0o700)
}

// Close releases the lock and unmounts what this session mounted.
func (s *Session) Close() {
	defer s.remember(false)
	if s.unlock != nil {
		if !s.dryRun {
			// Without it there is less comfort on a full disk, and no harm.
			s.Dir.KeepReserve()
			// Destroying or activating what failed answers for it, too.
			if err := s.notice(); err != nil {
				s.Report.Warn("%v", err)
			}
		}
		s.unlock()
		s.unlock = nil
	}
	if s.hold == nil {
		return
	}
	// What it cannot unmount, the next command does. Who was told to end does
	// not wait for long.
	limit := holdTime
	if s.ctx.Err() != nil {
		limit = time.Second
	}
	if err := s.hold.beginWithin(context.WithoutCancel(s.ctx), limit); err != nil {
		s.Report.Warn("beadm's own mounts stay: %v", err)
	} else {
		if s.hold.last() {
			for i := len(s.undo) - 1; i >= 0; i-- {
				s.undo[i]()
			}
		}
		s.hold.end()
	}
	s.undo = nil
	s.hold.release()
	s.hold = nil
}

// ofHost says that the state is of the system that this process runs in, whose
// /run tells of it: not of a guest, and not of another store that is changed
// from here. A store that cannot say is taken for the host's.
func (s *Session) ofHost() bool {
	if s.Root != "/" {
		return false
	}
	if s.host == nil {
		all, err := s.Store.List(context.Background())
		is := err != nil || slices.ContainsFunc(all, func(b be.BE) bool { return b.Running })
		s.host = &is
	}
	return *s.host
}

// save keeps the state durably. Hibernation and restarts past the loader are
// inhibited before it says that a trial is armed or runs, and until it says
// that none is. Nothing is armed without that; but what became of a trial that
// runs is kept whatever fails.
func (s *Session) save() error {
	if t := s.State.Trial; t != nil {
		err := errors.Join(s.inhibitHibernation(), s.inhibitJumps())
		if err != nil && t.Phase != state.Trying {
			return err
		}
		if err != nil {
			s.Report.Warn("%v", err)
		}
	}
	if err := s.Dir.Save(s.State); err != nil {
		return err
	}
	if s.State.Trial == nil {
		if err := errors.Join(s.allowHibernation(), s.allowJumps()); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	return nil
}

// saveOnly is save of a command that changes nothing else.
func (s *Session) saveOnly(what string) error {
	err := s.save()
	if state.NoSpace(err) {
		return be.E(be.Undone, "cannot %s, and nothing was changed: %w", what, err)
	}
	return err
}

// record adds to the history; a history that cannot be written is a warning,
// never a reason to stop.
func (s *Session) record(what, name, detail string) {
	detail = inBrief(detail)
	e := state.Event{What: what, BE: name, Detail: detail}
	if err := s.Dir.Record(e); err != nil {
		s.Report.Warn("%v", err)
	}
	message := "beadm: " + what
	for _, part := range []string{name, detail} {
		if part != "" {
			message += " " + part
		}
	}
	s.syslog(e, message)
}

func (s *Session) run(ctx context.Context, plan journal.Plan) error {
	return journal.Run(ctx, s.Dir, plan, s.Report.Step)
}

// find returns the boot environment of that name.
func (t *Target) find(ctx context.Context, name string) (be.BE, error) {
	if err := be.CheckName(name); err != nil {
		return be.BE{}, err
	}
	all, err := t.Store.List(ctx)
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range all {
		if b.Name == name {
			return b, nil
		}
	}
	return be.BE{}, be.E(be.NotFound, "there is no boot environment %s: beadm list shows those there are", name)
}

func (t *Target) byUUID(ctx context.Context, uuid be.UUID) (be.BE, error) {
	all, err := t.Store.List(ctx)
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range all {
		if b.UUID == uuid && uuid != "" {
			return b, nil
		}
	}
	return be.BE{}, be.E(be.NotFound, "the boot environment with uuid %q is gone", uuid)
}

// running returns the boot environment mounted at Root.
func (t *Target) running(ctx context.Context) (be.BE, error) {
	all, err := t.Store.List(ctx)
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range all {
		if b.Running {
			return b, nil
		}
	}
	return be.BE{}, be.E(be.NoStore, "no boot environment of %s is mounted at %s", t.Store.Location(), t.Root)
}

// nameOf is for messages: the name of uuid, or what it was called last.
func (s *Session) nameOf(ctx context.Context, uuid be.UUID) string {
	if b, err := s.byUUID(ctx, uuid); err == nil {
		return b.Name
	}
	if k := s.State.BEs[uuid]; k != nil && k.Name != "" {
		return k.Name
	}
	return string(uuid)
}

// checkIdentity refuses state that another host made.
func (s *Session) checkIdentity() error {
	if s.AnyHost {
		return nil
	}
	foreign, err := s.isForeign()
	if err == nil && foreign {
		err = be.E(be.Denied, "the store %s was set up by another host: give --foreign if it is to be changed from here", s.Store.Location())
	}
	return err
}

// isForeign says that the state was made by another host than that of the root.
func (s *Session) isForeign() (bool, error) {
	theirs, err := os.ReadFile(s.Dir.Path("identity"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the identity of the store: %w", err)
	}
	// As in a chroot: a guest may have put anything there.
	ours, err := readInRoot(s.Root, "/"+identityFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("cannot read the identity of this host: %w", err)
	}
	return string(ours) != string(theirs), nil
}
