package activate

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/boot"
	"beadm/activate/boot/stub"
	"beadm/activate/guest"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/btrfs"
	"beadm/be/state"
)

// paper is a runtime of one guest that has no process: what it would run from,
// and what is mounted there, is noted as it starts. The rest of the scene is
// real: the loader, the state, a btrfs.
type paper struct {
	name    string
	root    string
	running bool
	from    string // where root led as it was started
	shares  bool   // something was mounted at /var/share then
	starts  int    // how often it was started
	on      hooks  // called first
	ill     string // in which root a service fails
	beside  error  // another guest cannot be read
}

type hooks struct {
	start, stop, health, list func() error
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (p *paper) Name() string { return "paper" }

func (p *paper) List(context.Context) ([]guest.Guest, error) {
	if err := call(p.on.list); err != nil {
		return nil, err
	}
	return []guest.Guest{{Name: p.name, Runtime: "paper", Root: p.root, Running: p.running}}, p.beside
}

func (p *paper) Start(context.Context, guest.Guest) error {
	if err := call(p.on.start); err != nil {
		return err
	}
	if p.running {
		return be.E(be.InUse, "web1 runs already")
	}
	return p.startNow()
}

func (p *paper) startNow() error {
	at, err := filepath.EvalSymlinks(p.root)
	p.running, p.from, p.shares = true, strings.TrimPrefix(filepath.Base(at), "@be-"), isMountPoint(filepath.Join(at, "var/share"))
	p.starts++
	return err
}

func (p *paper) Stop(context.Context, guest.Guest) error {
	if err := call(p.on.stop); err != nil {
		return err
	}
	p.running = false
	return nil
}

func (p *paper) Health(context.Context, guest.Guest) (guest.Health, error) {
	h := guest.Health{Up: true}
	if p.ill != "" && p.from == p.ill {
		h.Failed = []string{"ill.service"}
	}
	return h, call(p.on.health)
}

func (p *paper) Run(context.Context, guest.Guest, guest.Command) error { return nil }

type silent struct{}

func (silent) Step(string)                       {}
func (silent) Would(string)                      {}
func (silent) Note(string, ...any)               {}
func (silent) Warn(string, ...any)               {}
func (silent) Left(string, string, []left.Place) {}

// newPaper is a guest with shared directories and the boot environments default,
// which runs, and new.
func newPaper(t *testing.T) (*Machine, *paper) {
	t.Helper()
	m, p := barePaper(t)
	must(t, m.with(t.Context(), func(t *Target) error {
		_, _, err := t.ShareInit(context.Background(), ShareInitOptions{})
		return err
	}))
	must(t, m.with(t.Context(), func(t *Target) error {
		_, err := t.Create(context.Background(), "new", CreateOptions{})
		return err
	}))
	must(t, p.startNow())
	if !p.shares {
		t.Fatal("what it shares is not mounted")
	}
	return m, p
}

// barePaper is a guest that has one boot environment and shares nothing.
func barePaper(t *testing.T) (*Machine, *paper) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	work := t.TempDir()
	image, top := filepath.Join(diskDir(t), "image"), filepath.Join(work, "top")
	f, err := os.Create(image)
	must(t, err)
	must(t, f.Truncate(1<<30))
	must(t, f.Close())
	must(t, os.Mkdir(top, 0o700))
	command(t, "mkfs.btrfs", "-q", image)
	command(t, "mount", "-o", "loop", image, top)
	t.Cleanup(func() { command(t, "umount", "-R", top) })
	root := filepath.Join(top, "web1")
	command(t, "btrfs", "-q", "subvolume", "create", root)
	for _, dir := range []string{"etc", "sbin", "var/mail", "var/log", "var/spool", "var/tmp"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "sbin/init"), nil, 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\n"), 0o644))
	p := &paper{name: "web1", root: root}
	conf := DefaultConf()
	conf.Hold, conf.ConfirmWithin = time.Millisecond, time.Minute
	m := &Machine{
		Guest: guest.Guest{Name: "web1", Runtime: "paper", Root: root}, Runtime: p, Place: guest.Place{Root: root},
		Conf: GuestConf{Hold: time.Millisecond, Within: 5 * time.Second},
	}
	m.Open = func(ctx context.Context) (*Target, func(), error) {
		store, err := btrfs.Open(ctx, btrfs.Config{BERoot: m.Place.Dir(), Root: root})
		if err != nil {
			return nil, nil, err
		}
		return &Target{
			Store: store, Root: root, Runtime: filepath.Join(work, "run", store.GUID()), Report: silent{}, Conf: conf, Guest: true,
			OpenLoader: func(_ context.Context, c state.LoaderConfig, _ string) (boot.Loader, error) {
				return stub.New(stub.Config{Dir: c.Dir}), nil
			},
		}, func() { store.Close() }, nil
	}
	must(t, m.Init(t.Context(), "default", false, silent{}))
	return m, p
}

