package fbsd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/bootenv/simpool"
	"beadm/activate/boot/loadertest"
	"beadm/be"
)

const key = "freebsd:bootonce"

// machine is one on which beadm setup has run, and that was restarted since.
func machine() *simpool.Machine {
	m := simpool.New(key)
	m.Env["init_script"] = InitScript
	m.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Out: "NO\n"}
	return m
}

func loader(m *simpool.Machine, step func(string) error) *bootenv.Loader {
	return New(Config{BERoot: m.BERoot, Run: m.Run, Step: step})
}

// suiteLoader gives the suite's entries a dataset each.
type suiteLoader struct {
	*bootenv.Loader
	m *simpool.Machine
}

func (l suiteLoader) in(e boot.Entry) boot.Entry {
	if boot.ValidID(e.ID) {
		l.m.Clone(e.ID, e.ID)
		e.Root = be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + e.ID + "@"}
	}
	return e
}
func (l suiteLoader) CheckEntry(ctx context.Context, id string, _ be.RootRef) error {
	return l.Loader.CheckEntry(ctx, id, be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + id + "@"})
}
func (l suiteLoader) Install(ctx context.Context, e boot.Entry) error {
	return l.Loader.Install(ctx, l.in(e))
}
func (l suiteLoader) Put(ctx context.Context, e boot.Entry) error { return l.Loader.Put(ctx, l.in(e)) }

// play turns the machine on and says what the boot environment makes of it.
func play(m *simpool.Machine) (loadertest.Played, error) {
	root, _ := m.PowerOn()
	claim, err := loader(m, nil).Claim(context.Background(), root)
	id, trial := boot.Cmdline(claim)
	return loadertest.Played{ID: id, Trial: trial}, err
}

// TestContract runs the suite on a stand-in of the machine: FreeBSD cannot run
// here.
func TestContract(t *testing.T) {
	for name, bios := range map[string]bool{"UEFI": false, "BIOS": true} {
		t.Run(name, func(t *testing.T) {
			loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
				m := machine()
				m.BIOS = bios
				return loadertest.Fixture{
					Loader: func(step func(string) error) boot.Loader { return suiteLoader{loader(m, step), m} },
					Play:   func() (loadertest.Played, error) { return play(m) },
				}
			})
		})
	}
}

