package jail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/activate/guest"
	"beadm/activate/guest/tool"
	"beadm/be"
)

// machine plays a FreeBSD host: it knows which jails run and notes what is
// called. The forms of its answers are constructed; none was recorded:
// jls after jls.c of freebsd-src at 01021fd and the case jls_libxo in its
// tests/sys/kern (2025), ps after ps(1) with -o jid= -o args=, service after
// run_rc_command of rc.subr, zfs after zfs-list(8) and zfs-get(8) with -H, and
// iocage's files after ioc_create.py of iocage/iocage at 035344e.
type machine struct {
	t       *testing.T
	files   hostFiles
	running []running
	ps      string
	rc      map[string]string // of rc.conf
	service string
	pools   string
	calls   []string
	// fails are orders that fail, and what they say.
	fails map[string]string
	// keeps are jails that no order but -R stops.
	keeps map[string]bool
	// attached is what a command in a jail ends with.
	attached error
	conf     string // the jail.conf of the last -c, if it is beadm's
	env      []string
}

func (m *machine) Ask(ctx context.Context, argv []string) (string, error) {
	line := strings.Join(argv, " ")
	switch {
	case line == strings.Join(askJls, " "):
		var jails []string
		for _, j := range m.running {
			jails = append(jails, fmt.Sprintf(`{"jid":"%d","name":"%s","path":"%s"}`, j.jid, j.name, j.path))
		}
		return `{"__version": "2", "jail-information": {"jail": [` + strings.Join(jails, ",") + "]}\n}\n", nil
	case line == strings.Join(askPs, " "):
		return m.ps, nil
	case argv[0] == sysrc && len(argv) == 6 && slices.Equal(argv[1:5], []string{"-s", "jail", "-i", "-n"}):
		if v, ok := m.rc[argv[5]]; ok {
			return v + "\n", nil
		}
		return "", nil
	case line == strings.Join(askPools, " "):
		return m.pools, nil
	case line == zfs+" get -H -o value mountpoint zroot/iocage":
		return "/iocage\n", nil
	case argv[0] == jexec && slices.Equal(argv[2:], []string{"/bin/sh", "-c", askServices}):
		m.calls = append(m.calls, jexec+" "+argv[1]+" services")
		return m.service, nil
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
	name := argv[len(argv)-1]
	kernel := name
	if argv[0] == iocage {
		kernel = "ioc-" + strings.ReplaceAll(name, ".", "_")
	}
	switch verb := argv[len(argv)-2]; {
	case verb == "-c" || verb == "start":
		path := map[string]string{"web1": "/jails/web1", "db1": "/jails/db1", "db2": "/jails/db2", "tool": "/tools/tool", "www": "/data/bastille/jails/www/root", "db.old": "/iocage/jails/db.old/root"}[name]
		if strings.HasPrefix(name, "beadm-run-") {
			text, err := m.files.read(argv[3])
			if err != nil {
				m.t.Error(err)
			}
			info, err := os.Stat(m.files.at(argv[3]))
			if err != nil || info.Mode().Perm() != 0o600 {
				m.t.Errorf("%s: %v, %v", argv[3], info, err)
			}
			m.conf = text
			path = "/jails/new"
		}
		m.running = append(m.running, running{50, kernel, path})
	case verb == "-r" && m.keeps[kernel], verb == "stop" && m.keeps[kernel]:
	case verb == "-r", verb == "-R", verb == "stop":
		m.running = slices.DeleteFunc(m.running, func(j running) bool {
			return j.name == kernel || strings.HasPrefix(j.name, kernel+".")
		})
		m.ps = ""
	default:
		m.t.Errorf("nobody expects the order %q", argv)
	}
	return nil
}

func (m *machine) Attach(ctx context.Context, argv, env []string, in, out, errs *os.File) error {
	m.calls = append(m.calls, strings.Join(argv, " "))
	m.env = env
	return m.attached
}

// data is a file of testdata.
func data(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newMachine is a host with all three kinds of jails, of which web1, www and
// db.old run.
func newMachine(t *testing.T, more map[string]string) (*machine, *Runtime) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		jail: "", jls: "", bastille: "", iocage: "",
		"/etc/jail.conf":                     data(t, "constructed-jail.conf"),
		"/etc/jail.conf.d/mail.conf":         "mail { path = /jails/mail; }",
		bastilleConf:                         data(t, "constructed-bastille.conf"),
		"/data/bastille/jails/www/jail.conf": data(t, "constructed-bastille-jail.conf"),
		"/data/bastille/jails/left/root/x":   "",
		"/data/bastille/jails/a file":        "",
		"/iocage/jails/left/root/x":          "",
		"/iocage/jails/db.old/config.json":   data(t, "constructed-iocage-config.json"),
		"/var/run/x":                         "",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		if text == "-" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now, err := parseJls(data(t, "constructed-jls.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, files: hostFiles(dir), running: now, ps: data(t, "constructed-ps.txt"), pools: data(t, "constructed-pools.txt"), service: data(t, "constructed-service.txt")}
	return m, &Runtime{files: m.files, programs: m, poll: time.Millisecond, stopTime: time.Second}
}

func list(t *testing.T, r *Runtime) (out []string, err error) {
	t.Helper()
	guests, err := r.List(t.Context())
	for _, g := range guests {
		if g.Runtime != "jail" || g.Leader != 0 {
			t.Errorf("guest: %+v", g)
		}
		out = append(out, fmt.Sprintf("%s %s %v", g.Name, g.Root, g.Running))
	}
	return out, err
}

func TestList(t *testing.T) {
	_, r := newMachine(t, nil)
	got, err := list(t, r)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"db.old /iocage/jails/db.old/root true", "db1 /jails/db1 false", "db2 /jails/db2 false",
		"mail /jails/mail false", "tool /tools/tool false", "web1 /jails/web1 true",
		"www /data/bastille/jails/www/root true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("jails: %q, not %q", got, want)
	}
}

func TestNoJails(t *testing.T) {
	r := New()
	r.files = hostFiles(t.TempDir())
	got, err := list(t, r)
	if got != nil || err != nil {
		t.Errorf("jails: %v, %v", got, err)
	}
	if err := r.Start(t.Context(), guest.Guest{Name: "web1"}); be.KindOf(err) != be.NoStore {
		t.Errorf("start: %v", err)
	}
}

// What is wrong is said, and the other jails are still there.
func TestListRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		pools string
		says  string
		gone  string
	}{
		"a file":           {files: map[string]string{"/etc/jail.bad.conf": "bad {\n path = ; }"}, says: "/etc/jail.bad.conf:2: ; is not expected here"},
		"a jail":           {files: map[string]string{"/etc/jail.conf.d/mail.conf": "mail { path = $no; }"}, says: "$no has no value", gone: "mail"},
		"an option's name": {files: map[string]string{"/etc/jail.conf.d/mail.conf": "-R { path = /jails/mail; }"}, says: `"-R": its name could be taken for something else`, gone: "mail"},
		"a setting's name": {files: map[string]string{"/etc/jail.conf.d/mail.conf": "'path=/' { path = /jails/mail; }"}, says: `its name could be taken for something else`, gone: "mail"},
		"a pattern's name": {files: map[string]string{"/etc/jail.conf.d/mail.conf": "'we*' { path = /jails/mail; }"}, says: `its name could be taken for something else`, gone: "mail"},
		"everybody's name": {files: map[string]string{"/iocage/jails/ALL/config.json": "{}"}, says: `"ALL": its name could be taken for something else`},
		"a path":           {files: map[string]string{"/etc/jail.conf.d/mail.conf": "mail { path = jails/mail; }"}, says: `its path "jails/mail" does not begin with a slash`, gone: "mail"},
		"two of a name":    {files: map[string]string{"/etc/jail.conf.d/www.conf": "www { path = /other; }"}, says: "cannot tell the jail www of /etc/jail.conf.d/www.conf:1 from that of /data/bastille/jails/www/jail.conf", gone: "www"},
		"settings in rc":   {files: map[string]string{"/etc/rc.conf": "x=1\njail_mail_rootdir=\"/jails/mail\"\n"}, says: "/etc/rc.conf:2: cannot use the jail mail", gone: "mail"},
		"bastille's file":  {files: map[string]string{"/data/bastille/jails/www/jail.conf": "w { path = /x; }"}, says: "it is not of the jail www alone", gone: "www"},
		"bastille's name":  {files: map[string]string{"/data/bastille/jails/w.w/jail.conf": "w.w { path = /x; }"}, says: "bastille could take its name for another's"},
		"bastille's place": {files: map[string]string{bastilleConf: "bastille_jailsdir=\"$(hostname)/jails\"\n"}, says: "a shell would have to work out", gone: "www"},
		"iocage's file":    {files: map[string]string{"/iocage/jails/db.old/config.json": "{"}, says: "/iocage/jails/db.old/config.json: cannot read the jail db.old", gone: "db.old"},
		"two pools":        {pools: "tank\tyes\nzroot\tyes\n", says: "tank and zroot both have", gone: "db.old"},
	} {
		t.Run(name, func(t *testing.T) {
			m, r := newMachine(t, c.files)
			if c.pools != "" {
				m.pools = c.pools
			}
			got, err := list(t, r)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, not %q", err, c.says)
			}
			if !slices.Contains(got, "web1 /jails/web1 true") {
				t.Errorf("web1 is hidden: %q", got)
			}
			for _, g := range got {
				if c.gone != "" && strings.HasPrefix(g, c.gone+" ") {
					t.Errorf("there is %s", g)
				}
			}
		})
	}
}