// diskDir is a directory for disks: in memory where there is room.
func diskDir(t *testing.T) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || st.Bavail*uint64(st.Bsize) < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "beadm-disk-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
}

// runs says from where the guest was started last, with what it shares, and that
// nothing of a switch is left open.
func (p *paper) runs(t *testing.T, m *Machine, want string) {
	t.Helper()
	if !p.running || p.from != want || !p.shares {
		t.Errorf("it runs: %v, from %s, with its shared data: %v; wanted %s", p.running, p.from, p.shares, want)
	}
	at, _ := filepath.EvalSymlinks(p.root)
	if got := strings.TrimPrefix(filepath.Base(at), "@be-"); got != want {
		t.Errorf("it would start %s", got)
	}
	st, err := m.stand(t.Context())
	must(t, err)
	if st.trial != nil || st.stopped != nil || st.def != want {
		t.Errorf("%+v", st)
	}
}

func arm(t *testing.T, m *Machine) {
	t.Helper()
	armed(t, m, "new")
}

func armed(t *testing.T, m *Machine, name string) {
	t.Helper()
	must(t, m.Prepare(t.Context(), name, ActivateOptions{}))
}

// Another command holds the state for as long as the switch tries: what was not
// prepared is not started.
func TestGuestWhoseStateIsHeld(t *testing.T) {
	m, p := newPaper(t)
	var release func()
	hold := func() error {
		if release != nil {
			return nil
		}
		return m.with(t.Context(), func(t *Target) error {
			s, err := t.Look(context.Background())
			if err != nil {
				return err
			}
			defer s.Close()
			release, err = s.Dir.Lock()
			return err
		})
	}
	arm(t, m)
	p.on.stop = hold
	res := m.Switch(t.Context(), nil)
	if res.err == nil || !p.running || p.from != "default" || !p.shares {
		t.Errorf("it runs: %v, from %s, with its shared data: %v: %+v", p.running, p.from, p.shares, res)
	}
	p.on.stop = nil
	release()
	_, err := m.Recover(t.Context())
	must(t, err)
	p.runs(t, m, "default")
	// And before it is stopped: nothing happens to it.
	release = nil
	starts := p.starts
	arm(t, m)
	p.on.health = hold
	if res := m.Switch(t.Context(), nil); res.Outcome != Refused || p.starts != starts {
		t.Errorf("%+v, started %d times", res, p.starts-starts)
	}
	release()
	p.on.health = nil
	_, err = m.Recover(t.Context())
	must(t, err)
	p.runs(t, m, "default")
}