// armed is a machine with a as the default and b armed.
func armed(t *testing.T) (*simpool.Machine, *bootenv.Loader) {
	t.Helper()
	m := machine()
	l := loader(m, nil)
	r := suiteLoader{l, m}
	for _, err := range []error{
		r.Install(t.Context(), loadertest.Entry("a", "A")), r.Put(t.Context(), loadertest.Entry("b", "B")),
		r.Put(t.Context(), loadertest.Entry("c", "C")), r.Arm(t.Context(), loadertest.ID("b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m, l
}

func TestTheTokenIsWhatBectlWrites(t *testing.T) {
	m, _ := armed(t)
	if got := m.Label[key]; got != "zfs:tank/ROOT/"+loadertest.ID("b")+":" {
		t.Errorf("the token is %q", got)
	}
	if m.Bootfs != "tank/ROOT/"+loadertest.ID("a") {
		t.Errorf("bootfs is %s: a trial has changed the default", m.Bootfs)
	}
}

// TestClaim is what a boot environment is told of its own boot.
func TestClaim(t *testing.T) {
	ids := map[string]string{"a": "tank/ROOT/" + loadertest.ID("a"), "b": "tank/ROOT/" + loadertest.ID("b"), "c": "tank/ROOT/" + loadertest.ID("c")}
	for name, c := range map[string]struct {
		do     func(m *simpool.Machine)
		id     string
		trial  bool
		passed string
	}{
		"the trial":                         {func(m *simpool.Machine) { m.PowerOn() }, "b", true, ""},
		"without the colon, as boot1.efi":   {func(m *simpool.Machine) { m.PowerOn(); m.Env["zfs-bootonce"] = "zfs:" + ids["b"] }, "b", true, ""},
		"another was picked at the menu":    {func(m *simpool.Machine) { m.PowerOn(); m.Root = ids["c"] }, "c", false, "b"},
		"the default was picked there":      {func(m *simpool.Machine) { m.PowerOn(); m.Root = ids["a"] }, "a", false, "b"},
		"the loader died, with BIOS":        {func(m *simpool.Machine) { m.BIOS = true; m.DieInLoader(); m.PowerOn() }, "a", false, ""},
		"the next boot":                     {func(m *simpool.Machine) { m.PowerOn(); m.PowerOn() }, "a", false, ""},
		"picked at the menu, nothing armed": {func(m *simpool.Machine) { delete(m.Label, key); m.PowerOn(); m.Root = ids["b"] }, "b", false, ""},
		"the token was somebody else's":     {func(m *simpool.Machine) { m.Label[key] = "zfs:tank/ROOT/old:"; m.PowerOn(); m.Root = ids["a"] }, "a", false, ""},
	} {
		m, l := armed(t)
		c.do(m)
		claim, err := l.Claim(t.Context(), m.Root)
		id, trial := boot.Cmdline(claim)
		want := ""
		if c.passed != "" {
			want = loadertest.ID(c.passed)
		}
		if err != nil || id != loadertest.ID(c.id) || trial != c.trial || boot.Passed(claim) != want {
			t.Errorf("%s: %q %v, want %s, trial %v, passed %q", name, claim, err, c.id, c.trial, c.passed)
		}
	}
}

func TestNothingIsClaimedWhereNothingIsSetUp(t *testing.T) {
	m := machine()
	if claim, err := loader(m, nil).Claim(t.Context(), m.Root); err != nil || len(claim) != 0 {
		t.Errorf("%q %v", claim, err)
	}
}

// TestACutArming: the token was written, the record behind it was not.
func TestACutArming(t *testing.T) {
	m, l := armed(t)
	m.Props[m.BERoot]["org.beadm:trial"] = loadertest.ID("b") + "?"
	if s, err := l.State(t.Context()); err != nil || s.Trial != loadertest.ID("b") {
		t.Errorf("before the boot: %+v %v", s, err)
	}
	m.PowerOn()
	if s, err := l.State(t.Context()); err != nil || s.Tried != loadertest.ID("b") || s.Trial != "" {
		t.Errorf("in the trial: %+v %v", s, err)
	}
	m.PowerOn()
	if s, err := l.State(t.Context()); err != nil || s.Tried != "" || s.Trial != "" || s.Default != loadertest.ID("a") {
		t.Errorf("back in the old one: %+v %v", s, err)
	}
}

// TestACutDisarming: a token that was taken back is none that was consumed,
// wherever the power is cut.
func TestACutDisarming(t *testing.T) {
	for n := 1; ; n++ {
		m, _ := armed(t)
		count := 0
		err := loader(m, func(string) error {
			if count++; count >= n {
				return errors.New("power cut")
			}
			return nil
		}).Disarm(t.Context())
		if s, serr := loader(m, nil).State(t.Context()); serr != nil || s.Tried != "" {
			t.Errorf("cut %d: %+v %v", n, s, serr)
		}
		if err == nil {
			break
		}
	}
}

// TestAStuckToken: the loader could not take it and does not say so; whoever
// runs can.
func TestAStuckToken(t *testing.T) {
	m, l := armed(t)
	m.Stuck = true
	m.PowerOn()
	if s, err := l.State(t.Context()); err != nil || s.Trial != loadertest.ID("b") {
		t.Errorf("in the trial: %+v %v", s, err)
	}
	if err := l.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := play(m); err != nil || got != (loadertest.Played{ID: loadertest.ID("a")}) {
		t.Errorf("boots %+v %v", got, err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	b := loadertest.ID("b")
	for name, c := range map[string]struct {
		do   func(m *simpool.Machine)
		kind be.Kind
		says string
	}{
		"FreeBSD confirms by itself": {func(m *simpool.Machine) {
			m.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Out: "YES\n"}
		}, be.Unbootable, "run sysrc zfs_bootonce_activate=NO"},
		"in other words": {func(m *simpool.Machine) {
			m.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Out: "true\n"}
		}, be.Unbootable, "run sysrc zfs_bootonce_activate=NO"},
		"rc.conf cannot be read": {func(m *simpool.Machine) {
			m.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Status: 1, Words: "sysrc: cannot read"}
		}, be.Unbootable, "cannot read zfs_bootonce_activate"},
		"not restarted since setup": {func(m *simpool.Machine) { m.Env["init_script"] = "" }, be.Unbootable, boot.ErrRestart.Error()},
		"another script":            {func(m *simpool.Machine) { m.Env["init_script"] = "/etc/rc.mine" }, be.Unbootable, "/boot/loader.conf.d/beadm.conf"},
		"another loader's":          {func(m *simpool.Machine) { m.Props[m.BERoot]["org.beadm:loader"] = "illumos" }, be.NoStore, "beadm setup"},
		"the default is no entry":   {func(m *simpool.Machine) { m.Bootfs = "tank/ROOT/old" }, be.Unbootable, "run beadm setup"},
		"no default":                {func(m *simpool.Machine) { m.Bootfs = "" }, be.Unbootable, "run beadm setup"},
		"the record is damaged":     {func(m *simpool.Machine) { m.Props[m.BERoot]["org.beadm:trial"] = "x" }, be.Unbootable, "org.beadm:trial"},
		"the label cannot be read": {func(m *simpool.Machine) {
			m.Answers["zfsbootcfg -z tank -p"] = simpool.Answer{Status: 255}
		}, be.Unbootable, "cannot read the label of pool tank"},
		"a token that is no dataset's": {func(m *simpool.Machine) { m.Label[key] = "/boot/loader -s" }, be.Unbootable, "take it away first"},
	} {
		m, l := armed(t)
		if err := l.Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.do(m)
		before := m.Label[key] + m.Bootfs + m.Props[m.BERoot]["org.beadm:trial"]
		if err := l.Probe(t.Context()); be.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Arm(t.Context(), b); err == nil {
			t.Errorf("%s: armed", name)
		}
		if after := m.Label[key] + m.Bootfs + m.Props[m.BERoot]["org.beadm:trial"]; after != before {
			t.Errorf("%s: refused, and changed from %q to %q", name, before, after)
		}
	}
}

// TestARestartIsAllThatIsMissing right after setup, and only then.
func TestARestartIsAllThatIsMissing(t *testing.T) {
	m, l := armed(t)
	m.Env["init_script"] = ""
	if err := l.Probe(t.Context()); !errors.Is(err, boot.ErrRestart) {
		t.Errorf("right after setup: %v", err)
	}
	m.Env["init_script"] = "/etc/rc.mine"
	if err := l.Probe(t.Context()); err == nil || errors.Is(err, boot.ErrRestart) {
		t.Errorf("with another script: %v", err)
	}
}

// TestAnUnknownVariable: what does not know it does not confirm by itself.
func TestAnUnknownVariable(t *testing.T) {
	m, l := armed(t)
	m.Answers["sysrc -n zfs_bootonce_activate"] = simpool.Answer{Status: 1, Words: "sysrc: unknown variable 'zfs_bootonce_activate'"}
	if err := l.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestALabelThatForgets: what was written is not there when it is read back.
func TestALabelThatForgets(t *testing.T) {
	m, l := armed(t)
	if err := l.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := "zfs:tank/ROOT/" + loadertest.ID("b") + ":"
	m.Answers["zfsbootcfg -z tank "+token] = simpool.Answer{Out: "zfs bootenv is successfully written\n"}
	if err := l.Arm(t.Context(), loadertest.ID("b")); be.KindOf(err) != be.Unbootable {
		t.Errorf("armed: %v", err)
	}
	if s, err := l.State(t.Context()); err != nil || s.Trial != "" || s.Tried != "" {
		t.Errorf("%+v %v", s, err)
	}
}

func TestNamesThatALoaderWouldMisunderstand(t *testing.T) {
	for _, name := range []string{"a:b", "a b", "a+b", strings.Repeat("x", 240)} {
		m := machine()
		l := loader(m, nil)
		ds := m.Clone(name, loadertest.ID("b"))
		if err := (suiteLoader{l, m}).Install(t.Context(), loadertest.Entry("a", "A")); err != nil {
			t.Fatal(err)
		}
		e := loadertest.Entry("b", "B")
		e.Root = be.RootRef{FS: "zfs", Label: "tank", Prefix: strings.TrimPrefix(ds, "tank") + "@"}
		if err := l.Put(t.Context(), e); be.KindOf(err) != be.Unbootable {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestAClonesEntryIsNotItsOwn: a clone that another tool made has the local
// properties of its source.
func TestAClonesEntryIsNotItsOwn(t *testing.T) {
	m, l := armed(t)
	ds := m.Clone("copy", loadertest.ID("d"))
	m.Props[ds]["org.beadm:entry"] = loadertest.ID("b")
	if ids, err := l.Entries(t.Context()); err != nil || strings.Join(ids, " ") != strings.Join([]string{loadertest.ID("a"), loadertest.ID("b"), loadertest.ID("c")}, " ") {
		t.Errorf("%q %v", ids, err)
	}
	if s, err := l.State(t.Context()); err != nil || s.Trial != loadertest.ID("b") {
		t.Errorf("%+v %v", s, err)
	}
}

func TestCheckEntry(t *testing.T) {
	_, l := armed(t)
	at := func(name string) be.RootRef {
		return be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + name + "@"}
	}
	b := loadertest.ID("b")
	if err := l.CheckEntry(t.Context(), b, at(b)); err != nil {
		t.Error(err)
	}
	if err := l.CheckEntry(t.Context(), loadertest.ID("d"), at("d")); be.KindOf(err) != be.NotFound {
		t.Errorf("no entry: %v", err)
	}
	if err := l.CheckEntry(t.Context(), b, at("elsewhere")); be.KindOf(err) != be.Unbootable {
		t.Errorf("another root: %v", err)
	}
	if err := l.CheckEntry(t.Context(), b, be.RootRef{FS: "btrfs", FSUUID: "x", Prefix: "/@"}); be.KindOf(err) != be.Unbootable {
		t.Errorf("another store: %v", err)
	}
}

func TestPrepareTrial(t *testing.T) {
	m := machine()
	m.Answers["sysctl debug.debugger_on_panic=0"] = simpool.Answer{Status: 1, Words: "sysctl: unknown oid 'debug.debugger_on_panic'"}
	m.Answers["sysctl kern.panic_reboot_wait_time=7"] = simpool.Answer{Out: "kern.panic_reboot_wait_time: 15 -> 7\n"}
	if err := PrepareTrial(t.Context(), m.Run, "7"); err != nil {
		t.Error(err)
	}
	m.Answers["sysctl kern.panic_reboot_wait_time=7"] = simpool.Answer{Status: 1, Words: "sysctl: kern.panic_reboot_wait_time=7: Operation not permitted"}
	if err := PrepareTrial(t.Context(), m.Run, "7"); err == nil {
		t.Error("a panic that would wait for ever is no error")
	}
}