// A jail is started from the file that rc.d/jail would start it from.
func TestWhichFile(t *testing.T) {
	files := map[string]string{
		"/etc/jail.conf":             "mail { path = /main; } tool { path = /tools/tool; }",
		"/etc/jail.conf.d/mail.conf": "mail { path = /dir; }",
	}
	for name, c := range map[string]struct {
		rc   map[string]string
		more map[string]string
		root string
		file string
	}{
		"all of jail.conf": {nil, nil, "/main", "/etc/jail.conf"},
		"with a list":      {map[string]string{"jail_list": "tool mail"}, nil, "/dir", "/etc/jail.conf.d/mail.conf"},
		"its own":          {map[string]string{"jail_list": "mail"}, map[string]string{"/etc/jail.mail.conf": "mail { path = /own; }"}, "/own", "/etc/jail.mail.conf"},
		"another main":     {map[string]string{"jail_conf": "/usr/local/etc/j.conf"}, map[string]string{"/usr/local/etc/j.conf": "mail { path = /local; }"}, "/local", "/usr/local/etc/j.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{}
			for _, from := range []map[string]string{files, c.more} {
				for k, v := range from {
					all[k] = v
				}
			}
			m, r := newMachine(t, all)
			m.rc = c.rc
			e, _, err := r.look(t.Context(), guest.Guest{Name: "mail"})
			if err != nil {
				t.Fatal(err)
			}
			if e.Root != c.root || !slices.Equal(e.start, []string{jail, "-q", "-f", c.file, "-c", "mail"}) {
				t.Errorf("root %s by %q", e.Root, e.start)
			}
		})
	}
}