// Where a rollback has changed what the guest starts next, and it cannot be stopped
// for that, it is not said that nothing was changed; recover ends it.
func TestRollbackOfAGuestWhoseStateIsHeld(t *testing.T) {
	m, p := newPaper(t)
	arm(t, m)
	if s := m.Switch(t.Context(), nil); s.Outcome != Confirmed {
		t.Fatalf("%+v", s)
	}
	var release func()
	starts := p.starts
	res := m.Switch(t.Context(), func(ctx context.Context, m *Machine) error {
		return m.with(ctx, func(t *Target) error {
			if _, err := t.Rollback(ctx, RollbackOptions{}); err != nil {
				return err
			}
			s, err := t.Look(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			release, err = s.Dir.Lock()
			return err
		})
	})
	if res.Outcome != Wrong || res.Runs != "new" || !strings.Contains(res.Why, "it was not restarted") || p.starts != starts {
		t.Errorf("%+v, started %d times", res, p.starts-starts)
	}
	release()
	_, err := m.Recover(t.Context())
	must(t, err)
	p.runs(t, m, "default")
}

// One that is healthy, if late, is given the time for which it has to be.
func TestGuestThatComesUpLate(t *testing.T) {
	m, p := newPaper(t)
	m.Conf.Within, m.Conf.Hold = 300*time.Millisecond, 600*time.Millisecond
	arm(t, m)
	asked := 0
	p.on.health = func() error {
		if asked++; p.from == "new" && asked < 4 {
			return errors.New("not yet")
		}
		return nil
	}
	if res := m.Switch(t.Context(), nil); res.Outcome != Confirmed {
		t.Errorf("%+v", res)
	}
	p.runs(t, m, "new")
}

// A boot environment that cannot be prepared is passed over, whether the guest
// runs or not.
func TestGuestWhoseTrialCannotBePrepared(t *testing.T) {
	for _, running := range []bool{true, false} {
		m, p := newPaper(t)
		arm(t, m)
		p.running = running
		must(t, os.WriteFile(filepath.Join(m.Place.Dir(), "@be-new/etc/passwd.kept"), nil, 0o644))
		// Where the shared data is to be mounted there is a file.
		at := filepath.Join(m.Place.Dir(), "@be-new/var/share")
		exec.Command("chattr", "-i", at).Run()
		must(t, os.RemoveAll(at))
		must(t, os.Symlink("/etc", at))
		res := m.Switch(t.Context(), nil)
		if res.Outcome != FellBack || res.err == nil || res.Runs != "default" {
			t.Errorf("%+v", res)
		}
		if !running {
			if p.running {
				t.Error("it was started")
			}
			must(t, p.startNow())
		}
		p.runs(t, m, "default")
	}
}

// Somebody starts the guest by hand between two steps: it ends up in a root that
// was made ready for it.
func TestGuestIsStartedByHandMeanwhile(t *testing.T) {
	t.Run("stopped for the switch", func(t *testing.T) {
		m, p := newPaper(t)
		arm(t, m)
		p.on.start = func() error {
			p.on.start = nil
			unmountShare(p)
			return p.startNow()
		}
		if res := m.Switch(t.Context(), nil); res.Outcome != Confirmed {
			t.Errorf("%+v", res)
		}
		p.runs(t, m, "new")
	})
	t.Run("not running", func(t *testing.T) {
		m, p := newPaper(t)
		arm(t, m)
		p.running = false
		looks := 0
		p.on.list = func() error {
			if looks++; looks == 2 {
				p.running, p.from, p.shares = true, "default", false
			}
			return nil
		}
		res := m.Switch(t.Context(), nil)
		if res.Outcome != Confirmed {
			t.Errorf("%+v", res)
		}
		p.runs(t, m, "new")
	})
	t.Run("beadm was killed before", func(t *testing.T) {
		m, p := newPaper(t)
		must(t, m.mark(t.Context(), guest.Health{}))
		must(t, m.stop(t.Context()))
		must(t, p.startNow())
		_, err := m.Recover(t.Context())
		must(t, err)
		p.runs(t, m, "default")
	})
}

func unmountShare(p *paper) {
	at, _ := filepath.EvalSymlinks(p.root)
	unix.Unmount(filepath.Join(at, "var/share"), 0)
}

// A guest whose neighbour cannot be read is switched, and made ready as the host
// boots.
func TestGuestBesideOneThatCannotBeRead(t *testing.T) {
	m, p := newPaper(t)
	p.beside = errors.New("cannot look at db1: its configuration is not whole")
	arm(t, m)
	if res := m.Switch(t.Context(), nil); res.Outcome != Confirmed {
		t.Errorf("%+v", res)
	}
	p.runs(t, m, "new")
	p.running = false
	unmountShare(p)
	_, err := m.BootHost(t.Context())
	must(t, err)
	must(t, p.startNow())
	p.runs(t, m, "new")
}

// What cannot be stopped runs on, with nothing armed.
func TestGuestThatDoesNotStop(t *testing.T) {
	m, p := newPaper(t)
	arm(t, m)
	p.on.stop = func() error { return errors.New("it does not end") }
	if res := m.Switch(t.Context(), nil); res.err == nil || res.Outcome == Down {
		t.Errorf("%+v", res)
	}
	p.on.stop = nil
	p.runs(t, m, "default")
}

// What somebody uses in the shared data keeps it from being unmounted: the guest
// runs on, and is said to.
func TestGuestWhoseShareIsInUse(t *testing.T) {
	m, p := newPaper(t)
	arm(t, m)
	f, err := os.Open(filepath.Join(p.root, "var/share/mail"))
	must(t, err)
	defer f.Close()
	if res := m.Switch(t.Context(), nil); res.err == nil || res.Outcome == Down || !strings.Contains(res.Why, "in use") {
		t.Errorf("%+v", res)
	}
	p.runs(t, m, "default")
}

// What the host has mounted in a guest's root stays as the host boots.
func TestHostsMountStaysAsTheHostBoots(t *testing.T) {
	m, p := newPaper(t)
	p.running = false
	unmountShare(p)
	at := filepath.Join(p.root, "srv")
	must(t, os.Mkdir(at, 0o755))
	must(t, unix.Mount("data", at, "tmpfs", 0, ""))
	_, err := m.BootHost(t.Context())
	must(t, err)
	must(t, p.startNow())
	p.runs(t, m, "default")
	if dir, err := filepath.EvalSymlinks(at); err != nil || !isMountPoint(dir) {
		t.Errorf("the host's mount is gone: %v", err)
	}
}

// A release that was cut anywhere ends when it is repeated.
func TestReleaseOfAGuestIsCut(t *testing.T) {
	for _, cut := range []struct {
		name string
		to   func(m *Machine) error
	}{
		{"state removed", func(m *Machine) error {
			return m.with(context.Background(), func(t *Target) error { return t.emptyStore(context.Background(), "web1", true, false) })
		}},
		{"exchanged", func(m *Machine) error {
			if err := m.with(context.Background(), func(t *Target) error { return t.emptyStore(context.Background(), "web1", true, false) }); err != nil {
				return err
			}
			return m.Place.Release()
		}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			m, p := barePaper(t)
			must(t, m.with(t.Context(), func(t *Target) error {
				_, err := t.Create(context.Background(), "new", CreateOptions{})
				return err
			}))
			must(t, cut.to(m))
			must(t, m.GiveBack(t.Context(), true, false, silent{}))
			if info, err := os.Lstat(p.root); err != nil || !info.IsDir() {
				t.Errorf("its root is %v, %v", info, err)
			}
			if _, err := os.Lstat(m.Place.Dir()); err == nil {
				t.Error("something of beadm's is left")
			}
			must(t, m.Init(t.Context(), "again", false, silent{}))
		})
	}
}

