package activate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"beadm/be/state"
)

// TestWatchers: what a trial starts on a system without systemd, after what
// the system itself was told. None of these systems runs here.
func TestWatchers(t *testing.T) {
	wasRun, wasSpawn := run, spawn
	t.Cleanup(func() { run, spawn = wasRun, wasSpawn })
	panics := "sysctl debug.debugger_on_panic=0, sysctl kern.panic_reboot_wait_time=7"
	fast := "svcprop -p config/fastreboot_default svc:/system/boot-config:default, svcprop -p config/fastreboot_onpanic svc:/system/boot-config:default"
	const deadman, confirm = initPath + " trial-deadman T ACT", initPath + " confirm --auto"
	for name, c := range map[string]struct {
		kind  string
		trial state.Trial
		fails string // the command that does
		calls string
		bad   bool
	}{
		"FreeBSD":               {"freebsd", state.Trial{}, "", panics + ", " + deadman + ", " + confirm, false},
		"illumos":               {"illumos", state.Trial{}, "", fast + ", " + deadman + ", " + confirm, false},
		"once":                  {"freebsd", state.Trial{Once: true}, "", panics, false},
		"by hand":               {"freebsd", state.Trial{NoAutoConfirm: true}, "", panics + ", " + deadman, false},
		"a panic would wait":    {"freebsd", state.Trial{}, "sysctl kern", panics, true},
		"fast reboot is on":     {"illumos", state.Trial{}, "svcprop -p config/fastreboot_default", strings.Split(fast, ", ")[0], true},
		"no timer can be armed": {"freebsd", state.Trial{}, initPath, panics + ", " + deadman, true},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			call := func(argv []string) error {
				line := strings.Join(argv, " ")
				calls = append(calls, line)
				if c.fails != "" && strings.HasPrefix(line, c.fails) {
					return errors.New("it fails")
				}
				return nil
			}
			run = func(_ context.Context, argv ...string) (string, error) { return "false\n", call(argv) }
			spawn = func(argv ...string) error {
				if argv[1] == "trial-deadman" {
					argv[2] = "T"
				}
				return call(argv)
			}
			c.trial.Activation, c.trial.ConfirmWithin = "ACT", time.Minute
			s := &Session{Target: &Target{Root: "/", Conf: Conf{Panic: 7}}, State: &state.State{Loader: state.LoaderConfig{Kind: c.kind}}}
			if err := s.armDeadman(t.Context(), &c.trial); (err != nil) != c.bad {
				t.Errorf("error %v, want one: %v", err, c.bad)
			}
			if got := strings.Join(calls, ", "); got != c.calls {
				t.Errorf("called %q, want %q", got, c.calls)
			}
		})
	}
}

// TestAGuestIsWatchedByItsHost: whatever loader its state names.
func TestAGuestIsWatchedByItsHost(t *testing.T) {
	was := spawn
	t.Cleanup(func() { spawn = was })
	spawn = func(argv ...string) error { t.Errorf("started %q", argv); return nil }
	s := &Session{Target: &Target{Root: "/guest"}, State: &state.State{Loader: state.LoaderConfig{Kind: "freebsd"}}}
	if err := s.armDeadman(t.Context(), &state.Trial{}); err != nil {
		t.Error(err)
	}
}