func TestStart(t *testing.T) {
	for name, want := range map[string]string{
		"db1":    "/usr/sbin/jail -q -f /etc/jail.conf -c db1",
		"www":    "/usr/local/bin/bastille start www",
		"db.old": "/usr/local/bin/iocage start db.old",
	} {
		t.Run(name, func(t *testing.T) {
			m, r := newMachine(t, nil)
			m.running = nil
			if err := r.Start(t.Context(), guest.Guest{Name: name}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.calls, []string{want}) {
				t.Errorf("calls: %q", m.calls)
			}
			if err := r.Start(t.Context(), guest.Guest{Name: name}); be.KindOf(err) != be.InUse || len(m.calls) != 1 {
				t.Errorf("again: %v, %q", err, m.calls)
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	m, r := newMachine(t, nil)
	if err := r.Start(t.Context(), guest.Guest{Name: "nobody"}); be.KindOf(err) != be.NotFound {
		t.Errorf("nobody: %v", err)
	}
	if err := r.Start(t.Context(), guest.Guest{Name: "db1", Root: "/elsewhere"}); be.KindOf(err) != be.InUse {
		t.Errorf("another root: %v", err)
	}
	if len(m.calls) != 0 {
		t.Errorf("calls: %q", m.calls)
	}
	order := "/usr/sbin/jail -q -f /etc/jail.conf -c db1"
	m.fails = map[string]string{order: "jail: db1: exec.start: /bin/sh \x1b[31m/etc/rc: failed\n"}
	err := r.Start(t.Context(), guest.Guest{Name: "db1"})
	if want := "cannot start the jail db1: " + order + ": jail: db1: exec.start: /bin/sh ?[31m/etc/rc: failed"; err == nil || err.Error() != want {
		t.Errorf("it says %v, not %s", err, want)
	}
}

// A manager that ends well and started nothing, or another root, is caught.
func TestStartOfNothing(t *testing.T) {
	m, r := newMachine(t, map[string]string{"/etc/jail.conf": "db2 { path = /jails/other; }"})
	if err := r.Start(t.Context(), guest.Guest{Name: "db2"}); err == nil || !strings.Contains(err.Error(), "was started from /jails/db2, not from /jails/other") {
		t.Errorf("another root: %v", err)
	}
	m.running = nil
	r.programs = deaf{m}
	if err := r.Start(t.Context(), guest.Guest{Name: "www"}); err == nil || !strings.Contains(err.Error(), "ended well, and it does not run") {
		t.Errorf("nothing: %v", err)
	}
}

// deaf does not do what it is told.
type deaf struct{ *machine }

func (d deaf) Order(context.Context, []string) error { return nil }

// A root that is a link is the one that it leads to.
func TestStartThroughLink(t *testing.T) {
	m, r := newMachine(t, map[string]string{"/jails/.beadm/web1/@be-new/etc/rc": ""})
	if err := os.Symlink(".beadm/web1/@be-new", m.files.at("/jails/web1")); err != nil {
		t.Fatal(err)
	}
	m.running = nil
	if err := r.Start(t.Context(), guest.Guest{Name: "web1", Root: "/jails/web1"}); err != nil {
		t.Error(err)
	}
	m.running[0].path = "/jails/.beadm/web1/@be-new"
	if !r.same(m.running[0].path, "/jails/web1") {
		t.Error("it is not found by the name that the kernel has")
	}
}

func TestStop(t *testing.T) {
	for name, want := range map[string]string{
		"web1":   "/usr/sbin/jail -q -f /etc/jail.conf -r web1",
		"www":    "/usr/local/bin/bastille stop www",
		"db.old": "/usr/local/bin/iocage stop db.old",
	} {
		t.Run(name, func(t *testing.T) {
			m, r := newMachine(t, nil)
			if err := r.Stop(t.Context(), guest.Guest{Name: name}); err != nil {
				t.Fatal(err)
			}
			if err := r.Stop(t.Context(), guest.Guest{Name: name}); err != nil {
				t.Errorf("again: %v", err)
			}
			if !slices.Equal(m.calls, []string{want}) {
				t.Errorf("calls: %q", m.calls)
			}
		})
	}
}

// A jail whose own commands do not stop it is removed.
func TestStopByForce(t *testing.T) {
	for name, kernel := range map[string]string{"web1": "web1", "db.old": "ioc-db_old"} {
		m, r := newMachine(t, nil)
		m.keeps = map[string]bool{kernel: true}
		if err := r.Stop(t.Context(), guest.Guest{Name: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(m.calls) != 2 || m.calls[1] != "/usr/sbin/jail -q -R "+kernel {
			t.Errorf("%s: calls: %q", name, m.calls)
		}
	}
	m, r := newMachine(t, nil)
	order := "/usr/sbin/jail -q -f /etc/jail.conf -r web1"
	m.fails = map[string]string{order: "exec.stop: failed"}
	if err := r.Stop(t.Context(), guest.Guest{Name: "web1"}); err != nil || !slices.Equal(m.calls, []string{order, "/usr/sbin/jail -q -R web1"}) {
		t.Errorf("it failed: %v, %q", err, m.calls)
	}
}

// A process that outlives its jail's entry is waited for.
func TestStopLeavesNothing(t *testing.T) {
	m, r := newMachine(t, nil)
	r.programs = lingering{m, new(int)}
	if err := r.Stop(t.Context(), guest.Guest{Name: "web1"}); err != nil {
		t.Fatal(err)
	}
	if *r.programs.(lingering).looks < 3 {
		t.Error("it did not wait")
	}
}

// lingering has a process in web1 for a few looks.
type lingering struct {
	*machine
	looks *int
}

func (l lingering) Ask(ctx context.Context, argv []string) (string, error) {
	if argv[0] == ps {
		if *l.looks++; *l.looks < 3 {
			// It is in a jail in it.
			return "  4 /usr/sbin/cron -s\n", nil
		}
		return "  0 /sbin/init\n", nil
	}
	return l.machine.Ask(ctx, argv)
}

func TestStopCancelled(t *testing.T) {
	m, r := newMachine(t, nil)
	m.keeps = map[string]bool{"web1": true}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Stop(ctx, guest.Guest{Name: "web1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	if len(m.running) != 4 {
		t.Errorf("it was removed: %q", m.calls)
	}
}

func TestStopOfWhatOthersNeed(t *testing.T) {
	m, r := newMachine(t, map[string]string{"/etc/jail.conf.d/in.conf": "'web1.inner' { path = /jails/web1/inner; }"})
	for name, says := range map[string]string{"db1": "web1, which depends on it", "web1": "web1.inner, which depends on it"} {
		if name == "db1" {
			m.running = append(m.running, running{30, "db1", "/jails/db1"})
		}
		err := r.Stop(t.Context(), guest.Guest{Name: name})
		if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(m.calls) != 0 {
		t.Errorf("calls: %q", m.calls)
	}
}

func TestHealth(t *testing.T) {
	m, r := newMachine(t, nil)
	h, err := r.Health(t.Context(), guest.Guest{Name: "web1"})
	if err != nil || !h.Up || !slices.Equal(h.Failed, []string{"clamd", "nginx"}) {
		t.Errorf("web1: %+v, %v", h, err)
	}
	h, err = r.Health(t.Context(), guest.Guest{Name: "www"})
	if err != nil || h.Up || h.Why != "/etc/rc has not ended yet" {
		t.Errorf("www, where /etc/rc runs: %+v, %v", h, err)
	}
	if !slices.Equal(m.calls, []string{"/usr/sbin/jexec 1 services"}) {
		t.Errorf("calls: %q", m.calls)
	}
	// iocage's start is /etc/rc where config.json does not say.
	if h, err = r.Health(t.Context(), guest.Guest{Name: "db.old"}); err != nil || !h.Up || len(m.calls) != 2 {
		t.Errorf("db.old: %+v, %v", h, err)
	}
	m.running = append(m.running, running{40, "tool", "/tools/tool"})
	if h, err = r.Health(t.Context(), guest.Guest{Name: "tool"}); err != nil || !h.Up || h.Failed != nil || len(m.calls) != 2 {
		t.Errorf("tool, which has no /etc/rc: %+v, %v", h, err)
	}
	if _, err = r.Health(t.Context(), guest.Guest{Name: "db1"}); err == nil {
		t.Error("db1 does not run, and is looked at")
	}
	m.ps = "garbled\n"
	if _, err = r.Health(t.Context(), guest.Guest{Name: "web1"}); err == nil {
		t.Error("what ps says is not read")
	}
}

func TestParseJls(t *testing.T) {
	for _, text := range []string{
		"", "{}", `{"__version": "2"}`, `{"__version": "3", "jail-information": {"jail": []}}`,
		`{"__version": "2", "jail-information": {"jail": [{"name":"a","path":"/a"}]}}`,
		`{"__version": "2", "jail-information": {"jail": [{"jid":"1","name":"","path":"/a"}]}}`,
		`{"__version": "2", "jail-information": {"jail": [{"jid":"1","name":"a"}]}}`,
		`{"__version": "2", "jail-information": {"jail": [{"jid":"-1","name":"a","path":"/a"}]}}`,
	} {
		if got, err := parseJls(text); err == nil {
			t.Errorf("%s is read as %v", text, got)
		}
	}
	if got, err := parseJls(`{"__version": "2", "jail-information": {"jail": [{"jid":3,"name":"a","path":"/a"}]}}`); err != nil || got[0].jid != 3 {
		t.Errorf("a number: %v, %v", got, err)
	}
}

func TestRun(t *testing.T) {
	m, r := newMachine(t, nil)
	name := runName("web1")
	file := "/var/run/" + name + ".conf"
	err := r.Run(t.Context(), guest.Guest{Name: "web1"}, guest.Command{Root: "/jails/it's new", Argv: []string{"pkg", "-j", "upgrade", "-y"}, Env: []string{"A=b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		jail + " -q -f " + file + " -c " + name,
		jexec + " 50 pkg -j upgrade -y",
		jail + " -q -f " + file + " -r " + name,
	}
	if !slices.Equal(m.calls, want) {
		t.Errorf("calls: %q, not %q", m.calls, want)
	}
	if !slices.Contains(m.env, "A=b") || !slices.Contains(m.env, "HOME=/root") {
		t.Errorf("environment: %q", m.env)
	}
	if there, err := r.files.exists(file); there || err != nil {
		t.Errorf("%s is left, %v", file, err)
	}
	jails, err := parse("/c", memory{"/c": m.conf})
	if err != nil {
		t.Fatalf("%v\n%s", err, m.conf)
	}
	// Raw sockets are not among them, for it has the host's network.
	settings := "name=" + name + `
path=/jails/it's new
host.hostname=web1.example.org
ip4=inherit
ip6=inherit
devfs_ruleset=4
stop.timeout=0
mount.devfs
persist
securelevel=2
allow.nochflags
enforce_statfs=1`
	if len(jails) != 1 || lines(jails[0]) != settings {
		t.Errorf("the jail is\n%s\nnot\n%s", m.conf, settings)
	}
}

// Its jail is removed however the command ends, and the way it ends is told.
func TestRunFails(t *testing.T) {
	m, r := newMachine(t, nil)
	name := runName("ioc-db_old")
	m.attached = exec.Command("/bin/sh", "-c", "exit 3").Run()
	err := r.Run(t.Context(), guest.Guest{Name: "db.old"}, guest.Command{Root: "/jails/new", Argv: []string{"x"}})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("it says %v", err)
	}
	if !strings.Contains(m.conf, "securelevel = '3'") || !strings.Contains(m.conf, "host.hostname = 'db-old'") {
		t.Errorf("the jail is\n%s", m.conf)
	}
	if slices.ContainsFunc(m.running, func(j running) bool { return j.name == name }) {
		t.Errorf("it is left: %q", m.calls)
	}
	// One that does not go by its file is removed.
	m.calls, m.attached, m.keeps = nil, nil, map[string]bool{name: true}
	if err := r.Run(t.Context(), guest.Guest{Name: "db.old"}, guest.Command{Root: "/jails/new", Argv: []string{"x"}}); err != nil {
		t.Error(err)
	}
	if last := m.calls[len(m.calls)-1]; last != jail+" -q -R "+name {
		t.Errorf("calls: %q", m.calls)
	}
}

// What an earlier one has left is removed first, by its own file.
func TestRunAfterOneThatWasKilled(t *testing.T) {
	name := runName("web1")
	file := "/var/run/" + name + ".conf"
	m, r := newMachine(t, map[string]string{file: name + " { }"})
	m.running = append(m.running, running{60, name, "/jails/new"})
	if err := r.Run(t.Context(), guest.Guest{Name: "web1"}, guest.Command{Root: "/jails/new", Argv: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if m.calls[0] != jail+" -q -f "+file+" -r "+name || len(m.calls) != 4 {
		t.Errorf("calls: %q", m.calls)
	}
}

func TestRunRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		command guest.Command
		kind    be.Kind
	}{
		"where a jail runs": {guest.Command{Root: "/jails/web1", Argv: []string{"x"}}, be.InUse},
		"where another":     {guest.Command{Root: "/data/bastille/jails/www/root", Argv: []string{"x"}}, be.InUse},
		"no command":        {guest.Command{Root: "/jails/new"}, be.Usage},
		"no full name":      {guest.Command{Root: "new", Argv: []string{"x"}}, be.Usage},
		"two lines":         {guest.Command{Root: "/new\n", Argv: []string{"x"}}, be.Usage},
		"a library":         {guest.Command{Root: "/new", Argv: []string{"x"}, Env: []string{"LD_PRELOAD=/x"}}, be.Usage},
	} {
		m, r := newMachine(t, nil)
		err := r.Run(t.Context(), guest.Guest{Name: "web1"}, c.command)
		if be.KindOf(err) != c.kind || len(m.calls) != 0 {
			t.Errorf("%s: %v, %q", name, err, m.calls)
		}
	}
}
