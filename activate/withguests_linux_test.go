package activate

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate/boot"
	"beadm/activate/boot/stub"
	"beadm/be"
	"beadm/be/btrfs"
	"beadm/be/state"
)

// paperHost is a host on a real btrfs, with guests of paper on others.
type paperHost struct {
	t              *testing.T
	top, root, run string
	device         string
	loader         string
	boots          string // the subvolume at root
	machines       []*Machine
	papers         []*paper
	step           func() // around each clone and what changes a loader, and before each look at a guest
}

func newPaperHost(t *testing.T, guests int) *paperHost {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	work := t.TempDir()
	h := &paperHost{t: t, top: filepath.Join(work, "top"), root: filepath.Join(work, "root"), run: filepath.Join(work, "run"), loader: filepath.Join(work, "loader"), step: func() {}}
	image := filepath.Join(diskDir(t), "image")
	f, err := os.Create(image)
	must(t, err)
	must(t, f.Truncate(1<<30))
	must(t, f.Close())
	for _, dir := range []string{h.top, h.root} {
		must(t, os.Mkdir(dir, 0o755))
	}
	command(t, "mkfs.btrfs", "-q", image)
	command(t, "mount", "-o", "loop", image, h.top)
	t.Cleanup(func() { command(t, "umount", "-R", h.top) })
	h.device = deviceAt(t, h.top)
	command(t, "btrfs", "-q", "subvolume", "create", filepath.Join(h.top, "@default"))
	must(t, unix.Mount(h.device, h.root, "btrfs", 0, "subvol=@default"))
	t.Cleanup(func() { command(t, "umount", "-R", h.root) })
	h.boots = "@default"
	for _, dir := range []string{"etc", "sbin", "var/mail", "usr/lib"} {
		must(t, os.MkdirAll(filepath.Join(h.root, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(h.root, "sbin/init"), nil, 0o755))
	must(t, os.WriteFile(filepath.Join(h.root, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\n"), 0o644))
	must(t, h.host().Setup(t.Context(), SetupOptions{Loader: state.LoaderConfig{Kind: "stub", Dir: h.loader, Args: []string{}}, Binary: "/bin/true"}))
	for i := range guests {
		m, p := barePaper(t)
		p.name = "web" + string(rune('1'+i))
		m.Guest.Name = p.name
		open := m.Open
		m.Open = func(ctx context.Context) (*Target, func(), error) {
			h.step()
			target, done, err := open(ctx)
			if err == nil {
				target.OpenLoader, target.Store = h.stepping(target.OpenLoader), stepStore{target.Store, func() { h.step() }}
			}
			return target, done, err
		}
		m.Host = func(ctx context.Context) (HostStanding, error) { return h.host().StandsAsHost(ctx) }
		must(t, m.with(t.Context(), func(t *Target) error {
			_, _, err := t.ShareInit(context.Background(), ShareInitOptions{})
			return err
		}))
		must(t, p.startNow())
		h.machines, h.papers = append(h.machines, m), append(h.papers, p)
	}
	return h
}

func deviceAt(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if strings.Fields(before)[4] == dir {
			return strings.Fields(after)[1]
		}
	}
	t.Fatalf("nothing is mounted at %s", dir)
	return ""
}

// stepStore calls step around each clone.
type stepStore struct {
	be.Store
	step func()
}

func (s stepStore) Create(ctx context.Context, opts be.CreateOptions) (be.BE, error) {
	s.step()
	defer s.step()
	return s.Store.Create(ctx, opts)
}

// stepLoader calls step around what changes a loader.
type stepLoader struct {
	boot.Loader
	step func()
}

func (l stepLoader) Arm(ctx context.Context, id string) error {
	l.step()
	defer l.step()
	return l.Loader.Arm(ctx, id)
}

func (l stepLoader) Disarm(ctx context.Context) error {
	l.step()
	defer l.step()
	return l.Loader.Disarm(ctx)
}

func (l stepLoader) SetDefault(ctx context.Context, id string) error {
	l.step()
	defer l.step()
	return l.Loader.SetDefault(ctx, id)
}

type openLoader = func(context.Context, state.LoaderConfig, string) (boot.Loader, error)

func (h *paperHost) stepping(open openLoader) openLoader {
	return func(ctx context.Context, c state.LoaderConfig, at string) (boot.Loader, error) {
		l, err := open(ctx, c, at)
		if err != nil {
			return nil, err
		}
		return stepLoader{l, func() { h.step() }}, nil
	}
}

// early is the host before its own init: no guest can be reached.
func (h *paperHost) early() *Target {
	h.t.Helper()
	store, err := btrfs.Open(context.Background(), btrfs.Config{Root: h.root})
	must(h.t, err)
	h.t.Cleanup(func() { store.Close() })
	return &Target{
		Store: stepStore{store, func() { h.step() }}, Root: h.root, Runtime: filepath.Join(h.run, store.GUID()), Report: silent{}, Conf: DefaultConf(), AnyHost: true,
		OpenLoader: h.stepping(func(_ context.Context, c state.LoaderConfig, _ string) (boot.Loader, error) {
			return stub.New(stub.Config{Dir: c.Dir}), nil
		}),
	}
}

func (h *paperHost) host() *Target {
	h.t.Helper()
	t := h.early()
	t.Guests = func(context.Context) ([]*Machine, error) { return h.machines, nil }
	return t
}

func (h *paperHost) create() {
	h.t.Helper()
	_, err := h.host().Create(h.t.Context(), "new", CreateOptions{Guests: h.machines})
	must(h.t, err)
}

func (h *paperHost) activate(name string) {
	h.t.Helper()
	must(h.t, h.host().Activate(h.t.Context(), name, ActivateOptions{}))
}

// reboots starts what the loader has next. Guests that ran are started by the
// host's boot, behind BootHost.
func (h *paperHost) reboots() {
	h.t.Helper()
	var ran []*paper
	for _, p := range h.papers {
		if p.running {
			ran = append(ran, p)
		}
		p.running = false
		unmountShare(p)
	}
	id, _, err := stub.Consume(h.loader)
	must(h.t, err)
	e, err := stub.ReadEntry(h.loader, id)
	must(h.t, err)
	command(h.t, "umount", "-R", h.root)
	h.boots = strings.TrimPrefix(e.Root.Prefix, "/")
	must(h.t, unix.Mount(h.device, h.root, "btrfs", 0, "subvol="+h.boots))
	must(h.t, os.RemoveAll(h.run))
	_, err = h.early().Boot(h.t.Context())
	must(h.t, err)
	for _, m := range h.machines {
		_, err := m.BootHost(h.t.Context())
		must(h.t, err)
	}
	for _, p := range ran {
		must(h.t, p.startNow())
	}
}

// is says how host and guests stand: the host's state in a word, what it runs,
// and what it has as its default; what each guest runs, and whether on trial.
func (h *paperHost) is(word, running, def string, guests ...string) {
	h.t.Helper()
	st, err := h.host().Status(h.t.Context())
	must(h.t, err)
	if st.State != word || st.Running != running || st.Default != def || st.Open != "" {
		h.t.Errorf("the host is %s, runs %s, default %s, open %q; wanted %s, %s, %s", st.State, st.Running, st.Default, st.Open, word, running, def)
	}
	for i, want := range guests {
		p, m := h.papers[i], h.machines[i]
		got, err := m.stand(h.t.Context())
		must(h.t, err)
		is := got.running
		if got.trial != nil {
			is += " " + string(got.trial.Phase)
		}
		if !p.running || p.from != got.running || !p.shares || is != want || got.stopped != nil {
			h.t.Errorf("%s: %s, runs %v from %s, with its shared data %v; wanted %s", p.name, is, p.running, p.from, p.shares, want)
		}
		if got.trial == nil && got.def != got.running && want == got.running {
			h.t.Errorf("%s: its default is %s", p.name, got.def)
		}
	}
	if h.t.Failed() {
		h.t.FailNow()
	}
}

func (h *paperHost) failure(i int) *state.Failure {
	h.t.Helper()
	return h.machines[i].Standing(h.t.Context()).Failure
}

// A host and its guests go to the new one and back together.
func TestHostTakesItsGuestsAlong(t *testing.T) {
	h := newPaperHost(t, 2)
	h.create()
	h.is("idle", "default", "default", "default", "default")
	h.activate("new")
	h.is("armed", "default", "default", "default armed", "default armed")
	for _, m := range h.machines { // it is for their host
		did, err := m.Recover(t.Context())
		must(t, err)
		if len(did) > 0 {
			t.Errorf("%q", did)
		}
	}
	h.is("armed", "default", "default", "default armed", "default armed")
	h.reboots()
	h.is("trying", "new", "default", "new trying", "new trying")
	for _, m := range h.machines {
		if did, err := m.Recover(t.Context()); err != nil || len(did) > 0 {
			t.Errorf("%q %v", did, err)
		}
	}
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	h.is("idle", "new", "new", "new", "new")
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	if _, err := h.host().Rollback(t.Context(), RollbackOptions{}); err != nil {
		t.Fatal(err)
	}
	h.is("idle", "new", "default", "new armed", "new armed")
	if did, err := h.host().Recover(t.Context(), "", false); err != nil || len(did) > 0 {
		t.Errorf("%q %v", did, err)
	}
	h.reboots()
	h.is("idle", "default", "default", "default", "default")
	for i := range h.machines {
		if f := h.failure(i); f != nil {
			t.Errorf("a rollback is no failure: %+v", f)
		}
	}
	// And again, for good at once.
	must(t, h.host().Activate(t.Context(), "new", ActivateOptions{Permanent: true}))
	h.is("idle", "default", "new", "default armed", "default armed")
	h.reboots()
	h.is("idle", "new", "new", "new", "new")
}

// When the host comes back from a trial, so do its guests.
func TestGuestsComeBackWithTheirHost(t *testing.T) {
	h := newPaperHost(t, 2)
	h.create()
	h.activate("new")
	h.reboots()
	h.papers[1].running = false // somebody has stopped it
	h.reboots()
	must(t, h.papers[1].startNow())
	h.is("failed", "default", "default", "default", "default")
	for i := range h.machines {
		if f := h.failure(i); f == nil || f.Name != "new" || f.Reason != state.ReasonHost {
			t.Errorf("%+v", f)
		}
	}
	// An administrator who goes back keeps what was written meanwhile.
	must(t, h.host().Acknowledge(t.Context(), false))
	h.activate("new")
	h.reboots()
	h.is("trying", "new", "default", "new trying", "new trying")
	if _, err := h.host().Rollback(t.Context(), RollbackOptions{}); err != nil {
		t.Fatal(err)
	}
	h.reboots()
	h.is("failed", "default", "default", "default", "default")
	if f := h.failure(0); f == nil || f.Reason != state.ReasonOperator {
		t.Errorf("%+v", f)
	}
}

// One that refuses keeps all of them, and the host, as they are.
func TestGuestRefusesToComeAlong(t *testing.T) {
	h := newPaperHost(t, 2)
	h.create()
	init := filepath.Join(h.machines[1].Place.Dir(), "@be-new/sbin/init")
	must(t, os.Remove(init))
	for _, dry := range []bool{true, false} {
		err := h.host().Activate(t.Context(), "new", ActivateOptions{DryRun: dry})
		if be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "guest paper:web2") {
			t.Errorf("%v", err)
		}
		h.is("idle", "default", "default", "default", "default")
	}
	must(t, os.WriteFile(init, nil, 0o755))
	for _, back := range []func() error{
		func() error { return h.host().Deactivate(t.Context(), "", false) },
		func() error { return h.host().Activate(t.Context(), "default", ActivateOptions{}) },
		func() error { _, err := h.host().Rollback(t.Context(), RollbackOptions{}); return err },
	} {
		h.activate("new")
		must(t, back())
		h.is("idle", "default", "default", "default", "default")
	}
	// One that has gone, or has not that one any more, keeps nobody.
	must(t, h.machines[1].with(t.Context(), func(target *Target) error {
		_, err := target.Destroy(t.Context(), "new", false, false)
		return err
	}))
	h.activate("new")
	h.is("armed", "default", "default", "default armed", "default")
	h.reboots()
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	h.is("idle", "new", "new", "new", "default")
}

// A guest that is ill in the new one goes back alone, and the host stays.
func TestGuestIsIllInTheNewOne(t *testing.T) {
	for name, ill := range map[string]func(p *paper){
		"a service fails": func(p *paper) { p.ill = "new" },
		"it has ended":    func(p *paper) { p.running, p.ill = false, "new" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newPaperHost(t, 2)
			h.create()
			h.activate("new")
			h.reboots()
			ill(h.papers[1])
			if err := h.host().Confirm(t.Context(), ConfirmOptions{}); be.KindOf(err) != be.Batch {
				t.Errorf("%v", err)
			}
			h.is("idle", "new", "new", "new", "default")
			if f := h.failure(1); f == nil || f.Name != "new" {
				t.Errorf("%+v", f)
			}
			st, err := h.host().Status(t.Context())
			must(t, err)
			if len(st.Guests) != 2 || st.Guests[0].Runs != "new" || st.Guests[1].Runs != "default" || st.Guests[1].Why == "" {
				t.Errorf("%+v", st.Guests)
			}
			// The next boot of the host leaves it there.
			h.reboots()
			h.is("idle", "new", "new", "new", "default")
		})
	}
}

// A boot environment that was made without guests leaves them as they are, and so
// does the way back from it.
func TestGuestsThatStay(t *testing.T) {
	h := newPaperHost(t, 1)
	h.create()
	h.activate("new")
	h.reboots()
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	_, err := h.host().Create(t.Context(), "plain", CreateOptions{})
	must(t, err)
	h.activate("plain")
	h.is("armed", "new", "new", "new")
	h.reboots()
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	h.is("idle", "plain", "plain", "new")
	m := h.machines[0]
	armed(t, m, "default")
	if s := m.Switch(t.Context(), nil); s.Outcome != Confirmed {
		t.Fatalf("%+v", s)
	}
	_, err = h.host().Rollback(t.Context(), RollbackOptions{})
	must(t, err)
	h.is("idle", "plain", "new", "default")
	h.reboots()
	h.is("idle", "new", "new", "default")
	// What it runs beside new is that now, and not what was made with it: on the
	// way to default and back it is what is kept.
	must(t, h.host().Activate(t.Context(), "plain", ActivateOptions{Permanent: true}))
	h.reboots()
	list, err := h.host().List(t.Context())
	must(t, err)
	for _, b := range list {
		if b.Name == "new" && (len(b.Guests) != 1 || b.Guests[0].Name != "default") {
			t.Errorf("%+v", b.Guests)
		}
	}
	// What two of the host's have in common is kept when one of them goes.
	if _, err := h.host().DestroyWithGuests(t.Context(), "default", false, false); err != nil {
		t.Fatal(err)
	}
	h.is("idle", "plain", "plain", "default")
}

// While guests lose what belongs to a boot environment of the host, nobody
// changes the host.
func TestHostIsHeldWhileItsGuestsDestroy(t *testing.T) {
	h := newPaperHost(t, 1)
	_, err := h.host().Create(t.Context(), "new", CreateOptions{Guests: h.machines})
	must(t, err)
	tried := 0
	h.step = func() {
		step := h.step
		h.step = func() {}
		defer func() { h.step = step }()
		tried++
		if err := h.host().Rename(t.Context(), "new", "other", false); be.KindOf(err) != be.Locked {
			t.Errorf("rename meanwhile: %v", err)
		}
	}
	_, err = h.host().DestroyWithGuests(t.Context(), "new", false, false)
	must(t, err)
	if h.step = func() {}; tried == 0 {
		t.Error("nothing was tried")
	}
	h.is("idle", "default", "default", "default")
}

// What starts a guest has no say in its host's trial, and all else has.
func TestHostsChecksSpareItsGuests(t *testing.T) {
	base := &state.Baseline{FailedUnits: []string{"old.service"}}
	spareGuests(base, []state.GuestBE{{Guest: "nspawn:web-1"}, {Guest: "lxc:db"}, {Guest: "command:x"}})
	want := []string{"old.service", "systemd-nspawn@web-1.service", "lxc@db.service", "lxc.service"}
	if !slices.Equal(base.FailedUnits, want) {
		t.Errorf("%q", base.FailedUnits)
	}
	spareGuests(nil, []state.GuestBE{{Guest: "nspawn:web1"}})
}

// A guest that did not run is switched, and not started.
func TestGuestThatDoesNotRunComesAlong(t *testing.T) {
	h := newPaperHost(t, 1)
	m, p := h.machines[0], h.papers[0]
	p.running = false
	h.create()
	h.activate("new")
	h.reboots()
	must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
	if p.running {
		t.Error("it was started")
	}
	st, err := m.stand(t.Context())
	must(t, err)
	if st.running != "new" || st.def != "new" || st.trial != nil {
		t.Errorf("%+v", st)
	}
}

// The host was confirmed, and then beadm was killed, or the power went.
func TestCutBetweenHostAndGuestsConfirmed(t *testing.T) {
	for name, then := range map[string]func(h *paperHost){
		"recover": func(h *paperHost) {
			_, err := h.host().Recover(h.t.Context(), "", false)
			must(h.t, err)
		},
		"confirm": func(h *paperHost) { must(h.t, h.host().Confirm(h.t.Context(), ConfirmOptions{})) },
		"reboot":  func(h *paperHost) { h.reboots() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newPaperHost(t, 2)
			h.create()
			h.activate("new")
			h.reboots()
			must(t, h.host().confirm(t.Context(), ConfirmOptions{}))
			h.is("idle", "new", "new", "new trying", "new trying")
			then(h)
			h.is("idle", "new", "new", "new", "new")
		})
	}
}

// cut calls do, which ends before its nth step; ended says that it has fewer.
func (h *paperHost) cut(n int, do func()) (ended bool) {
	type cut struct{}
	steps := 0
	h.step = func() {
		if steps++; steps == n {
			h.step = func() {}
			panic(cut{})
		}
	}
	defer func() {
		h.step = func() {}
		if v := recover(); v != nil {
			if _, is := v.(cut); !is {
				panic(v)
			}
		}
	}()
	do()
	return true
}

// Wherever an activation or a rollback is cut, host and guests are in the same
// one after the next boot, and nothing is left armed.
func TestHostAndGuestsAreCutAnywhere(t *testing.T) {
	for name, then := range map[string]func(h *paperHost){
		"recover": func(h *paperHost) {
			_, err := h.host().Recover(h.t.Context(), "", false)
			must(h.t, err)
			h.reboots()
		},
		"guests recover, then reboot": func(h *paperHost) {
			for _, m := range h.machines {
				_, err := m.Recover(h.t.Context())
				must(h.t, err)
			}
			h.reboots()
		},
		"reboot": func(h *paperHost) { h.reboots() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newPaperHost(t, 2)
			h.create()
			for _, what := range []struct {
				name string
				do   func()
			}{
				{"activate", func() { must(t, h.host().Activate(t.Context(), "new", ActivateOptions{})) }},
				{"rollback", func() {
					_, err := h.host().Rollback(t.Context(), RollbackOptions{})
					must(t, err)
				}},
			} {
				if what.name == "rollback" && name == "guests recover, then reboot" {
					continue // the host says the same to them
				}
				for n, ended := 1, false; !ended; n++ {
					at := "default"
					if what.name == "rollback" {
						at = "new"
					}
					ended = h.cut(n, what.do)
					then(h)
					st, err := h.host().Status(t.Context())
					must(t, err)
					word, suffix := "idle", ""
					if st.Trial != nil {
						word, suffix = "trying", " trying"
					}
					h.is(word, st.Running, st.Default, st.Running+suffix, st.Running+suffix)
					if t.Failed() || ended && st.Running == at {
						t.Fatalf("%s, cut before step %d, then %s: it runs %s", what.name, n, name, st.Running)
					}
					// As it was, or on for the next.
					if st.Trial != nil {
						must(t, h.host().Confirm(t.Context(), ConfirmOptions{}))
					}
					_, err = h.host().Recover(t.Context(), "", false)
					must(t, err)
					if to := map[string]string{"activate": "default", "rollback": "new"}[what.name]; !ended && st.Running != to {
						must(t, h.host().Activate(t.Context(), to, ActivateOptions{Permanent: true}))
						h.reboots()
						h.is("idle", to, to, to, to)
					}
				}
			}
		})
	}
}