// Two that adopt a guest at once exchange its root once.
func TestTwoInitsOfAGuest(t *testing.T) {
	m, p := newPaper(t)
	unlock, err := m.lock()
	must(t, err)
	if err := m.Init(t.Context(), "default", false, silent{}); be.KindOf(err) != be.Locked {
		t.Errorf("beside another beadm: %v", err)
	}
	unlock()
	must(t, m.Init(t.Context(), "default", false, silent{}))
	p.runs(t, m, "default")
}

// A canary that is refused ends the batch as one that falls back does, and
// nothing stays armed.
func TestBatchEndsWithItsCanary(t *testing.T) {
	m, p := newPaper(t)
	arm(t, m)
	bad := &Machine{Guest: guest.Guest{Name: "bad"}, Runtime: p, Place: m.Place}
	prepare := func(_ context.Context, one *Machine) error {
		if one == bad {
			return be.E(be.Unbootable, "it has no init")
		}
		return nil
	}
	got := Batch(t.Context(), []*Machine{bad, m}, BatchOptions{Parallel: 1, Canary: map[guest.Guest]bool{bad.Guest: true}, Prepare: prepare}, nil)
	if got[0].Outcome != Refused || got[1].Outcome != NotBegun {
		t.Errorf("%+v", got)
	}
	p.runs(t, m, "default")
}

