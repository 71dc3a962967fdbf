package zone

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"beadm/activate/guest"
	"beadm/be"
)

func TestRun(t *testing.T) {
	t.Setenv("TERM", "vt100")
	m, r := newMachine(t)
	root := "/tank/a:b/web2/root"
	err := r.Run(t.Context(), guest.Guest{Name: "web2"}, guest.Command{Root: root, Argv: []string{"pkg", "update", "it's"}, Env: []string{"A=b c"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		zoneadm + " -z web2 boot -- -m milestone=none",
		zlogin + ` -E -S web2 exec /usr/bin/env HOME=/root USER=root LOGNAME=root SHELL=/sbin/sh PATH=/usr/sbin:/usr/bin:/sbin 'TERM=vt100' 'A=b c' 'pkg' 'update' 'it'\''s'`,
		zoneadm + " -z web2 halt",
	}
	if !slices.Equal(m.calls, want) {
		t.Errorf("calls: %q, not %q", m.calls, want)
	}
}

// It is halted however the command ends, or the start, and the way it ends is
// told.
func TestRunFails(t *testing.T) {
	m, r := newMachine(t)
	m.attached = exec.Command("/bin/sh", "-c", "exit 3").Run()
	command := guest.Command{Root: "/tank/a:b/web2/root", Argv: []string{"x"}}
	err := r.Run(t.Context(), guest.Guest{Name: "web2"}, command)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("it says %v", err)
	}
	if !strings.Contains(m.list, "-:web2:installed:") {
		t.Errorf("it is left: %q", m.calls)
	}
	m.calls = nil
	m.fails = map[string]string{zoneadm + " -z web2 boot -- -m milestone=none": "no"}
	if err := r.Run(t.Context(), guest.Guest{Name: "web2"}, command); err == nil || len(m.calls) != 1 {
		t.Errorf("it says %v, calls: %q", err, m.calls)
	}
}

func TestRunRefuses(t *testing.T) {
	m, r := newMachine(t)
	m.set("lin1", "installed")
	for name, c := range map[string]struct {
		zone    string
		command guest.Command
		kind    be.Kind
	}{
		"one that runs":    {"web1", guest.Command{Root: "/zones/web1/root", Argv: []string{"x"}}, be.InUse},
		"another root":     {"web2", guest.Command{Root: "/tank/new", Argv: []string{"x"}}, be.NoStore},
		"without services": {"lin1", guest.Command{Root: "/zones/lin1/root", Argv: []string{"x"}}, be.NoStore},
		"no command":       {"web2", guest.Command{Root: "/tank/a:b/web2/root"}, be.Usage},
		"an option":        {"web2", guest.Command{Root: "/tank/a:b/web2/root", Argv: []string{"-i"}}, be.Usage},
		"a setting":        {"web2", guest.Command{Root: "/tank/a:b/web2/root", Argv: []string{"a=b"}}, be.Usage},
		"no setting":       {"web2", guest.Command{Root: "/tank/a:b/web2/root", Argv: []string{"x"}, Env: []string{"-i=1"}}, be.Usage},
	} {
		if err := r.Run(t.Context(), guest.Guest{Name: c.zone}, c.command); be.KindOf(err) != c.kind || len(m.calls) != 0 {
			t.Errorf("%s: %v, %q", name, err, m.calls)
		}
	}
}

// A shell takes the line for what was given, whatever is in it.
func TestShellLine(t *testing.T) {
	argv := []string{"printf", `%s\n`, "a  b", "it's", "$HOME `x` ;\t*\\", "", "new\nline"}
	line, err := shellLine(guest.Command{Argv: argv, Env: []string{"A=it's; $x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput()
	if want := strings.Join(argv[2:], "\n") + "\n"; err != nil || string(out) != want {
		t.Errorf("it printed %q, not %q, %v", out, want, err)
	}
	line, err = shellLine(guest.Command{Argv: []string{"/bin/sh", "-c", `printf %s "$A$HOME"`}, Env: []string{"A=it's; $x"}})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput(); err != nil || string(out) != "it's; $x/root" {
		t.Errorf("it printed %q, %v", out, err)
	}
}
