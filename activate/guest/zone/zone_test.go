package zone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/activate/guest"
	"beadm/activate/guest/tool"
	"beadm/be"
)

// machine plays a host with zones: it knows their states and notes what is
// called. The forms of its answers are constructed; none was recorded: zoneadm
// after zoneadm(8) of illumos-gate at bbf2155 (2023) and zone_print in
// cmd/zoneadm/zoneadm.c at 0094b37, with the field that OmniOS adds as
// helpers/zone_test.go of snltd/illumos-telegraf-plugins at 66a1f1d quotes it,
// and those of Solaris 11 as pkg5's tests/cli/t_actuators.py does; zfs after
// zfs(8), be_zones.c in lib/libbe at 6a634c9 and the brand ipkg's common.ksh in
// omniosorg/pkg5 at 190bbd0, with Solaris' layout after lib/brand/shared's
// README.dsconvert; /etc/mnttab after mnttab(5); svcs after svcs(1).
type machine struct {
	t     *testing.T
	list  string // of zoneadm
	svcs  string
	zfs   map[string]string // by zonepath
	uuid  string            // of the host's root
	calls []string
	// fails are orders that fail, and what they say.
	fails map[string]string
	// keeps are zones that only halt stops.
	keeps map[string]bool
	// attached is what a command in a zone ends with.
	attached error
}

// set puts a zone into a state.
func (m *machine) set(name, state string) {
	lines := strings.Split(m.list, "\n")
	for i, line := range lines {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 && f[1] == name {
			f[0], f[2] = "-", state
			if runs[state] {
				f[0] = "21"
			}
			lines[i] = strings.Join(f, ":")
		}
	}
	m.list = strings.Join(lines, "\n")
}

func (m *machine) Ask(ctx context.Context, argv []string) (string, error) {
	switch {
	case slices.Equal(argv, askList):
		return m.list, ctx.Err()
	case slices.Equal(argv, askBEs(argv[len(argv)-1])):
		return m.zfs[argv[len(argv)-1]], nil
	case slices.Equal(argv, askUUID("rpool/ROOT/omnios-r151056")):
		return m.uuid + "\n", nil
	case argv[0] == zlogin && slices.Equal(argv[1:3], []string{"-E", "-S"}) && argv[4] == "/usr/bin/svcs -a -H -o state,fmri":
		m.calls = append(m.calls, "services of "+argv[3])
		return m.svcs, nil
	}
	m.t.Errorf("nobody expects %q to be asked", argv)
	return "", errors.New("not expected")
}

func (m *machine) Order(ctx context.Context, argv []string) error {
	line := strings.Join(argv, " ")
	m.calls = append(m.calls, line)
	if says, ok := m.fails[line]; ok {
		return tool.Failed(argv, says, errors.New("exit status 1"))
	}
	if argv[0] != zoneadm || argv[1] != "-z" {
		m.t.Errorf("nobody expects the order %q", argv)
		return errors.New("not expected")
	}
	switch name := argv[2]; argv[3] {
	case "boot":
		m.set(name, "running")
	case "shutdown":
		if !m.keeps[name] {
			m.set(name, "installed")
		}
	case "halt":
		m.set(name, "installed")
	default:
		m.t.Errorf("nobody expects the order %q", argv)
	}
	return nil
}

func (m *machine) Attach(ctx context.Context, argv, env []string, in, out, errs *os.File) error {
	m.calls = append(m.calls, strings.Join(argv, " "))
	return m.attached
}