// Interrupted before the batch: what the command before it has armed is taken back.
func TestBatchIsInterruptedBeforeItBegins(t *testing.T) {
	m, p := newPaper(t)
	arm(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, prepare := range []func(context.Context, *Machine) error{nil, func(context.Context, *Machine) error { return nil }} {
		got := Batch(ctx, []*Machine{m}, BatchOptions{Prepare: prepare}, nil)
		if got[0].Outcome != NotBegun {
			t.Errorf("%+v", got)
		}
		p.runs(t, m, "default")
	}
}

// A trial that was armed with the host's is the host's: a batch neither takes it
// back nor carries it out.
func TestBatchLeavesTheTrialWithTheHosts(t *testing.T) {
	m, p := newPaper(t)
	st, err := m.stand(t.Context())
	must(t, err)
	was := st.runs
	var uuid be.UUID
	must(t, m.with(t.Context(), func(t *Target) error {
		all, err := t.Store.List(context.Background())
		for _, b := range all {
			if b.Name == "new" {
				uuid = b.UUID
			}
		}
		return err
	}))
	host, starts := be.NewUUID(), p.starts
	waits := func(what string) {
		t.Helper()
		st, err := m.stand(t.Context())
		must(t, err)
		if st.trial == nil || st.trial.With != host || st.trial.Phase != state.Armed || st.runs != was || p.starts != starts {
			t.Errorf("%s: %+v, started %d times", what, st, p.starts-starts)
		}
	}
	never := func(context.Context, *Machine) error { return be.E(be.InUse, "not now") }
	over, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, m.armWith(t.Context(), uuid, host, ActivateOptions{}))
	Batch(over, []*Machine{m}, BatchOptions{Begin: never}, nil)
	waits("a rollback that is interrupted")
	Batch(over, []*Machine{m}, BatchOptions{Prepare: never}, nil)
	waits("an activate that is interrupted")
	at := filepath.Join(p.root, "srv")
	must(t, os.Mkdir(at, 0o755))
	must(t, unix.Mount("data", at, "tmpfs", 0, ""))
	at, err = filepath.EvalSymlinks(at)
	must(t, err)
	if res := m.Switch(t.Context(), never); res.Outcome != Refused {
		t.Errorf("%+v", res)
	}
	waits("a rollback that is refused")
	must(t, unix.Unmount(at, 0))

	// Armed by another command since this one's.
	arm(t, m)
	must(t, m.armWith(t.Context(), uuid, host, ActivateOptions{}))
	if res := m.Switch(t.Context(), nil); res.Outcome != Refused || be.KindOf(res.err) != be.InUse {
		t.Errorf("%+v", res)
	}
	waits("an activate after the host's")
	arm(t, m)
	other := *m
	arm(t, &other)
	if res := m.Switch(t.Context(), nil); res.Outcome != Refused || be.KindOf(res.err) != be.InUse || p.starts != starts {
		t.Errorf("%+v", res)
	}
	if res := other.Switch(t.Context(), nil); res.Outcome != Confirmed {
		t.Errorf("%+v", res)
	}
	p.runs(t, m, "new")
}