// A create that was cut is shown, and undone in all of them.
func TestCreateWithGuestsIsCutAnywhere(t *testing.T) {
	h := newPaperHost(t, 2)
	has := func(target *Target) bool {
		_, err := target.find(t.Context(), "new")
		if err != nil && be.KindOf(err) != be.NotFound {
			t.Fatal(err)
		}
		return err == nil
	}
	seen := false
	for n, ended := 1, false; !ended; n++ {
		ended = h.cut(n, h.create)
		st, err := h.host().Status(t.Context())
		must(t, err)
		list, err := h.host().List(t.Context())
		must(t, err)
		for _, b := range list {
			if b.Name == "new" && (st.Open != "") != b.Incomplete {
				t.Errorf("cut before step %d: incomplete: %v, open: %q", n, b.Incomplete, st.Open)
			}
			seen = seen || b.Name == "new" && b.Incomplete
		}
		_, err = h.host().Recover(t.Context(), "", false)
		must(t, err)
		want := has(h.host())
		if ended && !want {
			t.Error("it is not made")
		}
		for _, m := range h.machines {
			must(t, m.with(t.Context(), func(target *Target) error {
				if has(target) != want {
					t.Errorf("cut before step %d: the host has it: %v, %s: %v", n, want, m.Guest.Name, !want)
				}
				return nil
			}))
		}
		h.is("idle", "default", "default", "default", "default")
		if want {
			_, err := h.host().DestroyWithGuests(t.Context(), "new", false, false)
			must(t, err)
			for _, m := range h.machines {
				must(t, m.with(t.Context(), func(target *Target) error {
					if has(target) {
						t.Errorf("%s has it still", m.Guest.Name)
					}
					return nil
				}))
			}
		}
	}
	if !seen {
		t.Error("one that is half made is never shown as incomplete")
	}
}