// data is a file of testdata.
func data(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/constructed-" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newMachine is a host of which web1, lin1 and db1 run.
func newMachine(t *testing.T) (*machine, *Runtime) {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{zoneadm: "", "/etc/mnttab": data(t, "mnttab.txt")} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{t: t, list: data(t, "zoneadm.txt"), svcs: data(t, "svcs.txt"), uuid: "5ce1b6b6-0d5f-6a7e-8c52-a4c1b9d5e802", zfs: map[string]string{
		"rpool/zones/web1": data(t, "zfs-web1.txt"), "tank/web2": data(t, "zfs-solaris.txt"), "rpool/zones/lin1": "rpool/zones/lin1\t-\t-\n",
		"tank/db1": "tank/db1/ROOT/zbe\t5ce1b6b6-0d5f-6a7e-8c52-a4c1b9d5e802\ton\ntank/db1/ROOT/zbe-1\t5ce1b6b6-0d5f-6a7e-8c52-a4c1b9d5e802\ton\n",
	}}
	return m, &Runtime{root: root, programs: m, poll: time.Millisecond, stopTime: time.Minute, haltTime: time.Minute}
}

func list(t *testing.T, r *Runtime) (out []string, err error) {
	t.Helper()
	guests, err := r.List(t.Context())
	for _, g := range guests {
		if g.Runtime != "zone" || g.Leader != 0 {
			t.Errorf("guest: %+v", g)
		}
		out = append(out, fmt.Sprintf("%s %s %v", g.Name, g.Root, g.Running))
	}
	return out, err
}

func TestList(t *testing.T) {
	m, r := newMachine(t)
	for text, want := range map[string][]string{
		"zoneadm.txt": {"db1 /zones/db1/root true", "lin1 /zones/lin1/root true", "web1 /zones/web1/root true", "web2 /tank/a:b/web2/root false"},
		// As a zone sees itself.
		"6:serv:running:/:311a4f36-779f-4d14-bc9d-c85cb9817306:native:excl:0\n": nil,
	} {
		if strings.HasSuffix(text, ".txt") {
			text = data(t, text)
		}
		m.list = text
		if got, err := list(t, r); err != nil || !slices.Equal(got, want) {
			t.Errorf("zones: %q, not %q, %v", got, want, err)
		}
	}
}

func TestListOfSolaris(t *testing.T) {
	m, r := newMachine(t)
	m.list = data(t, "zoneadm-solaris.txt")
	got, err := list(t, r)
	if want := []string{"s1 /system/zones/s1/root true", "s2 /system/zones/s2/root false"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("zones: %q, not %q, %v", got, want, err)
	}
}

func TestNoZones(t *testing.T) {
	r := New()
	r.root = t.TempDir()
	if got, err := list(t, r); got != nil || err != nil {
		t.Errorf("zones: %v, %v", got, err)
	}
	if err := r.Start(t.Context(), guest.Guest{Name: "web1"}); be.KindOf(err) != be.NoStore {
		t.Errorf("start: %v", err)
	}
}

// What is wrong is said, and the other zones are still there.
func TestListRefuses(t *testing.T) {
	for line, says := range map[string]string{
		"":                                       "it has 1 fields, not 7",
		"-:a:installed:/zones/a:u:lipkg":         "it has 6 fields, not 7",
		"-:-R:installed:/zones/a:u:lipkg:excl":   `"-R": its name could be taken for something else`,
		"-:a/b:installed:/zones/a:u:lipkg:excl":  `"a/b": its name could be taken for something else`,
		"-:a:asleep:/zones/a:u:lipkg:excl":       `nothing is known of its state "asleep"`,
		"-:a:installed:zones/a:u:lipkg:excl":     `its zonepath "zones/a" is no directory's full name`,
		"-:a:installed:/zones/../a:u:lipkg:excl": `its zonepath "/zones/../a" is no directory's full name`,
		"-:a:installed:/zones/a:u::excl":         "zoneadm does not say its brand",
	} {
		m, r := newMachine(t)
		m.list = line + "\n" + m.list
		got, err := list(t, r)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: it says %v, not %q", line, err, says)
		}
		if len(got) != 4 {
			t.Errorf("%q hides zones: %q", line, got)
		}
	}
}

func TestStart(t *testing.T) {
	m, r := newMachine(t)
	g := guest.Guest{Name: "web2", Root: "/tank/a:b/web2/root"}
	if err := r.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), g); be.KindOf(err) != be.InUse {
		t.Errorf("again: %v", err)
	}
	if want := []string{zoneadm + " -z web2 boot"}; !slices.Equal(m.calls, want) {
		t.Errorf("calls: %q", m.calls)
	}
}