// What another command has armed of a guest, a batch neither carries out nor takes
// back, whether or not it has armed one itself; and its own that is gone is said.
func TestBatchCarriesOutItsOwnTrialsAlone(t *testing.T) {
	m, p := newPaper(t)
	other, starts := *m, p.starts
	arm(t, &other)
	waits := func(what string) {
		t.Helper()
		st, err := m.stand(t.Context())
		must(t, err)
		if st.trial == nil || st.trial.Phase != state.Armed || st.trial.Activation != other.Armed || p.starts != starts {
			t.Errorf("%s: %+v, started %d times", what, st, p.starts-starts)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, armed := range []string{"", "another"} {
		m.Armed = armed
		if got := Batch(t.Context(), []*Machine{m}, BatchOptions{}, nil); got[0].Outcome != Refused || be.KindOf(got[0].err) != be.InUse || !strings.Contains(got[0].Why, "another command has armed") {
			t.Errorf("%+v", got)
		}
		waits("a batch")
		if got := Batch(over, []*Machine{m}, BatchOptions{}, nil); got[0].Outcome != NotBegun {
			t.Errorf("%+v", got)
		}
		waits("one that is interrupted")
	}
	must(t, m.disarm(t.Context()))
	if got := other.Switch(t.Context(), nil); got.Outcome != Refused || !strings.Contains(got.Why, "taken its trial back") {
		t.Errorf("%+v", got)
	}
	p.runs(t, m, "default")
	arm(t, m)
	if got := m.Switch(t.Context(), nil); got.Outcome != Confirmed {
		t.Errorf("%+v", got)
	}
	p.runs(t, m, "new")
}

// A rollback that was killed when the default was changed, and nothing else yet,
// is finished: asked for again, it would go back and forth.
func TestRollbackIsCutBehindItsCommit(t *testing.T) {
	m, p := newPaper(t)
	armed(t, m, "new")
	if s := m.Switch(t.Context(), nil); s.Outcome != Confirmed {
		t.Fatalf("%+v", s)
	}
	must(t, m.with(t.Context(), func(target *Target) error {
		_, err := target.Rollback(t.Context(), RollbackOptions{})
		return err
	}))
	if p.from != "new" {
		t.Fatalf("a rollback alone restarts nothing, and it runs %s", p.from)
	}
	_, err := m.Recover(t.Context())
	must(t, err)
	p.runs(t, m, "default")
	did, err := m.Recover(t.Context())
	must(t, err)
	if len(did) > 0 {
		t.Errorf("there was more to do: %q", did)
	}
}

// A switch is cut before each of its steps. Whatever comes next, the guest runs
// in a root that is its default, with what it shares, and nothing is left open.
func TestSwitchIsCutAnywhere(t *testing.T) {
	type cut struct{}
	next := map[string]func(t *testing.T, m *Machine, p *paper){
		"recover": func(t *testing.T, m *Machine, p *paper) {
			_, err := m.Recover(t.Context())
			must(t, err)
		},
		"started by hand, then recover": func(t *testing.T, m *Machine, p *paper) {
			if !p.running {
				must(t, p.startNow())
			}
			_, err := m.Recover(t.Context())
			must(t, err)
		},
		"the host boots": func(t *testing.T, m *Machine, p *paper) {
			p.running = false
			unmountShare(p)
			_, err := m.BootHost(t.Context())
			must(t, err)
			must(t, p.startNow())
		},
	}
	for name, then := range next {
		for _, ill := range []bool{false, true} {
			if !ill && name != "recover" {
				continue // the other has its steps, and more
			}
			m, p := newPaper(t)
			open := m.Open
			for n, ended := 1, false; !ended; n++ {
				to := "new"
				if p.from == "new" {
					to = "default"
				}
				if p.ill = ""; ill {
					p.ill = to
				}
				armed(t, m, to)
				steps := 0
				step := func() error {
					if steps++; steps == n {
						panic(cut{})
					}
					return nil
				}
				m.Open = func(ctx context.Context) (*Target, func(), error) {
					step()
					return open(ctx)
				}
				p.on = hooks{stop: step, start: step}
				ended = func() (ended bool) {
					defer func() {
						if v := recover(); v != nil {
							if _, is := v.(cut); !is {
								panic(v)
							}
						}
					}()
					m.Switch(t.Context(), nil)
					return true
				}()
				m.Open, p.on = open, hooks{}
				then(t, m, p)
				st, err := m.stand(t.Context())
				must(t, err)
				p.runs(t, m, st.def)
				if t.Failed() {
					t.Fatalf("cut before step %d, unhealthy: %v, then: %s", n, ill, name)
				}
			}
		}
	}
}