func TestStartRefuses(t *testing.T) {
	m, r := newMachine(t)
	for name, c := range map[string]struct {
		guest guest.Guest
		kind  be.Kind
	}{
		"nobody":         {guest.Guest{Name: "nobody"}, be.NotFound},
		"not installed":  {guest.Guest{Name: "new"}, be.NotFound},
		"global":         {guest.Guest{Name: "global"}, be.NotFound},
		"a machine":      {guest.Guest{Name: "vm1"}, be.NotFound},
		"another root":   {guest.Guest{Name: "web2", Root: "/elsewhere"}, be.InUse},
		"one that halts": {guest.Guest{Name: "db1"}, be.InUse},
	} {
		if err := r.Start(t.Context(), c.guest); be.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(m.calls) != 0 {
		t.Errorf("calls: %q", m.calls)
	}
	order := zoneadm + " -z web2 boot"
	m.fails = map[string]string{order: "zone 'web2': ERROR: \x1b[31mno active dataset.\n"}
	err := r.Start(t.Context(), guest.Guest{Name: "web2"})
	if want := "cannot start the zone web2: " + order + ": zone 'web2': ERROR: ?[31mno active dataset."; err == nil || err.Error() != want {
		t.Errorf("it says %v, not %s", err, want)
	}
}

// deaf does not do what it is told.
type deaf struct{ *machine }

func (d deaf) Order(_ context.Context, argv []string) error {
	d.calls = append(d.calls, strings.Join(argv, " "))
	return nil
}

func TestStartOfNothing(t *testing.T) {
	m, r := newMachine(t)
	r.programs = deaf{m}
	if err := r.Start(t.Context(), guest.Guest{Name: "web2"}); err == nil || !strings.Contains(err.Error(), "zoneadm ended well, and it is installed") {
		t.Errorf("it says %v", err)
	}
}

func TestStop(t *testing.T) {
	m, r := newMachine(t)
	for range 2 { // One that does not run is no error.
		if err := r.Stop(t.Context(), guest.Guest{Name: "web1"}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{zoneadm + " -z web1 shutdown"}; !slices.Equal(m.calls, want) {
		t.Errorf("calls: %q", m.calls)
	}
}

// A zone that does not go, or that zoneadm does not shut down, is halted.
func TestStopByForce(t *testing.T) {
	want := []string{zoneadm + " -z web1 shutdown", zoneadm + " -z web1 halt"}
	for name, spoil := range map[string]func(*machine){
		"it stays":  func(m *machine) { m.keeps = map[string]bool{"web1": true} },
		"it failed": func(m *machine) { m.fails = map[string]string{want[0]: "usage: zoneadm"} },
	} {
		m, r := newMachine(t)
		spoil(m)
		r.stopTime = time.Millisecond
		if err := r.Stop(t.Context(), guest.Guest{Name: "web1"}); err != nil || !slices.Equal(m.calls, want) {
			t.Errorf("%s: %v, %q", name, err, m.calls)
		}
	}
	// One that even the kernel cannot end is told.
	m, r := newMachine(t)
	r.stopTime, r.haltTime = time.Millisecond, time.Second
	m.keeps = map[string]bool{"web1": true}
	m.fails = map[string]string{want[1]: "zone 'web1': unable to unmount"}
	if err := r.Stop(t.Context(), guest.Guest{Name: "web1"}); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "unable to unmount") || !strings.Contains(err.Error(), "it is still running") {
		t.Errorf("it says %v", err)
	}
}

func TestStopCancelled(t *testing.T) {
	m, r := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.programs = cancels{m, cancel}
	if err := r.Stop(ctx, guest.Guest{Name: "web1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	if want := []string{zoneadm + " -z web1 shutdown"}; !slices.Equal(m.calls, want) {
		t.Errorf("calls: %q", m.calls)
	}
}

// cancels is cancelled while it is at an order.
type cancels struct {
	*machine
	cancel func()
}

func (c cancels) Order(ctx context.Context, argv []string) error {
	c.calls = append(c.calls, strings.Join(argv, " "))
	c.cancel()
	return ctx.Err()
}

func TestHealth(t *testing.T) {
	m, r := newMachine(t)
	for name, want := range map[string]guest.Health{
		"web1": {Up: true, Failed: []string{"svc:/network/ntp:default", "svc:/network/smtp:sendmail"}},
		"lin1": {Up: true},
		"db1":  {Why: "the zone is shutting down"},
	} {
		got, err := r.Health(t.Context(), guest.Guest{Name: name})
		if err != nil || got.Up != want.Up || got.Why != want.Why || !slices.Equal(got.Failed, want.Failed) {
			t.Errorf("%s: %+v, not %+v, %v", name, got, want, err)
		}
	}
	if !slices.Equal(m.calls, []string{"services of web1"}) {
		t.Errorf("calls: %q", m.calls)
	}
	if _, err := r.Health(t.Context(), guest.Guest{Name: "web2"}); err == nil {
		t.Error("web2 does not run, and is looked at")
	}
}

func TestServices(t *testing.T) {
	for text, want := range map[string]string{
		"online* svc:/a:default\nonline svc:/b:default\n":                             "1 services are still starting",
		"offline svc:/milestone/multi-user-server:default\nonline svc:/a:default\n":   "svc:/milestone/multi-user-server:default is offline",
		"uninitialized svc:/milestone/multi-user-server:default\n":                    "svc:/milestone/multi-user-server:default is uninitialized",
		"offline svc:/milestone/multi-user-server:default\nmaintenance svc:/a:b\n":    "",
		"disabled svc:/milestone/multi-user-server:default\nuninitialized svc:/a:b\n": "",
		"online svc:/a:default\n": "",
		"offline* svc:/milestone/multi-user-server:default\nmaintenance* svc:/a:b,c\n": "2 services are still starting",
	} {
		h, err := health(text)
		if err != nil || h.Why != want || h.Up != (want == "") {
			t.Errorf("%q: %+v, %v", text, h, err)
		}
	}
	for _, text := range []string{"online\n", "online svc:/a:b c\n", "online \x1b[31m\n", "STATE FMRI\n"} {
		if h, err := health(text); err == nil {
			t.Errorf("%q is read as %+v", text, h)
		}
	}
}
